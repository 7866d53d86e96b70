"""What is told of the cells of a run: events, and the output of their commands."""

from __future__ import annotations

from pathlib import Path

from orchestrator.events import EventBus
from orchestrator.events.fleet import CellOutput, CellStateChanged
from orchestrator.fleet.board import CellState
from orchestrator.fleet.evidence import OUTPUT, attempt_folder
from orchestrator.fleet.journal import Finished


class CellEvents:
    """Tells of cells.

    Args:
        folder: the run folder.
    """

    def __init__(self, bus: EventBus, folder: Path) -> None:
        self._bus = bus
        self._folder = folder

    def say(self, state: CellState, word: str, detail: str = "") -> None:
        """A cell has come to a state that is not its end."""
        self._bus.emit(
            CellStateChanged(
                state.cell.id,
                state=word,  # type: ignore[arg-type]
                host=state.host,
                attempt=state.attempt,
                detail=detail,
            )
        )

    def finished(self, result: Finished) -> None:
        """A cell is over."""
        self._bus.emit(
            CellStateChanged(
                result.cell,
                state=result.outcome,  # type: ignore[arg-type]
                host=result.host,
                attempt=result.attempt,
                elapsed=result.seconds,
                detail=result.cause,
            )
        )

    def line(self, state: CellState, text: str) -> None:
        """A line of its command; it goes into the folder of the attempt too."""
        folder = self._folder / "cells" / attempt_folder(state.cell.id, state.attempt)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / OUTPUT).open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text + "\n")
        self._bus.emit(CellOutput(state.cell.id, host=state.host, line=text))
