"""What a topology accepts of the log patterns. Apart from them: to read a topology costs no compiled patterns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from orchestrator.patterns import LINE_LIMIT, PatternError, found


@dataclass(frozen=True, slots=True)
class Waiver:
    """A log pattern that is known and does not count, until a day.

    Attributes:
        machine: only there; empty: everywhere.
        matching: only lines in which this regular expression (RE2) is found; empty: all.
        until: the last day it holds.
    """

    pattern: str
    reason: str
    until: date
    machine: str = ""
    matching: str = ""

    def holds(self, today: date) -> bool:
        return today <= self.until

    def covers(self, pattern: str, machine: str, line: str) -> bool:
        """Whether it is about this line."""
        return self.pattern == pattern and self.machine in ("", machine) and (not self.matching or self._matches(line))

    def _matches(self, line: str) -> bool:
        try:
            return found(self.matching, line, LINE_LIMIT)
        except PatternError:  # another version wrote it; it waives nothing now
            return False
