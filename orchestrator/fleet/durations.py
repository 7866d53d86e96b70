"""How long cells took before: what a history of runs gives, or a file of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from orchestrator.errors import UsageError


class Durations(Protocol):
    """A history that knows how long cells take."""

    def seconds(self, cell: str) -> float | None:
        """Seconds that a cell is expected to take; None if it never ran."""


class DurationsFile:
    """Durations of a JSON file: ``{"CELL": SECONDS}``, or the ``summary.json`` of an earlier matrix.

    Raises:
        UsageError: the file is something else.
    """

    def __init__(self, path: Path) -> None:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            cells = data["cells"] if isinstance(data.get("cells"), list) else None
            pairs = [(one["id"], one["seconds"]) for one in cells] if cells is not None else list(data.items())
            self._known = {str(name): float(value) for name, value in pairs}
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise UsageError(
                f"{path} has no durations",
                why=f"{type(error).__name__}: {error}",
                hint='{"CELL": SECONDS, …}, or the summary.json of an earlier matrix',
            ) from error

    def seconds(self, cell: str) -> float | None:
        return self._known.get(cell)


def known_seconds(durations: Durations | None, cells: list[str]) -> Mapping[str, float]:
    """The seconds of those cells that are known."""
    found = {cell: durations.seconds(cell) for cell in cells} if durations is not None else {}
    return {cell: seconds for cell, seconds in found.items() if seconds is not None}
