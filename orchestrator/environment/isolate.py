"""A fresh state for each part of a suite: all machines go back to one saved state before every file, or every test."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.deadline import Deadline, monotonic
from orchestrator.environment.reaper_client import ReaperClient
from orchestrator.environment.reset import reset
from orchestrator.environment.session import Session
from orchestrator.environment.suite import (
    SuiteInvocation,
    TestSelection,
    judged,
    list_tests,
    other_shards,
    push,
    run_part,
    tell_listed,
)
from orchestrator.environment.suite_events import Case
from orchestrator.environment.suite_invoke import guest_folder, suite_environment
from orchestrator.environment.suite_tally import Outcome
from orchestrator.environment.warm import default_store, save
from orchestrator.errors import MachineError
from orchestrator.events.run import Note, RunOutcome
from orchestrator.events.suite import IsolationStateChanged
from orchestrator.snapshots.store import ISOLATE, Snapshot, mine
from orchestrator.text import duration_text
from orchestrator.topology.model import Suite, SuitePhase

PREPARE_LIMIT = 60.0  # seconds for the suite's prepare command, before scaling


async def run_isolated(
    session: Session, suite: Suite, reaper: ReaperClient, deadline: Deadline, *, isolation: str, chosen: TestSelection
) -> RunOutcome:
    """Run the suite part by part, each in the state as it was before the first. Its outcome, as `judge` has it.

    Args:
        isolation: ``suite`` (each phase), ``file`` or ``test``.

    Raises:
        SnapshotError: the environment cannot be saved.
        SuiteFailed, NothingRan, GuestCommandError, MachineError: as `run_suite`.
    """
    outcome = Outcome()
    parts = await session.run_watched(_divide(session, suite, deadline, outcome, isolation, chosen))
    if not parts:
        return judged(outcome, session, chosen)  # nothing to run, or nothing that can be
    if suite.prepare and len(parts) > 1:
        await session.run_watched(prepare(session, suite, parts[0].phase, deadline))
    await session.run_watched(session.verify_still_healthy(deadline))
    store = default_store()
    # The name tells whose it is: should we be killed, it is pruned.
    stored = await session.run_watched(save(session, ISOLATE, f"{ISOLATE}.{mine()}", deadline))
    try:
        for number, part in enumerate(parts):
            if number:
                await _fresh(session, stored, reaper, deadline, number + 1, len(parts))
            await session.run_watched(run_part(session, suite, part, deadline, outcome, chosen))
    finally:
        store.remove(stored)
    return judged(outcome, session, chosen)


async def _fresh(
    session: Session, stored: Snapshot, reaper: ReaperClient, deadline: Deadline, number: int, total: int
) -> None:
    begun, name = monotonic(), session.paths.name
    session.bus.emit(IsolationStateChanged(name, state="restoring", number=number, total=total))
    await reset(session, stored, reaper, deadline)
    elapsed = round(monotonic() - begun, 3)
    session.bus.emit(IsolationStateChanged(name, state="ready", number=number, total=total, elapsed=elapsed))


async def _divide(
    session: Session, suite: Suite, deadline: Deadline, outcome: Outcome, isolation: str, chosen: TestSelection
) -> list[SuiteInvocation]:
    """The parts of all phases; what is to run, and why some cannot, is in ``outcome``."""
    await push(session, suite, deadline)
    found: list[tuple[SuitePhase, dict[str, Case] | None]] = []
    for phase in suite.phases:
        if isolation == "suite":
            found.append((phase, None))
            continue
        listed = await list_tests(session, suite, phase, deadline, chosen)
        tell_listed(session, phase, outcome.phase(phase.name), listed)
        await other_shards(session, suite, phase, deadline, outcome.phase(phase.name), chosen, listed)
        found += [(phase, tests) for tests in divided(listed.planned, isolation)]
    return [
        SuiteInvocation(
            phase, phase.name if tests is None else f"{phase.name}-{number:03d}", tests, number == len(found)
        )
        for number, (phase, tests) in enumerate(found, 1)
    ]


async def prepare(session: Session, suite: Suite, phase: SuitePhase, deadline: Deadline) -> None:
    """Start in the guest what the parts need, so that it is saved with it; a failure is only noted."""
    ssh = await session.machines[suite.machine].ssh()
    limit = deadline.earlier(PREPARE_LIMIT * session.factor)
    try:
        done = await ssh.exec(
            suite.prepare,
            deadline=limit,
            user=suite.user,
            environment=suite_environment(session, suite, phase.name),
            cwd=guest_folder(suite),
        )
        said = "" if done.code == 0 else (done.complaint or f"it ended with {done.code}")
    except MachineError as error:
        if not limit.expired:
            raise
        said = error.what
    if said:
        message = f"the suite is not prepared, so each part starts its own runner: {said}"
        session.bus.emit(Note(level="warning", message=message))
    else:
        message = f"the suite is prepared: each part begins with what runs now ({duration_text(limit.elapsed)})"
        session.bus.emit(Note(level="info", message=message))


def divided(tests: Mapping[str, Case], isolation: str) -> list[dict[str, Case]]:
    """Listed tests as parts, in their order: those of one file together, or each alone. Pure.

    What others rest on runs in each of their fresh states; it has none of its own, unless there is nothing else.
    """
    own = {name: test for name, test in tests.items() if not test.support} or dict(tests)
    if isolation == "test":
        return [{name: test} for name, test in own.items()]
    files: dict[str, dict[str, Case]] = {}
    for name, test in own.items():
        files.setdefault(test.path or test.file, {})[name] = test
    return list(files.values())
