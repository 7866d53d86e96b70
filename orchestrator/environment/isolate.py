"""Fresh state for each part of a suite: all machines go back to one saved state before every file, or every test."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.deadline import monotonic
from orchestrator.environment.reaper_client import ReaperClient
from orchestrator.environment.reset import reset
from orchestrator.environment.saving import default_store, save
from orchestrator.environment.suite import judged, prepare_runner, push, run_invocation
from orchestrator.environment.suite_events import Case
from orchestrator.environment.suite_list import list_other_shards, list_tests, report_listed
from orchestrator.environment.suite_run import SuiteInvocation, SuiteRun
from orchestrator.events.run import RunOutcome
from orchestrator.events.suite import IsolationStateChanged
from orchestrator.snapshots.store import ISOLATE, Snapshot, mine
from orchestrator.text import duration_text
from orchestrator.topology.model import SuitePhase


async def run_isolated(run: SuiteRun, reaper: ReaperClient, isolation: str) -> RunOutcome:
    """Run the suite part by part, each in the state that was saved before the first. Its outcome, as `judge` has it.

    Args:
        isolation: ``suite`` (each phase), ``file`` or ``test``.

    Raises:
        SnapshotError: the environment cannot be saved.
        SuiteFailed, NothingRan, GuestCommandError, MachineError: as `run_suite`.
    """
    session = run.session
    parts = await session.run_watched(_divide(run, isolation))
    if not parts:
        return judged(run)  # nothing to run, or nothing that can be
    if run.suite.prepare and len(parts) > 1:
        await session.run_watched(prepare(run, parts[0].phase))
    await session.run_watched(session.verify_still_healthy(run.deadline))
    store = default_store()
    # The name shows whose it is: should we be killed, it is pruned.
    snapshot = await session.run_watched(save(session, ISOLATE, f"{ISOLATE}.{mine()}", run.deadline))
    try:
        for number, part in enumerate(parts):
            if number:
                await _restore(run, snapshot, reaper, number + 1, len(parts))
            await session.run_watched(run_invocation(run, part))
    finally:
        store.remove(snapshot)
    return judged(run)


async def _restore(run: SuiteRun, snapshot: Snapshot, reaper: ReaperClient, number: int, total: int) -> None:
    started, name = monotonic(), run.session.paths.name
    run.bus.emit(IsolationStateChanged(name, state="restoring", number=number, total=total))
    await reset(run.session, snapshot, reaper, run.deadline)
    elapsed = round(monotonic() - started, 3)
    run.bus.emit(IsolationStateChanged(name, state="ready", number=number, total=total, elapsed=elapsed))


async def _divide(run: SuiteRun, isolation: str) -> list[SuiteInvocation]:
    """The parts of all phases; what is to run, and why some cannot, is in the run's outcome."""
    await push(run)
    parts: list[tuple[SuitePhase, dict[str, Case] | None]] = []
    for phase in run.suite.phases:
        if isolation == "suite":
            parts.append((phase, None))
            continue
        listed = await list_tests(run, phase, run.selection)
        report_listed(run, phase, listed)
        await list_other_shards(run, phase, run.outcome.phase(phase.name), listed)
        parts += [(phase, tests) for tests in divided(listed.planned, isolation)]
    return [
        SuiteInvocation(
            phase, phase.name if tests is None else f"{phase.name}-{number:03d}", tests, number == len(parts)
        )
        for number, (phase, tests) in enumerate(parts, 1)
    ]


async def prepare(run: SuiteRun, phase: SuitePhase) -> None:
    """Start in the guest what the parts need, so that it is saved with it; a failure is only noted."""
    started = monotonic()
    if complaint := await prepare_runner(run, phase.name):
        run.note("warning", f"the suite is not prepared, so each part starts its own runner: {complaint}")
    else:
        run.note(
            "info", f"the suite is prepared: each part starts from this state ({duration_text(monotonic() - started)})"
        )


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
