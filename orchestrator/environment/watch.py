"""A machine seen from outside, all the while: its process, its console, its journal, the events of its QEMU."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from functools import partial
from pathlib import Path

from orchestrator.deadline import Deadline, completes_before
from orchestrator.environment.failures import did_not_boot, disk_full, ended, panicked, paused
from orchestrator.environment.resumes import Resumes
from orchestrator.environment.silences import Silences
from orchestrator.errors import MachineError
from orchestrator.events import EventBus, wall_clock
from orchestrator.events.machines import LogMatched, MachineState
from orchestrator.events.run import Note
from orchestrator.events.services import Heartbeat
from orchestrator.log_patterns import CPU_STALL, HALTED, LogPattern, find_in_console, find_in_journal, waiver_for
from orchestrator.process import describe_exit, exit_code, tail
from orchestrator.process_id import ProcessId, watch_end
from orchestrator.services.journal import Entry, Journal
from orchestrator.tasks import Later, run_with_watchdogs
from orchestrator.threads import in_thread
from orchestrator.vm.arguments import AGENT_DEVICE, MachinePaths
from orchestrator.vm.arrivals import ArrivalLog
from orchestrator.vm.follow import FILE_LIMIT, follow_lines, shorten
from orchestrator.vm.qmp import Monitor, event_summary
from orchestrator.vm.samples import take_samples
from orchestrator.waivers import Waiver

RESET_LIMIT = 10.0
HEARTBEAT = 30.0
BOUND_INTERVAL = 1.0  # seconds between two looks at how long the logs are
WORTH_A_NOTE = ("RESET", "SHUTDOWN", "BLOCK_IO_ERROR", "WATCHDOG")
BROKEN_STATES = ("internal-error", "io-error", "guest-panicked")


class Watcher:
    """Ends the wait for anything else when the machine is lost, and tells what its lines say.

    Attributes:
        agent_open: the guest agent has opened its port, as QEMU tells.
        was_reset: it has reset the machine since `expecting_reset` was entered.
        sshd_listens: the guest's sshd has said so in its journal.
        booting: a boot that hangs may be reset, once.
        expects_end: its end is wanted: it stops, and does not die.
        resumes: when its CPUs went on after a pause.
        silences: what faults make of it.
    """

    def __init__(
        self,
        name: str,
        paths: MachinePaths,
        waivers: Sequence[Waiver],
        bus: EventBus,
        emit_state: Callable[[MachineState, str], None],
    ) -> None:
        self.journal = Journal(paths.journal, self._on_entry)
        self.agent_open = asyncio.Event()
        self.was_reset = asyncio.Event()
        self.sshd_listens = asyncio.Event()
        self.resumes = Resumes()
        self.booting = self.expects_end = False
        self.silences = Silences()
        self._name = name
        self._paths = paths
        self._waivers = waivers
        self._bus = bus
        self._emit = emit_state
        self._process = Later[ProcessId]()
        self._monitor = Later[Monitor]()
        self._seen: set[tuple[str, bool]] = set()
        self._console_start = 0
        self._console_arrivals = ArrivalLog(paths.serial_log)
        self._expects_reset = False

    def started(self, process: ProcessId) -> None:
        """There is a process to watch."""
        self._process.set(process)

    def connected(self, monitor: Monitor) -> None:
        """QMP answers: its events are watched from now on."""
        self._monitor.set(monitor)

    @property
    def monitor(self) -> Monitor | None:
        """The connection to QEMU; None before it was made."""
        return self._monitor.value

    async def wait_connected(self) -> Monitor:
        """The connection to QEMU, as soon as it is made."""
        return await self._monitor.wait()

    def skip_logs(self) -> None:
        """What the logs say up to now is of earlier machines of this name, and was judged then."""
        log = self._paths.serial_log
        self._console_start = log.stat().st_size if log.exists() else 0
        self.journal.skip()

    @contextmanager
    def expecting_reset(self) -> Iterator[None]:
        """In the block a reset is no surprise, and `was_reset` tells that it came."""
        self.was_reset.clear()
        self._expects_reset = True
        try:
            yield
        finally:
            self._expects_reset = False

    async def wait_for_agent(self, deadline: Deadline) -> None:
        """Wait until the guest agent opens its port.

        Raises:
            MachineError: it did not boot in time.
        """
        async with deadline.enforce(lambda: did_not_boot(self._name, self._paths, deadline)):
            while not await completes_before(self.agent_open.wait, Deadline.after(HEARTBEAT)):
                self._bus.emit(_still_boots(self._name, self._paths, deadline))

    async def watch(self) -> None:
        """Raise a `MachineError` when the machine dies, panics or gets stuck; never return."""
        await run_with_watchdogs(
            self._watch_end(),
            [
                self._watch_console,
                self._watch_journal,
                self._watch_events,
                self.resumes.watch,
                partial(_take_samples, self._process, self._paths.samples),
                partial(bound_logs, self._name, self._paths, self._bus),
            ],
        )

    async def _watch_end(self) -> None:
        process = await self._process.wait()
        await watch_end(process)
        code = exit_code(process)
        self._emit("stopped" if self.expects_end else "died", describe_exit(code) if code is not None else "")
        raise ended(self._name, self._paths, code)

    async def _watch_journal(self) -> None:
        await self._process.wait()
        await self.journal.follow()

    async def _watch_console(self) -> None:
        await self._process.wait()
        log = self._paths.serial_log
        async for line in follow_lines(log, start=self._console_start, arrivals=self._console_arrivals):
            sign = find_in_console(line)
            if sign is not None:
                await self._on_sign(sign, line)

    async def _watch_events(self) -> None:
        monitor = await self._monitor.wait()
        async with monitor.events() as events:
            async for message in events:
                name, data = event_summary(message)
                if name == "VSERPORT_CHANGE" and data.get("id") == AGENT_DEVICE:
                    (self.agent_open.set if data.get("open") else self.agent_open.clear)()
                elif name == "GUEST_PANICKED" and not self.silences.panic:
                    await asyncio.sleep(0.3)  # the console's last words are still coming
                    raise self._panicked("QEMU reports that the guest panicked")
                elif name == "RESUME":
                    self.resumes.noticed()
                elif name == "STOP":
                    await self._on_stop(monitor)
                elif name == "BLOCK_IO_ERROR" and data.get("nospace"):
                    raise disk_full(self._name, self._paths)
                elif name == "RESET" and (self._expects_reset or self.silences.reset):
                    self.agent_open.clear()  # an agent that opens from now on is the next boot's
                    self.was_reset.set()
                elif name in WORTH_A_NOTE and not (name == "SHUTDOWN" and self.expects_end):
                    self._bus.emit(Note(self._name, level="warning", message=f"QMP event {name} {dict(data)}"))

    async def _on_stop(self, monitor: Monitor) -> None:
        """Its CPUs are paused. Where QEMU itself did that, nothing lets them go on."""
        status = await monitor.run_state()
        if status in BROKEN_STATES and not (status == "guest-panicked" and self.silences.panic):
            raise paused(self._name, self._paths, status)

    async def _on_sign(self, sign: LogPattern, line: str) -> None:
        if not (sign.name == HALTED and self.expects_end):
            self._report(sign, line)
        if sign.fatal:
            await asyncio.sleep(0.5)  # QEMU may say meanwhile that its guest shut down
            if not self._is_wanted(sign):
                raise self._panicked(sign.explanation)
        if sign.name == CPU_STALL and self.booting:
            await self._begin_again()

    def _is_wanted(self, sign: LogPattern) -> bool:
        return (sign.name == HALTED and self.expects_end) or bool(self.silences.of(sign.name))

    async def _begin_again(self) -> None:
        """Reset a boot that hangs, once: under emulation a CPU's timer is lost in one of hundreds."""
        self.booting = False
        message = "its boot hangs: a CPU makes no progress; the machine is reset once"
        self._bus.emit(Note(self._name, level="warning", message=message))
        monitor = await self._monitor.wait()
        await monitor.execute("system_reset", deadline=Deadline.after(RESET_LIMIT))

    def _panicked(self, why: str) -> MachineError:
        self._emit("panicked", why)
        return panicked(self._name, self._paths, why)

    def _on_entry(self, entry: Entry) -> None:
        if entry.identifier == "sshd" and entry.message.startswith("Server listening on"):
            self.sshd_listens.set()
        sign = find_in_journal(entry.identifier, entry.message)
        if sign is not None and not sign.fatal:  # the console says so too, and first
            self._report(sign, entry.message)

    def _report(self, sign: LogPattern, line: str) -> None:
        """The first line of each kind, and the first that is waived, or that a fault explains."""
        known = waiver_for(sign, self._name, line, self._waivers, date.fromtimestamp(wall_clock()))
        why = known.reason if known else self.silences.of(sign.name)
        key = (sign.name, bool(why))
        if key in self._seen:
            return
        self._seen.add(key)
        self._bus.emit(
            LogMatched(
                self._name,
                pattern=sign.name,
                line=line[:500],
                explanation=sign.explanation,
                severity=sign.severity,
                waiver=why,
            )
        )


async def _take_samples(process: Later[ProcessId], path: Path) -> None:
    await take_samples((await process.wait()).pid, path)


async def bound_logs(name: str, paths: MachinePaths, bus: EventBus) -> None:
    """No guest fills the host's disk with what it prints, while somebody watches. It never returns."""
    told = set[Path]()
    while True:
        await asyncio.sleep(BOUND_INTERVAL)
        for log in (paths.serial_log, paths.journal, paths.qemu_log):
            cut = False
            with suppress(OSError):  # its folder was removed
                cut = await in_thread(shorten, log, FILE_LIMIT)
            if cut and log not in told:
                told.add(log)
                message = f"{log.name} is longer than {FILE_LIMIT >> 20} MiB; only its last parts are kept"
                bus.emit(Note(name, level="warning", message=message))


def _still_boots(name: str, paths: MachinePaths, deadline: Deadline) -> Heartbeat:
    last = (tail(paths.serial_log, 1) or ["console silent"])[0][:200]
    return Heartbeat(name, what="boot", elapsed=round(deadline.elapsed, 1), timeout=deadline.timeout, detail=last)
