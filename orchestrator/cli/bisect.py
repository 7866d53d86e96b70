"""``orchestrator bisect``: which part of what was tested broke a test, and at which commit."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from orchestrator.cli.argument_types import LONGEST_NAME
from orchestrator.cli.history import looked_at
from orchestrator.cli.runtime import limit_of, run_command, say
from orchestrator.deadline import Deadline
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.history.filling import record
from orchestrator.history.records import TestRecord, read_run
from orchestrator.nightly.bisection import Finding, Point, ProbeResult, bisect
from orchestrator.nightly.choice import pattern_of
from orchestrator.nightly.commands import Commands, latest_run
from orchestrator.nightly.comparing import Ends, axes_of, ends_of
from orchestrator.nightly.night import new_folder
from orchestrator.nightly.worktrees import Worktrees, worktrees
from orchestrator.topology.nightly import Cell, Isolation
from orchestrator.topology.read_nightly import load_nightly

NOT_FOUND = 1  # the exit code when nothing was found
SHORTEST = 30.0  # seconds that must be left for a probe


def run(arguments: argparse.Namespace) -> int:
    nightly = load_nightly(arguments.file)
    name = arguments.name or f"{nightly.name[: LONGEST_NAME - 7]}-bisect"
    ends = looked_at(lambda one: ends_of(one, arguments.test, arguments.good, arguments.bad, nightly.topology))
    say(f"good {ends.good}, bad {ends.bad}; each probe runs the test up to {ends.repeat} times")
    deadline = limit_of(arguments.timeout)
    finding, cannot = run_command(arguments, lambda _: _search(ends, name, arguments.runs, deadline))
    if arguments.json:
        told = {"test": ends.test.key.title, "good": ends.good, "bad": ends.bad, "cannot": cannot, **asdict(finding)}
        sys.stdout.write(json.dumps(told, indent=2) + "\n")
    else:
        for line in (finding.why, *finding.first_bad, *cannot):
            sys.stdout.write(f"{line}\n")
    return 0 if finding.first_bad else NOT_FOUND


async def _search(ends: Ends, name: str, runs: Path, deadline: Deadline) -> tuple[Finding, list[str]]:
    axes, cannot = await axes_of(ends.parts, ends.topology)
    if not axes:
        raise UsageError(
            "nothing of what differs can be put back",
            why="a part can be put back if it was a clean commit in both runs",
            evidence=cannot,
            hint="keep suite and layers in Git, and commit before the night",
        )
    folder = new_folder(runs, "bisect")
    folders = {part.kind: Path(part.folder or ends.topology.parent) for part in ends.parts}
    async with worktrees(folder / "trees") as trees:
        probe = Probe(ends, Commands(ends.topology, name), folder, folders, trees, deadline)
        return await bisect(axes, probe.ask), cannot


class Probe:
    """Runs the test on parts that were put back, as often as its rate demands."""

    def __init__(
        self,
        ends: Ends,
        commands: Commands,
        folder: Path,
        folders: dict[str, Path],
        trees: Worktrees,
        deadline: Deadline,
    ) -> None:
        self._ends = ends
        self._commands = commands
        self._folder = folder
        self._folders = folders
        self._trees = trees
        self._deadline = deadline
        self._number = 0

    async def ask(self, point: Point) -> ProbeResult:
        """Good: it passed every time. Unknown: it could not be tried, or no time is left."""
        self._number += 1
        try:
            cell, file = await self._cell(point)
        except OrchestratorError as error:
            say(f"probe {self._number}: {error.brief}")
            return "unknown"
        answer: ProbeResult = "good"
        for _ in range(self._ends.repeat):
            answer = await self._once(cell, file)
            if answer != "good":
                break
        parts = ", ".join(f"{name} {commit[:12]}" for name, commit in point.items())
        say(f"probe {self._number}: {answer} with {parts}")
        return answer

    async def _cell(self, point: Point) -> tuple[Cell, Path]:
        """The folders of a point."""
        suite, layers, file = None, {}, self._commands.file
        for name, commit in point.items():
            folder = await self._trees.at(self._folders[name], commit)
            if name == "suite":
                suite = folder
            elif name.startswith("layer "):
                layers[name.removeprefix("layer ")] = folder
            else:
                file = folder / file.name
        return Cell(f"probe-{self._number}", self._ends.variant or None, suite, layers), file

    async def _once(self, cell: Cell, file: Path) -> ProbeResult:
        left = self._deadline.left
        if left < SHORTEST:
            return "unknown"
        runs = self._folder / "cells" / cell.name
        known = latest_run(runs)
        key = self._ends.test.key
        wanted = TestRecord(key.phase, key.file, key.title, "failed", 0.0, ())
        commands = replace(self._commands, file=file)
        words = commands.run_words(cell, runs, left, str(Isolation.TEST), pattern_of([wanted]))
        await self._commands.call(words, runs / "output.txt", left)
        folder = latest_run(runs)
        if folder is None or folder == known:
            return "unknown"
        found = read_run(folder)
        record(folder)
        results = [one.status for one in found.tests if one.title == key.title and one.attempts]
        if not results or found.infrastructure:
            return "unknown"
        return "good" if all(status == "passed" for status in results) else "bad"
