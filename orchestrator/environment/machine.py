"""One machine from its run script to the hand-over, and watched all the while."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from contextlib import suppress
from datetime import date
from pathlib import Path

from orchestrator.deadline import Deadline, came, monotonic
from orchestrator.environment.handover import HANDED_OVER, handover_script, journal_script, push_files, run_script
from orchestrator.environment.losses import did_not_boot, disk_full, ended, panicked, stands_still
from orchestrator.errors import MachineError, OrchestratorError
from orchestrator.events import EventBus, wall_clock
from orchestrator.guest import ssh as ssh_module
from orchestrator.guest.agent import Agent
from orchestrator.guest.keys import host_key_blob
from orchestrator.guest.ssh import Ssh, SshTarget
from orchestrator.guest.sshd import listening_host_key
from orchestrator.net.egress import Addresses, names_script
from orchestrator.process import ProcessId, describe_exit, exit_code, launch, tail, watch_end
from orchestrator.services.journal import Entry, Journal
from orchestrator.signs import CPU_STALL, Sign, accepted, find_journal_sign, find_sign
from orchestrator.snapshots.manifest import MachineFiles
from orchestrator.snapshots.restore import authorize, exchange_host_key, load, set_clock
from orchestrator.snapshots.save import go_on
from orchestrator.tasks import guarded
from orchestrator.topology.model import Machine, Topology
from orchestrator.vm.arguments import AGENT_DEVICE, SSH_GUEST_PORT, MachinePaths
from orchestrator.vm.follow import FILE_LIMIT, follow_lines, shorten
from orchestrator.vm.qmp import Monitor, connect, event_summary

BOOT_LIMIT = 60.0  # seconds from power-on to the guest agent, before scaling
HANDOVER_LIMIT = 20.0
REJOIN_LIMIT = 15.0  # seconds for the agent of a machine that was up before, before scaling
RESET_LIMIT = 10.0
ANSWER_LIMIT = 3.0  # seconds for a ping, before scaling
HOST_KEY_LIMIT = 60.0  # the agent may answer long before the boot is over
SSH_LIMIT = 30.0
HEARTBEAT = 30.0
BOUND_INTERVAL = 1.0  # seconds between two looks at how long the logs are
SEEN_LIMIT = 1.0  # seconds QEMU has to say how a machine is, in an error
BROKEN_STATES = ("internal-error", "io-error", "guest-panicked")
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
        self.journal = Journal(paths.journal, self._on_entry)
        self.ports: Mapping[int, int] = {}
        self.host_key = ""
        self._topology = topology
        self._bus = bus
        self._factor = factor
        self.addresses: Addresses = {}  # of the names outside that it may reach
        self._patience = max(1.0, factor / 4)  # for what an emulated guest does often, and so has translated
        self._monitor: Monitor | None = None
        self._process: ProcessId | None = None
        self._ssh: Ssh | None = None
        self._ssh_lock = asyncio.Lock()
        self._key_file: Path | None = None
        self._launched = asyncio.Event()
        self._agent_open = asyncio.Event()
        self._ready = asyncio.Event()
        self._sshd_listens = asyncio.Event()
        self._born = monotonic()
        self._seen: set[tuple[str, bool]] = set()
        self._console_start = 0
        self._rekeyed = False
        self._stood = False
        self._booting = False  # and may be reset

    @property
    def monitor(self) -> Monitor:
        assert self._monitor is not None, "boot or rejoin first"
        return self._monitor

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
        self._process = launch(argv, log=self.paths.qemu_log, env=environment)
        self._launched.set()
        return self._process

    async def boot(self, user_key: str, key_file: Path, deadline: Deadline) -> None:
        """Wait for the guest and hand over.

        Raises:
            MachineError: it died, or did not come up in time.
        """
        await self._open_monitor(deadline)
        self.ports = await self.monitor.forwarded_ports()
        self._emit("booting")
        limit = deadline.earlier(BOOT_LIMIT * self._factor)
        self._booting = True
        await self._wait_agent_open(limit)
        self._booting = False
        await self.agent.connect(limit)
        self._emit("agent")
        await self.hand_over(user_key, key_file, deadline)

    def continue_from(self, files: MachineFiles) -> None:
        """Begin the logs with those of a snapshot: what led to its state. They were judged when they were written."""
        self.paths.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        for saved, log in ((files.serial, self.paths.serial_log), (files.journal, self.paths.journal)):
            if saved.exists() and not log.exists():
                shutil.copyfile(saved, log)
        self.skip_logs()

    def skip_logs(self) -> None:
        """What the logs say up to now is of earlier machines of this name."""
        self._console_start = _size(self.paths.serial_log)
        self.journal.skip()

    async def load(self, state: Path, deadline: Deadline) -> None:
        """Load a saved state into the QEMU that was launched for it; the machine then stands still."""
        await self._open_monitor(deadline)
        self.ports = await self.monitor.forwarded_ports()
        self._emit("restoring")
        await load(self.monitor, state, deadline.earlier(LOAD_LIMIT))

    async def wake(self, key_file: Path, user_key: str, host_key: str, deadline: Deadline) -> None:
        """Make a loaded machine that runs again one of its own: keys, clock.

        Args:
            host_key: the public host key it was saved with, to be kept; empty: it gets a new one.
        """
        limit = deadline.earlier(HANDOVER_LIMIT * self._factor)
        self._sshd_listens.clear()
        await self.agent.connect(limit)
        self._emit("agent")
        await authorize(self.agent, user_key, limit)
        self._rekeyed = not host_key
        self.host_key = host_key or await exchange_host_key(self.agent, limit)
        self._key_file = key_file
        await self._name_destinations(limit)
        self._ready.set()  # SSH and checks may begin; they do not ask for the time
        await set_clock(self.agent, limit)

    async def rejoin(self, process: ProcessId, key_file: Path, deadline: Deadline) -> None:
        """Attach to a machine that an earlier command started and handed over."""
        await self.rejoin_monitor(process, key_file, deadline)
        word = await self.monitor.run_state()
        if word != "running":
            raise stands_still(self.name, self.paths, word)
        # It answered before: one that does not now is in trouble, and nobody should wait long to hear that.
        limit = deadline.earlier(REJOIN_LIMIT * self._patience)
        await self.agent.connect(limit)
        if self._stood:
            await set_clock(self.agent, limit)
        if await self.agent.read_file(HANDED_OVER, deadline=limit) is None:
            message = "it was rebooted, and not by this program; it is set up again"
            self._bus.emit("note", self.name, level="warning", message=message)
            await self.hand_over(key_file.with_suffix(".pub").read_text().strip(), key_file, deadline)
        self._ready.set()

    async def rejoin_monitor(self, process: ProcessId, key_file: Path, deadline: Deadline) -> None:
        """Attach to QEMU only: the guest may be dead."""
        self._process = process
        self._launched.set()
        self._key_file = key_file
        # What was said earlier was judged earlier.
        self.skip_logs()
        await self._open_monitor(deadline)
        if await self.monitor.run_state() in STANDING:
            self._bus.emit("note", self.name, level="warning", message="it stood still; a killed command left it so")
            await go_on(self.monitor)
            self._stood = True

    async def reboot(self, user_key: str, key_file: Path, deadline: Deadline) -> None:
        """Reboot the guest and hand over again; returns when its agent answers anew.

        In order where the guest still listens, else as if the reset button were pressed.

        Raises:
            MachineError: it did not go down, or did not come back.
        """
        limit = deadline.earlier(2 * BOOT_LIMIT * self._factor)
        self._ready.clear()
        self._agent_open.clear()
        self._sshd_listens.clear()
        self.host_key = ""
        self._born = monotonic()
        self._emit("stopping", "reboot")
        if not await self._ask_to_reboot(limit):
            await self.monitor.execute("system_reset", deadline=limit)
            if await self.monitor.run_state() != "running":
                await self.monitor.execute("cont", deadline=limit)
        if self._ssh is not None:
            await self._ssh.close()
            self._ssh = None
        await self._wait_agent_open(limit)
        await self.agent.close()
        self.agent = Agent(self.name, self.paths.agent)
        await self.agent.connect(limit)
        self._emit("agent")
        await self.hand_over(user_key, key_file, deadline)

    async def _ask_to_reboot(self, limit: Deadline) -> bool:
        if await self.monitor.run_state() != "running":
            return False
        patience = limit.earlier(HANDOVER_LIMIT * self._patience)
        try:
            if not self.agent.connected:
                await self.agent.connect(patience)
            await self.agent.exec(["systemctl", "--no-block", "reboot"], deadline=patience)
        except OrchestratorError as error:
            self._bus.emit("note", self.name, level="warning", message=f"{error.what}; it is reset")
            return False
        return True

    async def hand_over(self, user_key: str, key_file: Path, deadline: Deadline) -> None:
        """Run the hand-over script and push the topology's files; idempotent."""
        limit = deadline.earlier(HANDOVER_LIMIT * self._factor)
        where = [str(self.paths.serial_log)]
        script = handover_script(self.machine, self._topology.machines, self._topology.networks, user_key)
        await run_script(self.agent, script, limit, where)
        self._key_file = key_file
        await push_files(self.agent, self.machine.files, limit)
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
            self._sshd_listens,
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
                    await came(self._sshd_listens.wait, Deadline.after(REKEY_LIMIT * self._patience))
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

    async def settle(self) -> None:
        """Open SSH and say that the machine is ready."""
        await self.ssh()
        self._emit("ready")

    # ------------------------------------------------------------------ watching

    async def watch(self) -> None:
        """Raise a `MachineError` when the machine dies, panics or gets stuck; never return."""
        await guarded(
            self._watch_end(),
            [self._watch_console, self._watch_journal, self._watch_events, self._bound_logs],
        )

    async def _watch_end(self) -> None:
        await self._launched.wait()
        assert self._process is not None
        await watch_end(self._process)
        code = exit_code(self._process)
        self._emit("died", describe_exit(code) if code is not None else "")
        raise ended(self.name, self.paths, code)

    async def _bound_logs(self) -> None:
        """No guest fills the host's disk with what it prints, while somebody watches."""
        told = set[Path]()
        while True:
            await asyncio.sleep(BOUND_INTERVAL)
            for log in (self.paths.serial_log, self.paths.journal, self.paths.qemu_log):
                cut = False
                with suppress(OSError):  # its folder was removed
                    cut = await asyncio.to_thread(shorten, log, FILE_LIMIT)
                if cut and log not in told:
                    told.add(log)
                    message = f"{log.name} is longer than {FILE_LIMIT >> 20} MiB; only its last parts are kept"
                    self._bus.emit("note", self.name, level="warning", message=message)

    async def _watch_journal(self) -> None:
        await self._launched.wait()
        await self.journal.follow()

    async def _watch_console(self) -> None:
        await self._launched.wait()
        async for line in follow_lines(self.paths.serial_log, start=self._console_start):
            sign = find_sign(line)
            if sign is not None:
                await self._on_sign(sign, line)

    async def _watch_events(self) -> None:
        while self._monitor is None:  # noqa: ASYNC110 - until QMP answers
            await asyncio.sleep(0.02)
        async with self._monitor.events() as events:
            async for message in events:
                name, data = event_summary(message)
                if name == "VSERPORT_CHANGE" and data.get("id") == AGENT_DEVICE:
                    (self._agent_open.set if data.get("open") else self._agent_open.clear)()
                elif name == "GUEST_PANICKED":
                    await asyncio.sleep(0.3)  # the console's last words are still coming
                    raise self._panicked("QEMU reports that the guest panicked")
                elif name == "STOP":
                    await self._on_stop()
                elif name == "BLOCK_IO_ERROR" and data.get("nospace"):
                    raise disk_full(self.name, self.paths)
                elif name in ("RESET", "SHUTDOWN", "BLOCK_IO_ERROR", "WATCHDOG"):
                    self._bus.emit("note", self.name, level="warning", message=f"QMP event {name} {dict(data)}")

    async def _on_stop(self) -> None:
        """Its CPUs stand still: when QEMU itself stopped them, nothing will let them go on."""
        word = await self.monitor.run_state()
        if word in BROKEN_STATES:
            raise stands_still(self.name, self.paths, word)

    async def _on_sign(self, sign: Sign, line: str) -> None:
        self._tell(sign, line)
        if sign.fatal:
            await asyncio.sleep(0.5)
            raise self._panicked(sign.explanation)
        if sign.name == CPU_STALL and self._booting:
            await self._begin_again()

    async def _begin_again(self) -> None:
        """Reset a boot that stands still, once: under emulation a CPU's timer is lost in one of hundreds."""
        self._booting = False
        message = "its boot stands still: a CPU makes no progress; the machine is reset, once"
        self._bus.emit("note", self.name, level="warning", message=message)
        await self.monitor.execute("system_reset", deadline=Deadline.after(RESET_LIMIT))

    def _panicked(self, why: str) -> MachineError:
        self._emit("panicked", why)
        return panicked(self.name, self.paths, why)

    def _on_entry(self, entry: Entry) -> None:
        if entry.identifier == "sshd" and entry.message.startswith("Server listening on"):
            self._sshd_listens.set()
        sign = find_journal_sign(entry.identifier, entry.message)
        if sign is not None and not sign.fatal:  # the console says so too, and first
            self._tell(sign, entry.message)

    def _tell(self, sign: Sign, line: str) -> None:
        """The first line of each kind, and the first that is accepted."""
        known = accepted(sign, self.name, line, self._topology.accept, date.fromtimestamp(wall_clock()))
        key = (sign.name, known is not None)
        if key in self._seen:
            return
        self._seen.add(key)
        self._bus.emit(
            "machine.sign",
            self.name,
            sign=sign.name,
            line=line[:500],
            explanation=sign.explanation,
            weight=sign.weight.value,
            accepted=known.reason if known else "",
        )

    # ------------------------------------------------------------------ small parts

    async def screenshot(self, step: str, run_folder: Path) -> None:
        """A picture of the display into the run folder; a failure to take one is only noted."""
        number = len(list((self.paths.logs / "screenshots").glob("*.png"))) + 1
        path = self.paths.logs / "screenshots" / f"{number:03d}-{step}.png"
        if self._monitor is None:
            return  # it never ran
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            await self.monitor.screenshot(path)
        except (MachineError, OSError) as error:
            why = error.why if isinstance(error, MachineError) else error
            self._bus.emit("note", self.name, level="warning", message=f"no screenshot at {step}: {why}")
            return
        self._bus.emit("screenshot", self.name, path=str(path.relative_to(run_folder)), step=step)

    async def seen(self) -> str:
        """What QEMU says of it within a second, and the last line of its console."""
        said = "not started"
        if self._monitor is not None:
            try:
                answer = await self._monitor.execute("query-status", deadline=Deadline.after(SEEN_LIMIT))
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
        if self._monitor is not None:
            await self._monitor.close()

    async def _open_monitor(self, deadline: Deadline) -> None:
        self._monitor = await connect(self.name, self.paths.qmp, deadline.earlier(QMP_LIMIT))

    async def _wait_agent_open(self, limit: Deadline) -> None:
        async with limit.enforce(lambda: did_not_boot(self.name, self.paths, limit)):
            while not await came(self._agent_open.wait, Deadline.after(HEARTBEAT)):
                self._bus.emit(
                    "wait.heartbeat",
                    self.name,
                    what="boot",
                    elapsed=round(limit.elapsed, 1),
                    limit=limit.limit,
                    last=(tail(self.paths.serial_log, 1) or ["console silent"])[0][:200],
                )

    def _emit(self, state: str, detail: str = "") -> None:
        elapsed = round(monotonic() - self._born, 3)
        self._bus.emit("machine.state", self.name, state=state, elapsed=elapsed, detail=detail)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
