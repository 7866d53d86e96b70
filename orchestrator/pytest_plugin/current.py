"""The test that has the environment: what is recorded of it, and what is found in its time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.pytest_plugin.markers import Wanted, accepted
from orchestrator.pytest_plugin.resets import Place

if TYPE_CHECKING:
    from orchestrator.driver.results import Moment
    from orchestrator.events.machines import LogMatched
    from orchestrator.events.suite import Attachment
    from orchestrator.sync import Environment

PHASE = "pytest"
ERROR_LIMIT = 20_000  # characters of a failure in the events


class Current:
    """A test from before its fixtures to after them.

    Attributes:
        began: whether it has the environment, and did not end.
        moment: when it got it.
        attempt: 0, or how often it was run before (pytest-rerunfailures).
        attachments: the files of its evidence.
    """

    def __init__(self, item: pytest.Item, wanted: Wanted) -> None:
        self.item = item
        self.wanted = wanted
        parts = [part.name for part in item.listchain() if isinstance(part, pytest.Class)]
        self.place = Place(str(item.path), "::".join(parts))
        self.began = False
        self.failed = False
        self.moment: Moment | None = None
        self.attempt = 0
        self.attachments: list[Attachment] = []
        self._environment: Environment | None = None
        self._looked = 0.0
        self._overhead = 0.0
        self._seconds = 0.0
        self._status, self._error = "passed", ""

    @contextmanager
    def overhead(self) -> Iterator[None]:
        """Time that is not the test's: an environment comes up, or is reset."""
        began = monotonic()
        try:
            yield
        finally:
            self._overhead += monotonic() - began

    def begin(self, environment: Environment) -> None:
        """It has the environment from now on."""
        from orchestrator.events.suite import TestBegan

        self._environment, self.began, self.failed, self.attachments = environment, True, False, []
        self._status, self._error = "passed", ""
        self.moment = environment.moment()
        self._looked = self.moment.at
        environment.record(TestBegan(self._title, **self._common))

    def saw(self, report: pytest.TestReport) -> None:
        """A phase of it ended: setup, call or teardown."""
        if report.when == "setup":
            self._seconds = 0.0
        self._seconds += report.duration
        if report.failed:
            self.failed = True
            self._status, self._error = "failed", self._error or _error_of(report)
        elif report.skipped and not self.failed:
            self._status = "skipped"

    def end(self, status: str = "") -> None:
        """It gives the environment back.

        Args:
            status: in place of what was seen.
        """
        from orchestrator.events.suite import TestEnded

        if not self.began or self._environment is None:
            return
        self.began = False
        self._environment.record(
            TestEnded(
                self._title,
                **self._common,
                status=status or self._status,
                duration=round(max(0.0, self._seconds - self._overhead), 3),
                retry=self.attempt,
                error=self._error,
                attachments=tuple(self.attachments),
            )
        )
        self._overhead = 0.0
        self.attempt += 1

    def new_signs(self) -> list[LogMatched]:
        """Log lines that fail a run, since it was asked last, without those that the test accepts."""
        from orchestrator.events.machines import LogMatched
        from orchestrator.log_patterns import Severity

        if not self.began or self._environment is None:
            return []
        new = [event for event in self._environment.events if event.at > self._looked]
        self._looked = max((event.at for event in new), default=self._looked)
        fine = accepted(self.item)
        matches = (event for event in new if isinstance(event, LogMatched))
        return [e for e in matches if e.severity is Severity.FAILING and not e.waiver and e.pattern not in fine]

    @property
    def _title(self) -> str:
        return " › ".join(self.item.nodeid.split("::"))

    @property
    def _common(self) -> dict[str, Any]:
        file, line, _ = self.item.location
        return {"phase": PHASE, "id": self.item.nodeid, "file": file, "line": (line or 0) + 1}


def _error_of(report: pytest.TestReport) -> str:
    """The failure: its message first, then all that pytest shows."""
    crash = getattr(report.longrepr, "reprcrash", None)
    message = str(getattr(crash, "message", ""))
    text = report.longreprtext
    return f"{message}\n\n{text}"[:ERROR_LIMIT] if message and not text.startswith(message) else text[:ERROR_LIMIT]
