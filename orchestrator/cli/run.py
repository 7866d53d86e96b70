"""``orchestrator run``: up, browser suite, report, down."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from dataclasses import replace

from orchestrator.cli.crash import explained
from orchestrator.cli.run_folder import RunFolder
from orchestrator.cli.runtime import (
    interrupt_code,
    kill_environment,
    limit_of,
    run_command,
    say,
)
from orchestrator.cli.up import request_of, start_fresh
from orchestrator.deadline import Deadline
from orchestrator.environment.evidence import add_machine_status
from orchestrator.environment.isolate import run_isolated
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.plan import Request
from orchestrator.environment.suite import TestSelection, run_suite
from orchestrator.environment.up import (
    Environment,
    bring_up,
    close_down,
    emit_failure,
    finish,
    open_environment,
    over_limit,
)
from orchestrator.environment.verdict import Verdict
from orchestrator.errors import NothingRan, OrchestratorError, SignsFound, SuiteFailed, UsageError
from orchestrator.events import EventBus
from orchestrator.events.run import Note, RunOutcome
from orchestrator.topology.suite_package import look_at


def run(arguments: argparse.Namespace) -> int:
    request = with_suite_options(request_of(arguments), arguments)
    if request.topology.suite is None:
        raise UsageError(
            "the topology has no [suite]",
            where=[str(request.topology.path)],
            hint="`orchestrator up` needs none; docs/topology.md describes it",
        )
    if arguments.clones:
        from orchestrator.cli.clones import run_clones

        return run_clones(request, arguments)
    deadline = limit_of(arguments.timeout)
    return run_command(
        arguments,
        lambda bus: _run(request, arguments, bus, deadline),
        force=kill_environment(EnvironmentPaths.of(request.name), only_ours=True),
    )


def with_suite_options(request: Request, arguments: argparse.Namespace) -> Request:
    """The request with what the command line says about the suite."""
    suite = request.topology.suite
    if suite is None:
        return request
    # Read here, so that a value which a shell keeps is in no argument, those of clones included.
    given = {name: value if sign else os.environ[name] for name, sign, value in map(_parted, arguments.env)}
    scale = suite.scale_timeouts and not arguments.no_scale_timeouts and not look_at(suite.path).heeds_factor
    changed = replace(suite, environment={**suite.environment, **given}, scale_timeouts=scale)
    return replace(request, topology=replace(request.topology, suite=changed))


def _parted(text: str) -> tuple[str, str, str]:
    return text.partition("=")


OUTCOMES: dict[type[OrchestratorError], RunOutcome] = {
    SuiteFailed: "failed",
    SignsFound: "failed",
    NothingRan: "nothing-ran",
}


async def _run(request: Request, arguments: argparse.Namespace, bus: EventBus, deadline: Deadline) -> int:
    if arguments.fresh:
        await start_fresh(request, bus)
    folder = RunFolder(bus)
    try:
        async with open_environment(request, bus, deadline) as environment:
            code = await _stages(request, environment, arguments, bus, deadline)
    finally:
        folder.report()
        if folder.path is not None:
            say(f"report: {folder.path / 'report' / 'index.html'}")
    if arguments.json and folder.path is not None:
        sys.stdout.write((folder.path / "summary.json").read_text() + "\n")
    return code


async def _stages(
    request: Request, environment: Environment, arguments: argparse.Namespace, bus: EventBus, deadline: Deadline
) -> int:
    """Everything between lock and report; the machines end here unless they are to be kept."""
    session = environment.session
    suite, chosen = request.topology.suite, TestSelection(arguments.grep, arguments.shard)
    assert suite is not None
    code = 0
    outcome: RunOutcome = "passed"
    verdict = Verdict(bus)
    try:
        await bring_up(environment, deadline)
        async with deadline.enforce():
            if arguments.isolate == "none":
                found = await session.run_watched(run_suite(session, suite, deadline, chosen))
            else:
                isolation = arguments.isolate
                found = await run_isolated(
                    session, suite, environment.reaper, deadline, isolation=isolation, chosen=chosen
                )
        verdict.demand()
        outcome = verdict.outcome if verdict.outcome != "passed" else found
    except Exception as cause:  # noqa: BLE001 - also what nobody foresaw is told, and ends in order
        error = over_limit(explained(cause), deadline)
        code = error.exit_code
        outcome = OUTCOMES.get(type(error), "error")
        await add_machine_status(session.machines.values(), error)
        emit_failure(error, bus)
    except asyncio.CancelledError:
        if not environment.resumed:
            await asyncio.shield(close_down(environment))
        finish(bus, request.name, "interrupted", interrupt_code(), deadline)
        raise
    await session.collect("failure" if code else "end")
    keep = arguments.keep == "always" or (arguments.keep == "failure" and code != 0)
    # What was up before this command stays up after it.
    if environment.resumed or (keep and session.record.state.reachable):
        bus.emit(Note(level="info", message=f"the machines stay up; `orchestrator -n {request.name} down` ends them"))
    else:
        await close_down(environment)
    finish(bus, request.name, outcome, code, deadline)
    return code
