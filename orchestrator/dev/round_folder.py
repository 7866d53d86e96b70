"""A run folder for each round of `dev`, in an environment that stays up: its own events, logs and report."""

from __future__ import annotations

import shutil
from contextlib import ExitStack, suppress
from pathlib import Path

from orchestrator.debug import debug_log
from orchestrator.environment.joined import LogMarks, tell_again
from orchestrator.environment.paths import new_run_folder
from orchestrator.environment.plan import Request
from orchestrator.environment.run_events import emit_run_started
from orchestrator.environment.session import Session
from orchestrator.events import EventBus, JsonLinesLog
from orchestrator.events.dev import DevCycleEnded
from orchestrator.events.run import RunFinished, RunOutcome
from orchestrator.report.write import write_report
from orchestrator.threads import in_thread

KEPT = 10  # folders of rounds; older ones are removed
OUTCOMES: dict[str, tuple[RunOutcome, int]] = {
    "passed": ("passed", 0),
    "failed": ("failed", 1),
    "error": ("error", 3),
    "superseded": ("interrupted", 130),
    "unchanged": ("passed", 0),
}


class RoundFolders:
    """The run folders of rounds; one that opens the environment has that of the opening.

    Attributes:
        fresh: this round has a folder.
    """

    def __init__(self) -> None:
        self.fresh = False
        self._made: list[Path] = []
        self._open = ExitStack()
        self._log: JsonLinesLog | None = None
        self._marks: LogMarks | None = None

    def begin(self, session: Session, request: Request) -> None:
        """From now on events, pictures and artifacts of the session go into a folder of their own."""
        self._made.append(folder := new_run_folder(request.runs))
        session.paths.remember_run(folder)
        debug_log.write_to(folder)
        log = self._open.enter_context(JsonLinesLog(folder / "events.jsonl"))
        alone, state = EventBus(), session.record.state
        alone.subscribe(log)
        emit_run_started(request, folder, state.provider, alone)
        tell_again(state, alone)
        self._open.callback(session.bus.subscribe(log))
        self._log, self._marks = log, LogMarks.of(state.run_folder)
        session.run_folder = folder
        self.fresh = True

    async def end(self, session: Session, ended: DevCycleEnded) -> None:
        """The round's folder is complete, with its report."""
        self.fresh = False
        if self._log is None or self._marks is None:
            return
        outcome, code = OUTCOMES[ended.outcome]
        self._log(RunFinished(ended.subject, outcome=outcome, exit_code=code, elapsed=ended.elapsed))
        marks, folder = self._marks, session.run_folder
        self.leave()
        with suppress(OSError):  # a full disk, or a folder that somebody removed, must not end the loop
            await in_thread(marks.copy_since, folder)
            await in_thread(write_report, folder)
        session.paths.remember_run(session.logs_folder)
        while len(self._made) > KEPT:
            shutil.rmtree(self._made.pop(0), ignore_errors=True)

    def leave(self) -> None:
        """Nothing more is written into the folder of this round."""
        self._open.close()
        self._log = self._marks = None
