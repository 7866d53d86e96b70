"""``orchestrator plan``: what a start would begin with, what would happen again, and why. Nothing is started."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from orchestrator.cli.runtime import limit_of, run_command
from orchestrator.cli.up import request_of
from orchestrator.deadline import Deadline
from orchestrator.environment.decision import Decision, Inputs, StageFit, decide, reason_of
from orchestrator.environment.plan import Plan, Request, plan
from orchestrator.events import EventBus
from orchestrator.images.provider import choose_provider
from orchestrator.text import json_text, size_text


def run(arguments: argparse.Namespace) -> int:
    request = request_of(arguments)
    deadline = limit_of(arguments.timeout)
    planned = run_command(arguments, lambda bus: _plan(request, bus, deadline))
    decision = decide(request.name, Inputs(request.topology, planned.inputs))
    if arguments.json:
        sys.stdout.write(json_text(as_data(decision), indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in as_text(decision, tuple(request.topology.services))))
    return 0


async def _plan(request: Request, bus: EventBus, deadline: Deadline) -> Plan:
    return await plan(request, choose_provider(request.provider, request.topology), bus, deadline)


def as_text(decision: Decision, services: Sequence[str]) -> list[str]:
    """The tree of reasons, for people. Pure."""
    lines = [decision.text]
    for fit in decision.fits:
        lines.append(f"  stage {fit.stage.name} ({len(fit.stage.services)} of {len(services)} services)")
        if fit.snapshot is not None:
            lines.append(f"    fits: {fit.snapshot.folder.name}, {size_text(fit.snapshot.size)}")
        elif fit.changed:
            lines += [f"    changed: {name}" for name in fit.changed]
        else:
            lines.append(f"    {reason_of(fit)}")
    kept = [name for name in services if name not in decision.again]
    if kept and decision.again:
        lines.append(f"  proven again: {', '.join(kept)}")
    if decision.again:
        lines.append(f"  started again: {', '.join(decision.again)}")
    return lines


def as_data(decision: Decision) -> dict[str, Any]:
    """The same for programs. Pure."""
    choice = decision.choice
    return {
        "stage": None if choice is None else choice.stage.name,
        "start_again": list(decision.again),
        "stages": [_stage_data(fit) for fit in decision.fits],
    }


def _stage_data(fit: StageFit) -> dict[str, Any]:
    return {
        "name": fit.stage.name,
        "services": sorted(fit.stage.services),
        "fits": fit.snapshot is not None,
        "snapshot": None if fit.snapshot is None else str(fit.snapshot.folder),
        "changed": list(fit.changed),
        "reason": "" if fit.snapshot is not None else reason_of(fit),
    }
