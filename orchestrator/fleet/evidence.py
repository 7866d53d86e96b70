"""What an attempt left: which outcome it has, and why."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.fleet.hosts import Host
from orchestrator.fleet.journal import Finished
from orchestrator.fleet.orders import Ended, Order
from orchestrator.process import tail

OUTCOMES = {0: "passed", 1: "failed", 4: "nothing-ran", 129: "interrupted", 130: "interrupted", 143: "interrupted"}
SUMMARY_ONLY = ("passed", "suspicious", "nothing-ran")  # of these, the rest of the evidence is not needed
OUTPUT = "output.log"  # in the folder of an attempt: what its command printed


def run_folder_in(folder: Path) -> Path | None:
    """The run folder of an attempt; None if its command made none."""
    if not folder.is_dir():
        return None
    found = sorted(one for one in folder.iterdir() if one.is_dir() and not one.is_symlink())
    return found[-1] if found else None


def attempt_folder(cell: str, attempt: int) -> str:
    """The name of an attempt's folder. Pure.

    >>> attempt_folder("full+1of2", 3)
    'full+1of2/3'
    """
    return f"{cell}/{attempt}"


async def brought_home(
    order: Order, host: Host, ended: Ended, run_folder: Path, began: float, *, whole: bool
) -> Finished:
    """Bring an attempt's evidence home: what every report needs, and the rest where it did not pass; its result.

    Args:
        whole: the rest in any case.
    """
    home = run_folder / "cells" / attempt_folder(order.cell, order.attempt)
    home.mkdir(parents=True, exist_ok=True)

    def result() -> Finished:
        return finished(order, host.name, ended, home, run_folder, began)

    try:
        await host.bring(ended.folder, home, whole=whole)
        if result().outcome not in SUMMARY_ONLY and not whole:
            await host.bring(ended.folder, home, whole=True)
        await host.discard(ended.folder)
    except OrchestratorError as error:
        trouble = f"its evidence did not come home: {error.brief}"
        return replace(result(), cause="; ".join(one for one in (result().cause, trouble) if one))
    return result()


def finished(order: Order, host: str, ended: Ended, home: Path, root: Path, began: float) -> Finished:
    """The result of an attempt that ran to its end.

    Args:
        home: the folder of the attempt, at home.
        root: the run folder of the matrix.
    """
    assert ended.code is not None
    folder = run_folder_in(home)
    summary = summary_of(folder) if folder else {}
    outcome = outcome_of(ended.code, summary)
    cause = str(summary.get("cause") or "") if outcome == summary.get("outcome") else ""
    if not cause and outcome not in ("passed", "suspicious"):
        cause = " ".join([f"exit code {ended.code}", *(f"({line})" for line in tail(home / OUTPUT, 1))])
    return Finished(
        cell=order.cell,
        attempt=order.attempt,
        host=host,
        outcome=outcome,
        code=ended.code if ended.code >= 0 else 128 - ended.code,
        seconds=round(ended.seconds, 2),
        cause="; ".join(one for one in (cause, ended.left) if one),
        folder=str(folder.relative_to(root)) if folder else "",
        began=began,
    )


def outcome_of(code: int, summary: dict[str, Any]) -> str:
    """The outcome of a command that ended: what its summary says where that fits the exit code, else by the code. Pure.

    >>> outcome_of(0, {"outcome": "suspicious", "exit_code": 0}), outcome_of(3, {"outcome": "passed", "exit_code": 0})
    ('suspicious', 'error')
    """
    if summary.get("exit_code") == code and summary.get("outcome"):
        return str(summary["outcome"])
    return OUTCOMES.get(code, "error")


def summary_of(folder: Path) -> dict[str, Any]:
    """The ``summary.json`` of a run folder; nothing where there is none."""
    try:
        found = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
