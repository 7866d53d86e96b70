"""Events of a matrix: its cells and the hosts that run them."""

from __future__ import annotations

from typing import Literal

from orchestrator.events.base import Event, event_kind

HostState = Literal["joining", "up", "lost", "refused", "gone", "left"]
CellState = Literal[
    "starting",
    "running",
    "waiting",
    "lost",
    "passed",
    "suspicious",
    "failed",
    "error",
    "interrupted",
    "nothing-ran",
]


@event_kind("matrix.started")
class MatrixStarted(Event):
    """`orchestrator matrix` begins, or goes on with `--resume`; the first line of its ``events.jsonl``.

    Attributes:
        subject: topology
        run_id: name of the run folder
        run_folder: path of the run folder
        cells: the cells that are to run
        hosts: the hosts they may run on
        expected: how many seconds the cells will take together, as far as durations are known
    """

    run_id: str
    run_folder: str
    cells: tuple[str, ...]
    hosts: tuple[str, ...]
    expected: float | None = None


@event_kind("host.state")
class HostStateChanged(Event):
    """A host of the fleet joins, is up, or does not take part any more.

    Attributes:
        subject: host
        state: `lost`: it is silent and may come back; `refused`: it cannot take part; `gone`: it was given up; `left`:
            the run is over
        detail: what it has, or why it does not take part
    """

    state: HostState
    detail: str = ""


@event_kind("cell.state")
class CellStateChanged(Event):
    """A cell begins, waits, is lost with its host, or ends.

    Attributes:
        subject: cell
        state: the new state; at its end the outcome of its run
        host: where
        attempt: which one, from 1
        elapsed: how many seconds it ran
        detail: why it waits or failed
    """

    state: CellState
    host: str = ""
    attempt: int = 0
    elapsed: float | None = None
    detail: str = ""


@event_kind("cell.output")
class CellOutput(Event):
    """A line that the command of a cell printed; in the cell's folder, not in ``events.jsonl``.

    Attributes:
        subject: cell
        host: where
        line: the line
    """

    host: str
    line: str
