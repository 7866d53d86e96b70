"""``orchestrator run --clones N``: the suite divided among environments that start from one saved state.

Each clone is a separate `run` in its own process, with its own network,
ports, keys and run folder; they share the memory of the saved state. They end
with this command, however it ends.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import Any

from orchestrator.cli.argument_types import LONGEST_NAME
from orchestrator.cli.run_folder import print_summary, remember
from orchestrator.cli.runtime import interrupt_code, limit_of, run_command, say
from orchestrator.deadline import Deadline
from orchestrator.debug import debug_log
from orchestrator.environment.admission import admit, carried
from orchestrator.environment.paths import EnvironmentPaths, new_run_folder
from orchestrator.environment.plan import Request, plan
from orchestrator.environment.saving import default_store
from orchestrator.environment.state import read_state
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.events import EventBus
from orchestrator.images.provider import choose_provider
from orchestrator.process_lines import stream_lines
from orchestrator.report.clones import FOLDER, write_clones
from orchestrator.report.model_tests import words
from orchestrator.snapshots.key import key_of
from orchestrator.tasks import run_all
from orchestrator.text import duration_text
from orchestrator.topology.model import Topology
from orchestrator.topology.stages import HEALTHY

ENDING = 60.0  # seconds a clone has to take its machines down


def run_clones(request: Request, arguments: argparse.Namespace) -> int:
    """Start the clones, wait for all of them, report; the worst exit code."""
    names = clone_names(request.name, arguments.clones)
    problems = refused(arguments, names)
    if problems:
        raise UsageError(
            problems[0] if len(problems) == 1 else "these clones cannot be started",
            evidence=problems if len(problems) > 1 else [],
        )
    deadline = limit_of(arguments.timeout)
    folder = new_run_folder(arguments.runs)
    debug_log.write_to(folder)
    try:
        code = run_command(arguments, lambda bus: _run(request, arguments, names, folder, bus, deadline))
    finally:
        remember(folder)
        say(f"report: {folder / 'report' / 'index.html'}")
    if arguments.json:
        print_summary(folder, code)
    return code


def clone_names(name: str, count: int) -> list[str]:
    """``NAME-1`` and so on. Pure."""
    return [f"{name}-{number}" for number in range(1, count + 1)]


def refused(arguments: argparse.Namespace, names: list[str]) -> list[str]:
    """All reasons why clones of these names cannot run with these options."""
    problems = []
    for option, given in (
        ("--fresh", arguments.fresh),
        ("--shard", arguments.shard),
        ("--keep", arguments.keep != "never"),
    ):
        if given:
            problems.append(f"--clones and {option} do not go together")
    if len(names[-1]) > LONGEST_NAME:
        problems.append(f"{names[-1]} is too long for an environment's name ({LONGEST_NAME} characters)")
    taken = [name for name in names if running(name)]
    return problems + [f"environment {name} runs already; `orchestrator -n {name} down` ends it" for name in taken]


def running(name: str) -> bool:
    """Whether any machine of the environment is running."""
    state = read_state(EnvironmentPaths.of(name).state)
    return state is not None and state.any_alive


async def _run(
    request: Request, arguments: argparse.Namespace, names: list[str], folder: Path, bus: EventBus, deadline: Deadline
) -> int:
    about: dict[str, Any] = {"run_id": folder.name, "environment": request.name, "command": request.command}
    try:
        planned = await plan(request, choose_provider(request.provider, request.topology), bus, deadline)
        # Isolated runs save their state, so their machines have their own memory.
        shared = arguments.isolate == "none"
        cores = len(os.sched_getaffinity(0))
        turns = min(len(names), at_once(cores, request.topology, emulated=planned.accelerator.name == "tcg"))
        admit(request.topology.machines.values(), [folder], times=turns, shared=shared)
        if default_store().at_stage(HEALTHY, key_of(planned.inputs)) is None:
            # Not by a clone: the environment that made a state does not share its memory.
            first = names[0] if running(request.name) else request.name
            await _make_state(arguments, first, folder, deadline)
        say(f"{len(names)} clones of one saved state: {', '.join(names)}")
        if turns < len(names):
            say(f"{turns} at a time: the {cores} processors of this host carry no more")
        semaphore = asyncio.Semaphore(turns)
        await run_all(
            *(
                _clone(arguments, name, f"{number}/{len(names)}", folder, semaphore, deadline)
                for number, name in enumerate(names, 1)
            )
        )
    except asyncio.CancelledError:
        about["exit_code"] = interrupt_code()
        raise
    finally:
        about["seconds"] = {"total": round(deadline.elapsed, 2)}
        summary = write_clones(folder, about)
    for part in summary["clones"]:
        say(f"{part['name']}: {part['outcome']}" + (f": {part['cause']}" if part["cause"] else ""))
    if summary["missing"]:
        say(summary["cause"])
    counted = ", ".join(f"{number} {words(word)}" for word, number in summary["tests"].items() if number)
    say(f"{summary['outcome']} in {duration_text(deadline.elapsed)}: {counted or 'no test ran'}")
    return int(summary["exit_code"])


async def _make_state(arguments: argparse.Namespace, name: str, folder: Path, deadline: Deadline) -> None:
    """Boot the machines once: their healthy state is what the clones start from."""
    say("no saved state fits: the machines are booted once to make one")
    same = options(arguments, ("variant", "layer", "images", "kernel_parameters"))  # what a state is keyed by
    up = ["up", "--name", name, "--runs", str(folder / "first"), *same]
    down = ["down", "--name", name]
    try:
        code = await _orchestrator([*up, "--free-ports", "--down-on-failure"], name, deadline)
    finally:
        await _orchestrator(down, name, Deadline.after(ENDING))
    if code != 0:
        raise OrchestratorError(
            "the machines did not come up", why=f"`orchestrator up` ended with {code}", where=[str(folder / "first")]
        )
    shutil.rmtree(folder / "first", ignore_errors=True)


def at_once(processors: int, topology: Topology, *, emulated: bool) -> int:
    """How many clones may run at the same time. Pure."""
    virtual = sum(machine.cpus for machine in topology.machines.values())
    return max(2, carried(processors, emulated=emulated) // virtual)


FORWARDED = ("variant", "layer", "suite", "images", "grep", "kernel_parameters", "env", "no_scale_timeouts")


async def _clone(
    arguments: argparse.Namespace,
    name: str,
    shard: str,
    folder: Path,
    turns: asyncio.Semaphore,
    deadline: Deadline,
) -> None:
    runs = folder / FOLDER / name
    runs.mkdir(parents=True)
    async with turns:
        words = [
            "run",
            "--name",
            name,
            "--warm",
            "--free-ports",
            "--shard",
            shard,
            "--runs",
            str(runs),
            "--timeout",
            f"{max(1.0, deadline.left):.0f}",
            "--isolate",
            arguments.isolate,
            *options(arguments, FORWARDED),
        ]
        await _orchestrator(words, name, deadline)


def options(arguments: argparse.Namespace, wanted: tuple[str, ...]) -> list[str]:
    """Options as they were given to us, for another command; with the topology file. Pure."""
    words = ["--file", str(arguments.file)]
    for name in wanted:
        value, option = getattr(arguments, name), f"--{name.replace('_', '-')}"
        if isinstance(value, list):
            words += [f"{option}={one}" for one in value]
        elif value is True:
            words.append(option)
        elif value not in (None, "", False):
            words.append(f"{option}={value}")
    return words


async def _orchestrator(words: list[str], name: str, deadline: Deadline) -> int:
    """Run one of our own commands and print its lines with the clone's name; its exit code.

    It gets SIGTERM when this process is killed, and then shuts down in order.
    """
    argv = ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "orchestrator", "--progress", "plain", *words]
    limit = Deadline.after(deadline.left + ENDING)  # it keeps the limit itself, and says so
    return await stream_lines(argv, lambda line: say(f"[{name}] {line}"), deadline=limit, grace=ENDING)
