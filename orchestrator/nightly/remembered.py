"""What a night asks the history. A history that cannot be used ends no night: it then knows nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from orchestrator.errors import HistoryError
from orchestrator.history.filling import fill, refill
from orchestrator.history.queries import TestHistory, tests
from orchestrator.history.store import History
from orchestrator.nightly.overlap import LastNight, last_night

T = TypeVar("T")


@dataclass(slots=True)
class Remembered:
    """Answers of the history; ``problem`` is why there was none."""

    history: History = field(default_factory=History)
    problem: str = ""

    def known_tests(self, environment: str, variant: str | None) -> set[tuple[str, str, str]]:
        """Phase, file and title of all tests that ran before in whole runs."""

        def work(connection: sqlite3.Connection) -> set[tuple[str, str, str]]:
            return {
                tuple(row)
                for row in connection.execute(
                    "SELECT phase, file, title FROM test WHERE EXISTS (SELECT 1 FROM result JOIN run USING (run_id)"
                    " WHERE result.test_id = test.test_id AND environment = ? AND (? IS NULL OR variant = ?)"
                    " AND NOT partial)",
                    (environment, variant, variant),
                )
            }

        return self._ask(work, set())

    def last_night(self, name: str, now: str) -> LastNight | None:
        """The last one before night ``now``."""
        return self._ask(lambda connection: last_night(connection, name, now), None)

    def last_success(self, name: str) -> float | None:
        """When a night ended last that passed."""

        def work(connection: sqlite3.Connection) -> float | None:
            found = connection.execute(
                "SELECT max(ended) FROM night WHERE topology = ? AND outcome IN ('passed', 'suspicious', 'flaky')",
                (name,),
            ).fetchone()[0]
            return None if found is None else float(found)

        return self._ask(work, None)

    def tests(self, environment: str) -> list[TestHistory]:
        """All tests of an environment with their verdicts now."""
        return self._ask(lambda connection: tests(connection, environment=environment), [])

    def _ask(self, work: Callable[[sqlite3.Connection], T], nothing: T) -> T:
        def now(connection: sqlite3.Connection) -> T:
            fill(connection, self.history.folders())
            return work(connection)

        try:
            return self.history.use(now, refill(self.history))
        except HistoryError as error:
            self.problem = error.brief
            return nothing
