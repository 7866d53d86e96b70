"""``orchestrator test``: NixOS testScripts on the machines of a topology."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import nullcontext, redirect_stdout
from dataclasses import replace

from orchestrator.cli.driver_runtime import MainThread
from orchestrator.cli.runtime import kill_environment, say
from orchestrator.cli.script_progress import ScriptProgress
from orchestrator.deadline import Deadline
from orchestrator.driver.environment import Environment
from orchestrator.driver.loop import driver_loop
from orchestrator.driver.request import from_file
from orchestrator.driver.testscript.check import Finding, check
from orchestrator.driver.testscript.outcome import Outcome, exit_code_of
from orchestrator.driver.testscript.runner import ScriptRun, discard, interruption
from orchestrator.driver.testscript.script import Script, load_script
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.plan import Request
from orchestrator.errors import Interrupted, OrchestratorError, TimeLimit, UsageError
from orchestrator.images.provider import choose_provider
from orchestrator.streams import ReaderGoneError
from orchestrator.topology.load import load_topology

TIMEOUT = 3600.0  # seconds of one script, before scaling


def run(arguments: argparse.Namespace) -> int:
    scripts = [load_script(path) for path in arguments.scripts]
    findings = _checked(scripts, arguments)
    errors = [finding for finding in findings if finding.severity == "error"]
    if arguments.check:
        _show_findings(findings, scripts, as_json=arguments.json)
        return UsageError.exit_code if errors else 0
    for finding in findings:
        say(f"{'warning: ' if finding.severity == 'warning' else ''}{finding}")
    if errors:
        raise UsageError(
            f"{errors[0].file} cannot run here" if len(errors) == 1 else f"{len(errors)} things cannot run here",
            why="nothing was started",
            hint="docs/nixos-testscripts.md says what runs, and what to write instead",
        )
    return _run_all(scripts, arguments)


def _checked(scripts: list[Script], arguments: argparse.Namespace) -> list[Finding]:
    topology = load_topology(arguments.file, variant=arguments.variant)
    nixos = choose_provider(arguments.images, topology) == "nixos"
    found = (check(script, topology.machines, len(topology.networks), nixos=nixos) for script in scripts)
    return [finding for findings in found for finding in findings]


def _show_findings(findings: list[Finding], scripts: list[Script], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps([finding.as_dict() for finding in findings], indent=2) + "\n")
        return
    for finding in findings:
        sys.stdout.write(f"{finding}{' (warning)' if finding.severity == 'warning' else ''}\n")
    if not findings:
        say(f"{len(scripts)} {'script' if len(scripts) == 1 else 'scripts'}: everything used is there")


def _run_all(scripts: list[Script], arguments: argparse.Namespace) -> int:
    request = _request(arguments)
    outcomes: list[Outcome] = []
    force = kill_environment(EnvironmentPaths.of(request.name), only_ours=True)
    with ScriptProgress(arguments) as progress, MainThread(force, progress.interrupted) as main:
        for script in scripts:
            with redirect_stdout(sys.stderr) if arguments.json else nullcontext():
                outcomes.append(_run_one(script, request, arguments, main, progress))
    if arguments.json:
        sys.stdout.write(json.dumps([outcome.as_dict() for outcome in outcomes], indent=2) + "\n")
    elif len(outcomes) > 1:
        for outcome in outcomes:
            say(f"{outcome.outcome:<8} {outcome.file} ({outcome.seconds:.1f} s) {outcome.error}".rstrip())
    return exit_code_of(outcomes)


def _request(arguments: argparse.Namespace) -> Request:
    request = from_file(
        arguments.file.absolute(),  # the script's working folder is another one
        variant=arguments.variant,
        name=arguments.name,
        layers={},
        suite=None,
        start="auto" if arguments.warm else "cold",
        images=arguments.images,
        runs=arguments.runs.absolute(),
    )
    return replace(request, topology=request.topology.with_free_ports()) if arguments.free_ports else request


def _run_one(
    script: Script, request: Request, arguments: argparse.Namespace, main: MainThread, progress: ScriptProgress
) -> Outcome:
    has_units = any(service.unit for service in request.topology.services.values())
    units = arguments.units or ("orchestrator" if has_units else "boot")
    environment = Environment(
        request, keep=arguments.keep, boot=arguments.warm, units=units == "orchestrator", subscriber=progress
    )
    opening = driver_loop.submit(environment.open())
    deadline = Deadline.after(0)

    def give_up() -> None:
        discard(environment)  # nobody is there to look at half an environment
        opening.cancel()

    try:
        main.wait(opening.outcome, give_up)
        deadline = Deadline.after(arguments.timeout or TIMEOUT * max(1.0, environment.factor))
        return _scripted(ScriptRun(environment, script, keep_going=arguments.keep_going), main, deadline)
    except Interrupted:
        discard(environment)
        raise
    except OrchestratorError as error:
        error.shown = error.shown or progress.has_shown(error)
        if len(arguments.scripts) == 1:
            raise
        return Outcome(script.shown, "error", error.exit_code, deadline.elapsed, progress.run_folder, error=error.brief)
    finally:
        driver_loop.wait(environment.close())
        progress.told_where()


def _scripted(run: ScriptRun, main: MainThread, deadline: Deadline) -> Outcome:
    try:
        main.wait(run.begin(), run.stop, deadline)
    except Interrupted as stop:
        run.conclude(interruption(stop.exit_code - 128))
        raise
    except TimeLimit as late:
        return run.conclude(late)
    outcome = run.conclude()
    if isinstance(run.error, ReaderGoneError):
        raise run.error
    return outcome
