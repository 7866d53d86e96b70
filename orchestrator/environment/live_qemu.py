"""The QEMU of one machine that a command drives: its process, logs, QMP, and what watches them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from orchestrator.deadline import Deadline, monotonic
from orchestrator.environment.failures import mark_new_boot
from orchestrator.environment.runstate import StateError
from orchestrator.environment.screenshots import take_screenshot
from orchestrator.environment.watch import Watcher
from orchestrator.errors import MachineError
from orchestrator.events import EventBus
from orchestrator.events.clock import monotonic_clock
from orchestrator.events.machines import MachineState, MachineStateChanged
from orchestrator.process import launch, tail
from orchestrator.process_id import ProcessId
from orchestrator.snapshots.manifest import MachineFiles
from orchestrator.vm.arguments import MachinePaths
from orchestrator.vm.qmp import Monitor, connect
from orchestrator.waivers import Waiver

STATUS_LIMIT = 1.0  # seconds QEMU has to say how a machine is, in an error
QMP_LIMIT = 20.0  # not scaled: QEMU itself is not emulated


class LiveQemu:
    """QEMU's side of a machine; of the guest it only knows the lines that it prints.

    Attributes:
        watcher: of its process, its console, its journal and its events.
        process: as far as it is known.
        started_at: when it was started, as events have their `at`.
    """

    def __init__(self, name: str, paths: MachinePaths, accept: tuple[Waiver, ...], bus: EventBus) -> None:
        self.name = name
        self.paths = paths
        self.bus = bus
        self.watcher = Watcher(name, paths, accept, bus, self.report)
        self.process: ProcessId | None = None
        self.restart_clock()

    @property
    def monitor(self) -> Monitor:
        """The connection to QEMU.

        Raises:
            StateError: there was none yet.
        """
        monitor = self.watcher.monitor
        if monitor is None:
            raise StateError(f"QMP of machine {self.name} is not connected")
        return monitor

    def runs_as(self, process: ProcessId) -> None:
        """It has this process, which is watched from now on."""
        self.process = process
        self.watcher.started(process)

    def report(self, state: MachineState, detail: str = "") -> None:
        """The machine came to a state; seconds count from its start."""
        elapsed = round(monotonic() - self._started, 3)
        self.bus.emit(MachineStateChanged(self.name, state=state, elapsed=elapsed, detail=detail))

    def restart_clock(self) -> None:
        """The machine starts now, or again."""
        self._started = monotonic()
        self.started_at = monotonic_clock()

    def launch(self, argv: tuple[str, ...], environment: Mapping[str, str]) -> ProcessId:
        """Start the run script, in clean folders."""
        p = self.paths
        for folder in (p.work, p.scratch, p.sockets, p.logs):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for stale in (p.qmp, p.qmp_side, p.agent, p.console, p.egress_in, p.egress_out, p.vnc):
            stale.unlink(missing_ok=True)
        self.restart_clock()
        self.report("starting")
        process = launch(argv, log=p.qemu_log, env=environment)
        self.runs_as(process)
        return process

    async def connect(self, deadline: Deadline) -> None:
        """Connect to QMP.

        Raises:
            MachineError: QEMU does not answer.
        """
        self.watcher.connected(await connect(self.name, self.paths.qmp, deadline.earlier(QMP_LIMIT)))

    async def wait_for_agent(self, deadline: Deadline) -> None:
        """Wait until the guest agent opens its port; a boot that makes no progress is reset, once.

        Raises:
            MachineError: the guest did not boot in time.
        """
        self.watcher.booting = True
        await self.watcher.wait_for_agent(deadline)
        self.watcher.booting = False

    def seed_logs(self, files: MachineFiles) -> None:
        """Begin the logs with those of a snapshot: they show what led to its state. They were judged when written."""
        self.paths.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        for saved, log in ((files.serial, self.paths.serial_log), (files.journal, self.paths.journal)):
            if saved.exists() and not log.exists():
                shutil.copyfile(saved, log)
        mark_new_boot(self.paths)
        self.watcher.skip_logs()

    async def screenshot(self, step: str, run_folder: Path) -> None:
        """A picture of the display into the run folder, once QMP is connected; a failure is only noted."""
        if self.watcher.monitor is not None:
            await take_screenshot(self.watcher.monitor, self.bus, step, run_folder)

    async def describe(self) -> str:
        """What QEMU says of the machine within a second, and the last line of its console."""
        description = "not started"
        if self.watcher.monitor is not None:
            try:
                status = await self.watcher.monitor.execute("query-status", deadline=Deadline.after(STATUS_LIMIT))
                description = f"QEMU says {status['status']}"
            except MachineError as error:
                description = error.what
        last = tail(self.paths.serial_log, 1)
        return f"{description}; console: {last[0].strip()}" if last else description

    async def close(self) -> None:
        """Close QMP; QEMU goes on running."""
        if self.watcher.monitor is not None:
            await self.watcher.monitor.close()
