"""A night while it goes on, and its ``night.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from orchestrator.atomic import write_atomically
from orchestrator.events import utc_text
from orchestrator.history.records import NIGHT

FORMAT = 1  # of night.json
Outcome = Literal["passed", "suspicious", "flaky", "nothing-ran", "failed", "error", "interrupted", "skipped"]
WORST_FIRST: tuple[Outcome, ...] = (
    "interrupted",
    "error",
    "failed",
    "nothing-ran",
    "flaky",
    "suspicious",
    "passed",
)
CODES: Mapping[str, int] = {"error": 3, "failed": 1, "nothing-ran": 4, "flaky": 0, "suspicious": 0, "passed": 0}


@dataclass(slots=True)
class Update:
    """Something that was to be brought up to date before the first run.

    Attributes:
        what: ``pull FOLDER`` or ``images``.
        before, after: the revision; equal: nothing new.
    """

    what: str
    ok: bool
    before: str = ""
    after: str = ""
    message: str = ""
    seconds: float = 0.0


@dataclass(slots=True)
class CellRun:
    """A run of a cell; ``role`` as in `orchestrator.history.records.NightRun`."""

    run_id: str
    folder: str
    role: str
    outcome: str
    exit_code: int | None


@dataclass(slots=True)
class CellState:
    """What became of a cell.

    Attributes:
        outcome: empty: it did not run yet.
        failed, flaky, quarantined, new: titles of tests.
    """

    name: str
    variant: str = ""
    outcome: str = ""
    exit_code: int = 0
    cause: str = ""
    left_out: bool = False
    tests: int = 0
    seconds: float = 0.0
    runs: list[CellRun] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    flaky: list[str] = field(default_factory=list)
    quarantined: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Night:
    """A night; every step of it is written at once, so that a night that was killed says how far it came.

    Attributes:
        started, ended: seconds since the epoch; ``ended`` 0: it goes on.
        missed: how many nights there should have been since the last one.
        broken, fixed: titles of tests whose verdict became so tonight.
    """

    night_id: str
    folder: Path
    topology: str
    name: str
    started: float
    ended: float = 0.0
    outcome: str = ""
    exit_code: int | None = None
    reason: str = ""
    missed: int = 0
    clock_back: bool = False
    updates: list[Update] = field(default_factory=list)
    cells: list[CellState] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    fixed: list[str] = field(default_factory=list)
    newly_flaky: list[str] = field(default_factory=list)
    message: str = ""
    told: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The content of ``night.json``."""
        found = asdict(self)
        found["folder"] = str(self.folder)
        texts = {"started_utc": utc_text(self.started), "ended_utc": utc_text(self.ended) if self.ended else None}
        return {"format": FORMAT, **found, **texts}

    def write(self) -> None:
        """Replace ``night.json``.

        Raises:
            OSError: there is no room.
        """
        write_atomically(self.folder / NIGHT, json.dumps(self.as_dict(), indent=2) + "\n", mode=0o644, durable=True)

    def conclude(self, *, flaky_fails: bool) -> None:
        """Outcome and exit code from the cells: the worst of them."""
        ran = [cell for cell in self.cells if cell.outcome]
        left = [cell.name for cell in self.cells if cell.left_out]
        worst = min(ran, key=lambda cell: WORST_FIRST.index(cell.outcome), default=None)
        if worst is None:
            self.outcome, self.exit_code = ("error", 124) if left else ("nothing-ran", 4)
        else:
            self.outcome = worst.outcome
            code = worst.exit_code if worst.outcome in ("error", "interrupted") else CODES[worst.outcome]
            self.exit_code = 1 if worst.outcome == "flaky" and flaky_fails else code
            self.reason = f"{worst.name}: {worst.cause}" if worst.cause else ""
        if left:
            self.exit_code = max(self.exit_code or 0, 124)
            told = f"no time was left for {', '.join(left)}"
            self.reason = f"{self.reason}; {told}" if self.reason else told
