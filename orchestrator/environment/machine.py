"""One machine from its run script to the hand-over, and watched all the while."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

from orchestrator.deadline import Deadline, completes_before, monotonic
from orchestrator.environment.failures import last_words, mark_new_boot, paused, told_by_console
from orchestrator.environment.handover import HANDED_OVER, handover_script, journal_script, push_files, run_script
from orchestrator.environment.reboot import go_down
from orchestrator.environment.watch import Watcher
from orchestrator.errors import MachineError, OrchestratorError
from orchestrator.events import EventBus
from orchestrator.events.machines import MachineState, MachineStateChanged, ScreenshotTaken
from orchestrator.events.run import Note
from orchestrator.guest import ssh as ssh_module
from orchestrator.guest.agent import Agent
from orchestrator.guest.keys import host_key_blob
from orchestrator.guest.ssh import Ssh, SshTarget
from orchestrator.guest.sshd import listening_host_key
from orchestrator.net.egress import Addresses, names_script
from orchestrator.process import ProcessId, launch, tail
from orchestrator.services.journal import Journal
from orchestrator.snapshots.manifest import MachineFiles
from orchestrator.snapshots.restore import authorize, exchange_host_key, load, set_clock
from orchestrator.snapshots.save import cont
from orchestrator.topology.model import Machine, Topology
from orchestrator.vm.arguments import SSH_GUEST_PORT, MachinePaths
from orchestrator.vm.qmp import Monitor, connect

BOOT_LIMIT = 60.0  # seconds from power-on to the guest agent, before scaling
HANDOVER_LIMIT = 20.0
REJOIN_LIMIT = 15.0  # seconds for the agent of a machine that was up before, before scaling
ANSWER_LIMIT = 3.0  # seconds for a ping, before scaling
HOST_KEY_LIMIT = 60.0  # the agent may answer long before the boot is over
SSH_LIMIT = 30.0
SEEN_LIMIT = 1.0  # seconds QEMU has to say how a machine is, in an error
LOOK_INTERVAL = 1.0  # between looks for a listening sshd, where the journal is silent; before scaling
LOAD_LIMIT = 60.0  # seconds to load a saved state: the disk may be slow
REKEY_LIMIT = 2.0  # seconds, before scaling
STANDING = ("paused", "postmigrate", "finish-migrate")  # what `snapshot save` leaves when it is killed
QMP_LIMIT = 20.0  # not scaled: QEMU itself is not emulated


class LiveMachine:
    """A machine this command drives: its process, QMP, agent, journal and SSH.

    `boot` (or `rejoin` for one that already runs) must have returned before
    the agent is used; `watch` must run beside everything else.
    """

    def __init__(self, machine: Machine, topology: Topology, paths: MachinePaths, bus: EventBus, factor: float) -> None:
        self.machine = machine
        self.name = machine.name
        self.paths = paths
        self.agent = Agent(machine.name, paths.agent)
        self.ports: Mapping[int, int] = {}
        self.host_key = ""
        self._topology = topology
        self._bus = bus
        self._factor = factor
        self.addresses: Addresses = {}  # of the names outside that it may reach
        self._patience = max(1.0, factor / 4)  # for what an emulated guest does often, and so has translated
        self._ssh: Ssh | None = None
        self._ssh_lock = asyncio.Lock()
        self._key_file: Path | None = None
        self._ready = asyncio.Event()
        self._born = monotonic()
        self._watcher = Watcher(machine.name, paths, topology.accept, bus, self._emit)
        self._rekeyed = False
        self._was_paused = False

    @property
    def monitor(self) -> Monitor:
        assert self._watcher.monitor is not None, "boot or rejoin first"
        return self._watcher.monitor

    @property
    def journal(self) -> Journal:
        return self._watcher.journal

    @property
    def handed_over(self) -> bool:
        """Whether its agent answers and it knows its place."""
        return self._ready.is_set()

    # ------------------------------------------------------------------ coming up

    def launch(self, argv: tuple[str, ...], environment: Mapping[str, str]) -> ProcessId:
        """Start the run script; the caller records the identity before anything else."""
        for folder in (self.paths.work, self.paths.scratch, self.paths.sockets, self.paths.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        p = self.paths
        for stale in (p.qmp, p.qmp_side, p.agent, p.console, p.egress_in, p.egress_out):
            stale.unlink(missing_ok=True)
        self._born = monotonic()
        self._emit("starting")
        process = launch(argv, log=self.paths.qemu_log, env=environment)
        self._watcher.started(process)
        return process

    async def boot(self, user_key: str, key_file: Path, deadline: Deadline) -> None:
        """Wait for the guest and hand over.

        Raises:
            MachineError: it died, or did not come up in time.
        """
        await self._open_monitor(deadline)
        self.ports = await self.monitor.forwarded_ports()
        self._emit("booting")
        limit = deadline.earlier(BOOT_LIMIT * self._factor)
        self._watcher.booting = True
        await self._watcher.wait_for_agent(limit)
        self._watcher.booting = False
        await self.agent.connect(limit)
        self._emit("agent")
        await self.hand_over(user_key, key_file, deadline)

    def seed_logs(self, files: MachineFiles) -> None:
        """Begin the logs with those of a snapshot: what led to its state. They were judged when they were written."""
        self.paths.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        for saved, log in ((files.serial, self.paths.serial_log), (files.journal, self.paths.journal)):
            if saved.exists() and not log.exists():
                shutil.copyfile(saved, log)
        mark_new_boot(self.paths)
        self.skip_logs()

    def skip_logs(self) -> None:
        """What the logs say up to now is of earlier machines of this name."""
        self._watcher.skip_logs()

    async def load(self, state: Path, deadline: Deadline) -> None:
        """Load a saved state into the QEMU that was launched for it; the machine then stands still."""
        await self._open_monitor(deadline)
        self.ports = await self.monitor.forwarded_ports()
        self._emit("restoring")
        await load(self.monitor, state, deadline.earlier(LOAD_LIMIT))

    async def refresh_identity(self, key_file: Path, user_key: str, host_key: str, deadline: Deadline) -> None:
        """Make a loaded machine that runs again one of its own: keys, clock.

        Args:
            host_key: the public host key it was saved with, to be kept; empty: it gets a new one.
        """
        limit = deadline.earlier(HANDOVER_LIMIT * self._factor)
        self._watcher.sshd_listens.clear()
        await self.agent.connect(limit)
        self._emit("agent")
        await authorize(self.agent, user_key, limit)
        self._rekeyed = not host_key
        self.host_key = host_key or await exchange_host_key(self.agent, limit)
        self._key_file = key_file
        await self._name_destinations(limit)
        self._ready.set()  # SSH and checks may begin; they do not ask for the time
        await set_clock(self.agent, limit)

    async def reattach(self, process: ProcessId, key_file: Path, deadline: Deadline) -> None:
        """Attach to a machine that an earlier command started and handed over."""
        await self.reattach_monitor(process, key_file, deadline)
        word = await self.monitor.run_state()
        if word != "running":
            raise paused(self.name, self.paths, word)
        # It answered before: one that does not now is in trouble, and nobody should wait long to hear that.
        limit = deadline.earlier(REJOIN_LIMIT * self._patience)
        patience = REJOIN_LIMIT if last_words(self.paths) is None else ANSWER_LIMIT
        with told_by_console(self.name, self.paths):
            await self.agent.connect(deadline.earlier(patience * self._patience))
        if self._was_paused:
            await set_clock(self.agent, limit)
        if await self.agent.read_file(HANDED_OVER, deadline=limit) is None:
            message = "it was rebooted, and not by this program; it is set up again"
            self._bus.emit(Note(self.name, level="warning", message=message))
            await self.hand_over(key_file.with_suffix(".pub").read_text().strip(), key_file, deadline)
        self._ready.set()

    async def reattach_monitor(self, process: ProcessId, key_file: Path, deadline: Deadline) -> None:
        """Attach to QEMU only: the guest may be dead."""
        self._watcher.started(process)
        self._key_file = key_file
        # What was said earlier was judged earlier.
        self.skip_logs()
        await self._open_monitor(deadline)
        if await self.monitor.run_state() in STANDING:
            self._bus.emit(Note(self.name, level="warning", message="it stood still; a killed command left it so"))
            await cont(self.monitor)
            self._was_paused = True

    async def reboot(self, user_key: str, key_file: Path, deadline: Deadline) -> None:
        """Reboot the guest and hand over again; returns when its agent answers anew.

        In order where the guest still listens, else as if the reset button were pressed.

        Raises:
            MachineError: it did not go down, or did not come back.
        """
        limit = deadline.earlier(2 * BOOT_LIMIT * self._factor)
        self._ready.clear()
        self._watcher.sshd_listens.clear()
        self.host_key = ""
        self._born = monotonic()
        self._emit("stopping", "reboot")
        answer = limit.earlier(HANDOVER_LIMIT * self._patience)
        down = limit.earlier(BOOT_LIMIT * self._factor)
        agent = None if last_words(self.paths) else self.agent  # a guest whose console told its end is not asked
        await go_down(self.monitor, agent, self._watcher, self._bus, answer=answer, down=down)
        if self._ssh is not None:
            await self._ssh.close()
            self._ssh = None
        self._watcher.booting = True
        await self._watcher.wait_for_agent(limit)
        self._watcher.booting = False
        await self.agent.close()
        self.agent = Agent(self.name, self.paths.agent)
        await self.agent.connect(limit)
        self._emit("agent")
        await self.hand_over(user_key, key_file, deadline)

    async def hand_over(self, user_key: str, key_file: Path, deadline: Deadline) -> None:
        """Run the hand-over script and push the topology's files; idempotent."""
        limit = deadline.earlier(HANDOVER_LIMIT * self._factor)
        where = [str(self.paths.serial_log)]
        script = handover_script(self.machine, self._topology, user_key)
        await run_script(self.agent, script, limit, where)
        self._key_file = key_file
        await push_files(self.agent, self._topology.files_of(self.name), limit)
        await self._name_destinations(limit)
        self._ready.set()
        # No service waits for it: it tells all from the boot on.
        await run_script(self.agent, journal_script(), limit, where)

    async def _name_destinations(self, limit: Deadline) -> None:
        if self.machine.destinations:
            await run_script(self.agent, names_script(self.addresses), limit, [str(self.paths.serial_log)])

    async def learn_host_key(self, deadline: Deadline) -> None:
        """Wait until the guest's sshd listens, and remember its host key.

        Raises:
            MachineError: sshd did not listen in time.
        """
        self.host_key = await listening_host_key(
            self.agent,
            self._watcher.sshd_listens,
            SSH_GUEST_PORT,
            look=LOOK_INTERVAL * self._patience,
            limit=deadline.earlier(HOST_KEY_LIMIT * self._factor),
            deadline=deadline,
            where=[str(self.paths.journal), str(self.paths.serial_log)],
        )

    async def ready_agent(self) -> Agent:
        """The agent, once the hand-over is done."""
        await self._ready.wait()
        return self.agent

    async def ssh(self) -> Ssh:
        """The SSH connection, made at the first call and kept."""
        await self._ready.wait()
        async with self._ssh_lock:
            if self._ssh is None or not self._ssh.alive:
                assert self._key_file is not None
                if self._rekeyed:  # sshd starts anew with the key it was just given
                    self._rekeyed = False
                    await completes_before(
                        self._watcher.sshd_listens.wait, Deadline.after(REKEY_LIMIT * self._patience)
                    )
                if not self.host_key:  # it boots
                    await self.learn_host_key(Deadline.after(HOST_KEY_LIMIT * self._factor))
                ports = self.ports or await self.monitor.forwarded_ports()
                target = SshTarget(self.name, ports[22], host_key_blob(self.name, self.host_key), self._key_file)
                self._ssh = await ssh_module.connect(target, Deadline.after(SSH_LIMIT * self._patience))
                self._emit("ssh")
            return self._ssh

    async def answers(self) -> bool:
        """Whether the machine runs and its agent says so at once."""
        limit = Deadline.after(ANSWER_LIMIT * self._patience)
        try:
            if await self.monitor.run_state() != "running":
                return False
            await self.agent.call("guest-ping", deadline=limit)
        except OrchestratorError:
            return False
        return True

    async def open_ssh(self) -> None:
        """Open SSH and say that the machine is ready."""
        await self.ssh()
        self._emit("ready")

    # ------------------------------------------------------------------ watching

    async def watch(self) -> None:
        """Raise a `MachineError` when the machine dies, panics or gets stuck; never return."""
        await self._watcher.watch()

    # ------------------------------------------------------------------ small parts

    async def screenshot(self, step: str, run_folder: Path) -> None:
        """A picture of the display into the run folder; a failure to take one is only noted."""
        folder = run_folder / "machines" / self.name / "screenshots"
        number = len(list(folder.glob("*.png"))) + 1
        path = folder / f"{number:03d}-{step}.png"
        if self._watcher.monitor is None:
            return  # it never ran
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            await self.monitor.screenshot(path)
        except (MachineError, OSError) as error:
            why = error.why if isinstance(error, MachineError) else error
            self._bus.emit(Note(self.name, level="warning", message=f"no screenshot at {step}: {why}"))
            return
        self._bus.emit(ScreenshotTaken(self.name, path=str(path.relative_to(run_folder)), step=step))

    async def describe_state(self) -> str:
        """What QEMU says of it within a second, and the last line of its console."""
        said = "not started"
        if self._watcher.monitor is not None:
            try:
                answer = await self._watcher.monitor.execute("query-status", deadline=Deadline.after(SEEN_LIMIT))
                said = f"QEMU says {answer['status']}"
            except MachineError as error:
                said = error.what
        last = tail(self.paths.serial_log, 1)
        return f"{said}; console: {last[0].strip()}" if last else said

    async def close(self) -> None:
        """Let go of the machine; it goes on running."""
        if self._ssh is not None:
            await self._ssh.close()
        await self.agent.close()
        if self._watcher.monitor is not None:
            await self._watcher.monitor.close()

    async def _open_monitor(self, deadline: Deadline) -> None:
        self._watcher.monitor = await connect(self.name, self.paths.qmp, deadline.earlier(QMP_LIMIT))

    def _emit(self, state: MachineState, detail: str = "") -> None:
        elapsed = round(monotonic() - self._born, 3)
        self._bus.emit(MachineStateChanged(self.name, state=state, elapsed=elapsed, detail=detail))
