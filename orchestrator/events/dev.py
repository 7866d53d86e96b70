"""Events of `orchestrator dev`: what the loop does, and what came of each round."""

from __future__ import annotations

from typing import Literal

from orchestrator.events.base import Event, event_kind

DevState = Literal["starting", "waiting", "deploying", "testing"]
DevOutcome = Literal["passed", "failed", "error", "unchanged", "superseded"]


@event_kind("dev.state")
class DevStateChanged(Event):
    """The loop of `dev` begins something else.

    Attributes:
        subject: environment
        state: what it does now
        detail: why, or on what
    """

    state: DevState
    detail: str = ""


@event_kind("dev.cycle")
class DevCycleEnded(Event):
    """A round of `dev` is over: a change was brought in, and tests were run.

    Attributes:
        subject: environment
        number: of the round, from 1
        outcome: `passed`, `failed` (tests), `error` (it did not come to tests), `unchanged` (nothing to do),
            `superseded` (the next change came while tests ran)
        cause: what was changed or pressed
        deployed: what was done to the machines
        deploy_seconds: how long that took
        tests: which tests were to run
        passed: how many passed
        failed: how many failed
        test_seconds: how long they took
        elapsed: seconds from the change to the outcome
        failures: titles of failed tests, each with the first line of its error
        error: why it did not come to tests
        run_folder: its evidence
    """

    number: int
    outcome: DevOutcome
    cause: str
    deployed: str = ""
    deploy_seconds: float = 0.0
    tests: str = ""
    passed: int = 0
    failed: int = 0
    test_seconds: float = 0.0
    elapsed: float = 0.0
    failures: tuple[str, ...] = ()
    error: str = ""
    run_folder: str = ""
