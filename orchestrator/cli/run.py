"""``orchestrator run``: up, browser suite, report, down."""

from __future__ import annotations

import argparse
import os
from dataclasses import replace

from orchestrator.cli.crash import explained
from orchestrator.cli.run_folder import RunFolder, print_summary
from orchestrator.cli.runtime import (
    interrupt_code,
    kill_environment,
    limit_of,
    run_command,
    say,
)
from orchestrator.cli.up import request_of, start_fresh
from orchestrator.deadline import Deadline
from orchestrator.environment.evidence import add_machine_status, collect_all
from orchestrator.environment.isolate import run_isolated
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.plan import Request
from orchestrator.environment.run_events import emit_failure, finish, over_limit
from orchestrator.environment.scenario import ScenarioRun, scenario_of
from orchestrator.environment.suite import run_suite
from orchestrator.environment.suite_run import SuiteRun, TestSelection
from orchestrator.environment.up import (
    Environment,
    bring_up,
    close_down,
    closed_when_interrupted,
    open_environment,
)
from orchestrator.environment.verdict import Verdict
from orchestrator.errors import NothingRan, OrchestratorError, SignsFound, SuiteFailed, UsageError
from orchestrator.events import EventBus
from orchestrator.events.run import Note, RunOutcome
from orchestrator.topology.model import Suite
from orchestrator.topology.suite_package import look_at
from orchestrator.trace_context import VARIABLE


def run(arguments: argparse.Namespace) -> int:
    request = with_suite_options(request_of(arguments), arguments)
    for name in arguments.scenario or ():
        scenario_of(request.topology, name)  # before anything is started
    if not arguments.scenario:
        suite_of(request)
    elif arguments.clones or arguments.isolate != "none":
        raise UsageError("a scenario runs on the machines as they are", why="--scenario with --clones or --isolate")
    if arguments.clones:
        from orchestrator.cli.clones import run_clones

        return run_clones(request, arguments)
    deadline = limit_of(arguments.timeout)
    return run_command(
        arguments,
        lambda bus: _run(request, arguments, bus, deadline),
        force=kill_environment(EnvironmentPaths.of(request.name), only_ours=True),
    )


def suite_of(request: Request) -> Suite:
    """The suite of the topology.

    Raises:
        UsageError: it has none.
    """
    suite = request.topology.suite
    if suite is None:
        raise UsageError(
            "the topology has no [suite]",
            where=[str(request.topology.path)],
            hint="`orchestrator up` needs none; docs/topology.md describes it",
        )
    return suite


def with_suite_options(request: Request, arguments: argparse.Namespace) -> Request:
    """The request with the suite options of the command line."""
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
        async with (
            open_environment(request, bus, deadline) as environment,
            closed_when_interrupted(environment, interrupt_code, deadline),
        ):
            code = await _stages(request, environment, arguments, bus, deadline)
    finally:
        folder.report()
        if folder.path is not None:
            say(f"report: {folder.path / 'report' / 'index.html'}")
    if code and folder.path is not None:
        say("`orchestrator why` tells what went wrong first")
    if arguments.json and folder.path is not None:
        print_summary(folder.path, code)
    return code


async def _stages(
    request: Request, environment: Environment, arguments: argparse.Namespace, bus: EventBus, deadline: Deadline
) -> int:
    """Everything between lock and report; the machines end here unless they are kept."""
    session = environment.session
    code = 0
    outcome: RunOutcome = "passed"
    verdict = Verdict(bus)
    try:
        await bring_up(environment, deadline)
        async with deadline.enforce():
            suite_outcome = await _tested(request, environment, arguments, deadline)
        verdict.demand()
        outcome = verdict.outcome if verdict.outcome != "passed" else suite_outcome
    except Exception as cause:  # noqa: BLE001 - also what nobody foresaw is told, and ends in order
        error = over_limit(explained(cause), deadline)
        code = error.exit_code
        outcome = OUTCOMES.get(type(error), "error")
        await add_machine_status(session.machines.values(), error)
        emit_failure(error, bus)
    await collect_all(session, "failure" if code else "end")
    keep = arguments.keep == "always" or (arguments.keep == "failure" and code != 0)
    # What was up before this command stays up after it.
    if environment.resumed or (keep and environment.worth_keeping):
        bus.emit(Note(level="info", message=f"the machines stay up; `orchestrator -n {request.name} down` ends them"))
    else:
        await close_down(environment)
    finish(bus, request.name, outcome, code, deadline)
    return code


async def _tested(
    request: Request, environment: Environment, arguments: argparse.Namespace, deadline: Deadline
) -> RunOutcome:
    """The scenarios, or the suite."""
    session = environment.session
    if arguments.scenario:
        for name in arguments.scenario:
            await session.run_watched(ScenarioRun(session, scenario_of(request.topology, name), deadline).run())
        return "passed"
    parent = request.inherited.get(VARIABLE, "")
    tests = TestSelection(arguments.grep, arguments.shard)
    run = SuiteRun(session, suite_of(request), deadline, tests, traceparent=parent)
    if arguments.isolate == "none":
        return await session.run_watched(run_suite(run))
    return await run_isolated(run, environment.reaper, arguments.isolate)
