"""One night: updates, the runs of every cell, repetitions, the verdicts, and what is written of it."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.errors import HostError, OrchestratorError
from orchestrator.events import wall_clock
from orchestrator.history.filling import CELLS, record
from orchestrator.history.records import RunRecord, read_run
from orchestrator.nightly.choice import judge_cell, new_tests, pattern_of, to_repeat
from orchestrator.nightly.commands import Commands, latest_run
from orchestrator.nightly.model import CellRun, CellState, Night, Update
from orchestrator.nightly.remembered import Remembered
from orchestrator.nightly.updates import pull
from orchestrator.topology.nightly import Cell, Flaky, Isolation, Nightly

SHORTEST = 30.0  # seconds that must be left for a run to begin


@dataclass(frozen=True, slots=True)
class Work:
    """What a night works with.

    Attributes:
        remembered: what earlier runs say.
        say: tells how it goes on, a line each.
    """

    nightly: Nightly
    commands: Commands
    remembered: Remembered
    deadline: Deadline
    say: Callable[[str], object]


def new_folder(runs: Path, word: str) -> Path:
    """Make ``runs/WORD-<UTC time>-<id>/``, with ``runs/latest-WORD`` that leads to it.

    Raises:
        HostError: it cannot be made.
    """
    stamp = datetime.fromtimestamp(wall_clock(), UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = runs.absolute() / f"{word}-{stamp}-{secrets.token_hex(3)}"
    try:
        folder.mkdir(parents=True)
        link = runs / f".latest-{folder.name}"
        link.symlink_to(folder.name)
        link.replace(runs / f"latest-{word}")
    except OSError as error:
        raise HostError(f"the folder of the {word} cannot be made", why=str(error), where=[str(folder)]) from error
    return folder


def new_night(runs: Path, name: str) -> Night:
    """A night with its folder and its ``night.json``.

    Raises:
        HostError: they cannot be made.
    """
    folder = new_folder(runs, "night")
    night = Night(folder.name, folder, name, name, wall_clock())
    _keep(night)
    return night


async def run_night(night: Night, work: Work) -> None:
    """Do everything that the night is to do; its outcome is in it.

    Raises:
        HostError: its ``night.json`` cannot be written.
    """
    nightly = work.nightly
    night.cells = [CellState(cell.name, cell.variant or "") for cell in nightly.cells]
    _keep(night)
    for folder in nightly.pull:
        work.say(f"pull {folder}")
        night.updates.append(await pull(folder, work.deadline))
        _tell_update(night, work)
    if nightly.build:
        for cell in nightly.cells:
            night.updates.append(await _build(night, cell, work))
            _tell_update(night, work)
    for cell, state in zip(nightly.cells, night.cells, strict=True):
        await run_cell(night, cell, state, work)
        _keep(night)
    night.conclude(flaky_fails=nightly.flaky is Flaky.FAIL)


async def run_cell(night: Night, cell: Cell, state: CellState, work: Work) -> None:
    """The run of a cell, and the repetitions of what failed or is new in it."""
    if work.deadline.left < SHORTEST:
        state.left_out = True
        work.say(f"{cell.name}: left out, the budget is used up")
        return
    known = work.remembered.known_tests(work.commands.name, cell.variant)
    first = await _run(night, cell, state, work, role="first")
    if first is None:
        state.outcome, state.exit_code = "error", state.exit_code or 3
        return
    reruns: list[RunRecord] = []
    failed = to_repeat(first)
    today = date.fromtimestamp(wall_clock())
    again = [test for test in failed if not work.nightly.quarantined(test.title, today)]
    for number in range(work.nightly.reruns if again else 0):
        work.say(f"{cell.name}: {len(again)} failed, repetition {number + 1} of {work.nightly.reruns}")
        found = await _run(night, cell, state, work, role="rerun", grep=pattern_of(again))
        if found is None:
            break
        reruns.append(found)
    judge_cell(state, first, reruns, work.nightly, today)
    fresh = new_tests(first, known)
    state.new = [test.title for test in fresh]
    for number in range(work.nightly.new_tests - 1 if fresh else 0):
        work.say(f"{cell.name}: {len(fresh)} new, repetition {number + 2} of {work.nightly.new_tests}")
        found = await _run(night, cell, state, work, role="new", grep=pattern_of(fresh))
        if found is None:
            break
        unsteady = {test.title for test in found.tests if test.status in ("failed", "flaky")} & set(state.new)
        state.flaky += sorted(unsteady - set(state.flaky))
    if state.flaky and state.outcome in ("passed", "suspicious"):
        state.outcome = "flaky"
        state.cause = state.cause or f"{state.flaky[0]} failed and passed on the same revision"
    work.say(f"{cell.name}: {state.outcome}{': ' + state.cause if state.cause else ''}")


async def _run(
    night: Night, cell: Cell, state: CellState, work: Work, *, role: str, grep: str = ""
) -> RunRecord | None:
    """One run of a cell; None: it left no run folder, or there was no time for it."""
    left = work.deadline.left
    if left < SHORTEST:
        return None
    runs = night.folder / CELLS / cell.name
    known = latest_run(runs)
    # A repetition: every command of ours starts from the saved state, and each of its tests is alone in one.
    isolation = str(work.nightly.isolate if role == "first" else Isolation.TEST)
    if role == "first":
        work.say(f"{cell.name}: run")
    words = work.commands.run_words(cell, runs, left, isolation, grep)
    code, last = await work.commands.call(words, runs / "output.txt", left)
    folder = latest_run(runs)
    if folder is None or folder == known:
        state.exit_code = code
        state.cause = state.cause or last or f"`orchestrator run` ended with {code}"
        return None
    found = read_run(folder)
    state.runs.append(CellRun(found.run_id, str(folder), role, found.outcome, found.exit_code))
    _keep(night)
    with suppress(OrchestratorError):  # it is read with the next look at the history
        record(night.folder)
    return found


async def _build(night: Night, cell: Cell, work: Work) -> Update:
    began = Deadline.after(work.deadline.left)
    work.say(f"{cell.name}: images")
    words = work.commands.build_words(cell, began.timeout)
    code, last = await work.commands.call(words, night.folder / "images.txt", began.timeout)
    return Update(
        f"images of {cell.name}", code == 0, message="" if code == 0 else last, seconds=round(began.elapsed, 1)
    )


def _tell_update(night: Night, work: Work) -> None:
    update = night.updates[-1]
    if not update.ok:
        work.say(f"warning: {update.what}: {update.message}; the night goes on with what is there")
    elif update.before != update.after:
        work.say(f"{update.what}: {update.before[:12]} → {update.after[:12]}")
    _keep(night)


def _keep(night: Night) -> None:
    try:
        night.write()
    except OSError as error:
        raise HostError("the night cannot be recorded", why=str(error), where=[str(night.folder)]) from error
