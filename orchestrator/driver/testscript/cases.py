"""The test cases of a script and what it prints, as events."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from orchestrator.deadline import monotonic
from orchestrator.driver.testscript.calls import ScriptStopped
from orchestrator.driver.testscript.outcome import Case, failure_of, failure_text, is_of_script
from orchestrator.driver.testscript.script import Script
from orchestrator.events import Event
from orchestrator.events.suite import SuiteError, SuiteOutput, SuiteStateChanged, TestBegan, TestEnded

Emit = Callable[[Event], object]


class Cases:
    """Tells what a script does.

    Args:
        emit: takes the events.
        keep_going: a subtest that failed is recorded, and the script goes on behind it.
    """

    def __init__(self, script: Script, emit: Emit, *, keep_going: bool = False) -> None:
        self.cases: list[Case] = []
        self.first_error: BaseException | None = None  # of a case
        self._script = script
        self._emit = emit
        self._keep_going = keep_going
        self._began = monotonic()
        self._number = 0
        self._known: set[int] = set()  # errors that a case has told, by identity

    @property
    def phase(self) -> str:
        """What the cases are listed under."""
        return self._script.name

    # ------------------------------------------------------------------ output

    def say(self, text: str) -> None:
        """Lines for the user, and for the report."""
        for line in text.splitlines() or [""]:
            self._emit(SuiteOutput(self.phase, line=line, stream="stderr"))

    @contextmanager
    def nested(self, text: str) -> Iterator[None]:
        """Tell that something begins, and how long it took."""
        self.say(text)
        began = monotonic()
        yield
        self.say(f"(finished: {text}, in {monotonic() - began:.2f} seconds)")

    # ------------------------------------------------------------------ cases

    @contextmanager
    def case(self, title: str) -> Iterator[None]:
        """A block of the script as a test case.

        An error of the machines is raised even where subtests may fail: nothing after it would tell anything.
        """
        self._number += 1
        number, line, began = f"{self.phase}-{self._number}", self._line(), monotonic()
        self.say(f"subtest: {title}")
        self._emit(TestBegan(title, phase=self.phase, id=number, file=self._script.shown, line=line))
        try:
            yield
        except ScriptStopped:
            self._end(Case(title, line, "interrupted", monotonic() - began, "the script was ended"), number)
            raise
        except Exception as error:
            first = id(error) not in self._known
            self._known.add(id(error))
            text = failure_text(failure_of(error, self._script))
            self._end(Case(title, line, "failed", monotonic() - began, text), number)
            self.first_error = self.first_error or error
            if not (self._keep_going and is_of_script(error)):
                raise
            if first:
                self.say(text)
        else:
            self._end(Case(title, line, "passed", monotonic() - began), number)

    def _end(self, case: Case, number: str) -> None:
        self.cases.append(case)
        self._emit(
            TestEnded(
                case.title,
                phase=self.phase,
                id=number,
                file=self._script.shown,
                line=case.line,
                status=case.status,
                duration=round(case.seconds, 3),
                retry=0,
                error=case.error,
            )
        )

    def _line(self) -> int:
        """The line of the script that is executed now."""
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_code.co_filename != str(self._script.path):
            frame = frame.f_back
        return 1 if frame is None else frame.f_lineno

    # ------------------------------------------------------------------ the whole

    def begin(self) -> None:
        """The script begins."""
        self._began = monotonic()
        self._emit(SuiteStateChanged(self.phase, state="running"))

    def finish(self, error: BaseException | None) -> None:
        """The script ended; where it has no cases, it is one itself."""
        seconds = monotonic() - self._began
        status = "passed"
        text = ""
        if error is not None:
            status = "interrupted" if isinstance(error, ScriptStopped) else "failed"
            text = failure_text(failure_of(error, self._script))
        if not self.cases:
            self._number += 1
            self._end(Case(self.phase, 1, status, seconds, text), f"{self.phase}-{self._number}")
        elif status == "failed" and id(error) not in self._known:
            self._emit(SuiteError(self.phase, error=text))
        counts = Counter(case.status for case in self.cases)
        self._emit(
            SuiteStateChanged(
                self.phase,
                state="finished",
                exit_code=0 if error is None and self.first_error is None else 1,
                passed=counts["passed"],
                failed=counts["failed"] + counts["interrupted"],
                elapsed=round(seconds, 3),
            )
        )

    def summary(self) -> str:
        """``2 of 5 subtests failed``."""
        failed = sum(case.status != "passed" for case in self.cases)
        return f"{failed} of {len(self.cases)} subtests failed"
