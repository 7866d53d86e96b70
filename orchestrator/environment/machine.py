"""One machine from its run script to the hand-over, watched all the time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.environment.arrival import Arrival
from orchestrator.environment.failures import last_words, paused, told_by_console
from orchestrator.environment.handover import HANDED_OVER
from orchestrator.environment.live_guest import HANDOVER_LIMIT, setup_deadline
from orchestrator.environment.machine_parts import MachineParts
from orchestrator.environment.reboot import go_down
from orchestrator.environment.runstate import Runstate, require
from orchestrator.environment.state import MachineState
from orchestrator.events.run import Note
from orchestrator.guest.channel import GuestChannel
from orchestrator.guest.ssh import Ssh
from orchestrator.process_id import ProcessId
from orchestrator.snapshots.restore import load, set_clock
from orchestrator.snapshots.save import cont

BOOT_LIMIT = 60.0  # seconds from power-on to the guest agent, before scaling
REJOIN_LIMIT = 15.0  # seconds for the agent of a machine that was up before, before scaling
ANSWER_LIMIT = 3.0  # seconds for a ping, before scaling
LOAD_LIMIT = 60.0  # seconds to load a saved state: the disk may be slow
LEFT_PAUSED = ("paused", "postmigrate", "finish-migrate")  # what `snapshot save` leaves when it is killed


class LiveMachine(MachineParts):
    """A machine that this command drives. `Runstate` says which methods may be called when.

    Attributes:
        qemu: its process, logs and QMP; `LiveQemu.watcher` must watch together with everything else.
        guest: what is inside.
        runstate: where it is.
    """

    # ------------------------------------------------------------------ a new QEMU

    @require(Runstate.IDLE)
    def launch(self, argv: tuple[str, ...], environment: Mapping[str, str]) -> ProcessId:
        """Start the run script; the caller records the identity before anything else."""
        process = self.qemu.launch(argv, environment)
        self.runstate = Runstate.LAUNCHED
        return process

    @require(Runstate.LAUNCHED)
    async def boot(self, user_key: str, deadline: Deadline) -> None:
        """Wait for the guest and hand over; ``user_key`` is the public line that opens it.

        Raises:
            MachineError: it died, or did not come up in time.
        """
        await self._open_monitor(deadline)
        self.guest.ssh.ports = await self.monitor.forwarded_ports()
        self.qemu.report("booting")
        boot_deadline = deadline.earlier(self._scale.limit(BOOT_LIMIT))
        await self._meet(boot_deadline)
        await self.hand_over(user_key, deadline)

    @require(Runstate.LAUNCHED)
    async def load(self, state: Path, deadline: Deadline) -> None:
        """Load a saved state into the QEMU that was launched for it; the machine is paused then."""
        await self._open_monitor(deadline)
        self.guest.ssh.ports = await self.monitor.forwarded_ports()
        self.qemu.report("restoring")
        await load(self.monitor, state, deadline.earlier(LOAD_LIMIT))

    @require(Runstate.CONNECTED)
    async def refresh_identity(self, user_key: str, host_key: str, deadline: Deadline) -> None:
        """Give a loaded machine that runs again its own keys and the time; see `LiveGuest.refresh_identity`."""
        refresh_deadline = setup_deadline(deadline, self._scale)
        self.qemu.watcher.sshd_listens.clear()
        await self.agent.connect(refresh_deadline)
        self.qemu.report("agent")
        reading = await self.guest.refresh_identity(user_key, host_key, refresh_deadline, self._become_ready)
        self.clock.tell(reading, "restore")

    # ------------------------------------------------------------------ a QEMU that runs already

    @require(Runstate.IDLE)
    def recall(self, known: MachineState) -> None:
        """What an earlier command has recorded of it."""
        self.guest.ssh.ports, self.guest.addresses = known.ports, known.addresses
        self.guest.layers, self.guest.services = tuple(known.layers), frozenset(known.prepared)
        self.guest.ssh.pin(known.host_key)
        if known.ssh_only:
            self.guest.use_ssh_only()

    @require(Runstate.IDLE)
    async def reattach(self, process: ProcessId, user_key: str, deadline: Deadline, *, boots: bool = False) -> None:
        """Attach to a machine that an earlier command handed over; set up again where it has rebooted meanwhile.

        Args:
            boots: it does so just now.
        """
        was_paused = await self.reattach_monitor(process, deadline)
        status = await self.monitor.run_state()
        if status != "running":
            raise paused(self.name, self.paths, status)
        # It answered before: one that does not answer now is in trouble, and nobody should wait long to hear that.
        answers_before = deadline.earlier(self._scale.reply(REJOIN_LIMIT))
        seconds = REJOIN_LIMIT if last_words(self.paths) is None else ANSWER_LIMIT
        if boots:
            answers_before, seconds = deadline, 4 * BOOT_LIMIT
        with told_by_console(self.name, self.paths):
            await self.agent.connect(deadline.earlier(self._scale.reply(seconds)))
        if was_paused:
            self.clock.tell(await set_clock(self.agent, answers_before), "cont")
        if await self.agent.read_file(HANDED_OVER, deadline=answers_before) is None:
            message = "it was rebooted, and not by this program; it is set up again"
            self._bus.emit(Note(self.name, level="warning", message=message))
            await self.hand_over(user_key, deadline)
        self._become_ready()

    @require(Runstate.IDLE)
    async def reattach_monitor(self, process: ProcessId, deadline: Deadline) -> bool:
        """Attach to QEMU only: the guest may be dead. Whether it was left paused; it continues then."""
        self.qemu.runs_as(process)
        self.runstate = Runstate.LAUNCHED
        self.qemu.watcher.skip_logs()  # they were judged when they were written
        await self._open_monitor(deadline)
        if await self.monitor.run_state() not in LEFT_PAUSED:
            return False
        message = "it was paused, by `power pause` or a command that was killed; it continues"
        self._bus.emit(Note(self.name, level="warning", message=message))
        await cont(self.monitor)
        return True

    @require(Runstate.CONNECTED, Runstate.READY)
    async def reboot(self, user_key: str, deadline: Deadline) -> None:
        """Reboot the guest and hand over again; return when its agent answers.

        In order where the guest still listens, else as if the reset button were pressed.

        Raises:
            MachineError: it did not go down, or did not come back.
        """
        reboot_deadline = deadline.earlier(self._scale.limit(2 * BOOT_LIMIT))
        self.leave_boot()
        self.qemu.report("stopping", "reboot")
        answer = reboot_deadline.earlier(self._scale.reply(HANDOVER_LIMIT))
        down = reboot_deadline.earlier(self._scale.limit(BOOT_LIMIT))
        agent = None if last_words(self.paths) else self.agent  # a guest whose console showed its end is not asked
        await go_down(self.monitor, agent, self.qemu.watcher, self._bus, answer=answer, down=down)
        await self.boot_again(user_key, reboot_deadline)

    @require(Runstate.CONNECTED, Runstate.READY)
    def leave_boot(self) -> None:
        """The guest that was handed over is gone, or is about to go: it boots again."""
        self.runstate = Runstate.CONNECTED
        self._handed_over.clear()
        if not self.guest.ssh_only:  # the way to ask for the reboot, and its key stays
            self.guest.ssh.forget_key()
        self.qemu.restart_clock()

    @require(Runstate.CONNECTED)
    async def boot_again(self, user_key: str, deadline: Deadline) -> None:
        """Hand over a guest that QEMU has reset; return when its agent answers.

        Raises:
            MachineError: it did not come back.
        """
        boot_deadline = deadline.earlier(self._scale.limit(BOOT_LIMIT))
        await self.guest.ssh.close()
        await self.guest.forget_agent()
        await self._meet(boot_deadline)
        await self.hand_over(user_key, deadline)

    # ------------------------------------------------------------------ the guest

    @require(Runstate.CONNECTED)
    async def hand_over(self, user_key: str, deadline: Deadline) -> None:
        """Set the guest up; see `LiveGuest.hand_over`."""
        await self.guest.hand_over(user_key, setup_deadline(deadline, self._scale), self._become_ready)
        await self.clock.compare("hand-over")

    async def ready_agent(self) -> GuestChannel:
        """The agent, or what stands for it, once the hand-over is done."""
        return await self._handed_over.wait()

    async def ssh(self) -> Ssh:
        """The SSH connection, made at the first call after the hand-over, and kept."""
        agent = await self._handed_over.wait()
        if not self.ports:
            self.guest.ssh.ports = await self.monitor.forwarded_ports()
        ssh, new = await self.guest.ssh.connection(agent)
        if new:
            self.qemu.report("ssh")
        return ssh

    async def open_ssh(self) -> None:
        """Open SSH and report the machine as ready."""
        await self.ssh()
        self.qemu.report("ready")

    async def close(self) -> None:
        """Let go of the machine; it goes on running."""
        self.runstate = Runstate.CLOSED
        await self.guest.close()
        await self.qemu.close()

    # ------------------------------------------------------------------ steps

    @require(Runstate.LAUNCHED)
    async def _open_monitor(self, deadline: Deadline) -> None:
        await self.qemu.connect(deadline)
        self.runstate = Runstate.CONNECTED

    async def _meet(self, deadline: Deadline) -> None:
        await Arrival(self.qemu, self.guest, self._scale).wait(deadline)
        if not self.guest.ssh_only:
            self.qemu.report("agent")

    def _become_ready(self) -> None:
        self.runstate = Runstate.READY
        self._handed_over.set(self.agent)
