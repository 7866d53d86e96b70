"""The order for an attempt of a cell, as its host sees our files. Pure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orchestrator.fleet.board import CellState
from orchestrator.fleet.evidence import attempt_folder
from orchestrator.fleet.hosts import Host
from orchestrator.fleet.journal import MatrixPlan
from orchestrator.fleet.orders import Order


def order_of(plan: MatrixPlan, state: CellState, host: Host, run_folder: Path) -> Order:
    """What the host is told of the latest attempt."""
    cell = state.cell
    moved = replace(
        cell,
        layers={name: Path(host.there(folder)) for name, folder in cell.layers.items()},
        suite=Path(host.there(cell.suite)) if cell.suite else None,
    )
    return Order(
        run=plan.run,
        cell=cell.id,
        attempt=state.attempt,
        name=f"{plan.name}-{cell.number}",
        words=(f"--file={host.there(plan.topology)}", *plan.words, *moved.words()),
        command=plan.command,
        variables={**plan.variables, **moved.variables(), "ORCH_FILE": host.there(plan.topology)},
        cwd=host.there(plan.topology.parent),
        folder=host.folder(run_folder, attempt_folder(cell.id, state.attempt)),
        needs=state.needs,
        limit=plan.limit,
    )
