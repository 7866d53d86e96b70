"""A fresh world for each part of a suite: all machines go back to one saved state before every file, or every test."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from orchestrator.deadline import Deadline, monotonic
from orchestrator.environment.reset import reset
from orchestrator.environment.session import Session
from orchestrator.environment.suite import (
    Chosen,
    Outcome,
    Part,
    guest_folder,
    judge,
    narrowed,
    push,
    run_part,
    suite_environment,
)
from orchestrator.environment.wards import Wards
from orchestrator.environment.warm import save, the_store
from orchestrator.errors import GuestCommandError, MachineError
from orchestrator.snapshots.store import ISOLATE, Stored, mine
from orchestrator.topology.model import Suite, SuitePhase

PREPARE_LIMIT = 60.0  # seconds for the suite's prepare command, before scaling
LIST_FOLDER = "/tmp/e2e-list"  # noqa: S108 - in the guest
# `[project] › path/name.spec.ts:58:1 › title`, as Playwright lists its tests.
LISTED = re.compile(r"(?:^|› )\s*([^\s›]+\.[cm]?[jt]sx?):(\d+):\d+ › ")


async def run_isolated(
    session: Session, suite: Suite, wards: Wards, deadline: Deadline, *, grade: str, chosen: Chosen
) -> None:
    """Run the suite part by part, each in the world as it was before the first.

    Args:
        grade: ``suite`` (each phase), ``file`` or ``test``.

    Raises:
        SnapshotError: the environment cannot be saved.
        SuiteFailed, NothingRan, GuestCommandError, MachineError: as `run_suite`.
    """
    parts = await session.watched(_divide(session, suite, deadline, grade, chosen))
    if suite.prepare and len(parts) > 1:
        await session.watched(prepare(session, suite, parts[0].phase, deadline))
    await session.watched(session.confirm(deadline))
    store, outcome = the_store(), Outcome()
    # The name tells whose it is: should we be killed, it is pruned.
    stored = await session.watched(save(session, ISOLATE, f"{ISOLATE}.{mine()}", deadline))
    try:
        for number, part in enumerate(parts):
            if number:
                await _fresh(session, stored, wards, deadline, {"number": number + 1, "total": len(parts)})
            await session.watched(run_part(session, suite, part, deadline, outcome, chosen))
    finally:
        store.remove(stored)
    judge(outcome, session)


async def _fresh(session: Session, stored: Stored, wards: Wards, deadline: Deadline, place: Mapping[str, int]) -> None:
    begun, name = monotonic(), session.places.name
    session.bus.emit("world.state", name, state="restoring", **place)
    await reset(session, stored, wards, deadline)
    session.bus.emit("world.state", name, state="ready", elapsed=round(monotonic() - begun, 3), **place)


async def _divide(session: Session, suite: Suite, deadline: Deadline, grade: str, chosen: Chosen) -> list[Part]:
    await push(session, suite, deadline)
    found: list[tuple[SuitePhase, str]] = []
    for phase in suite.phases:
        if grade == "suite":
            found.append((phase, ""))
        else:
            text = await _listing(session, suite, phase, deadline, chosen)
            found += [(phase, only) for only in selectors(text.splitlines(), grade)]
    return [
        Part(phase, phase.name if grade == "suite" else f"{phase.name}-{number:03d}", only, number == len(found))
        for number, (phase, only) in enumerate(found, 1)
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
        session.bus.emit("note", level="warning", message=message)
    else:
        message = f"the suite is prepared: each part begins with what runs now ({limit.elapsed:.0f} s)"
        session.bus.emit("note", level="info", message=message)


async def _listing(session: Session, suite: Suite, phase: SuitePhase, deadline: Deadline, chosen: Chosen) -> str:
    """What the suite's runner would run in a phase, one line a test."""
    ssh = await session.machines[suite.machine].ssh()
    limit = deadline.earlier(suite.timeout * session.factor)
    command = [*suite.command, *narrowed(phase.args, chosen.grep), *chosen.sharding, "--list"]
    # The reports of a listing are of no use to anybody.
    environment = {**suite_environment(session, suite, phase.name), "ARTIFACT_DIR": LIST_FOLDER}
    done = await ssh.exec(command, deadline=limit, user=suite.user, environment=environment, cwd=guest_folder(suite))
    listed = done.text
    if done.code not in (0, 4):  # 4: nothing was executed
        said = (done.complaint or listed).strip().splitlines()
        raise GuestCommandError(
            f"the tests of phase {phase.name} cannot be listed",
            why="\n".join(said[:6]) or f"the runner ended with {done.code}",
            hint="--isolate=suite needs no list",
        )
    return listed


def selectors(lines: Iterable[str], grade: str) -> list[str]:
    """``FILE`` or ``FILE:LINE`` of every listed test, each once, in order. Pure.

    >>> selectors(["  a.spec.ts:3:1 › one", "  [chrome] › b/c.spec.ts:9:5 › group › two"], "test")
    ['a.spec.ts:3', 'b/c.spec.ts:9']
    """
    return list(dict.fromkeys(file if grade == "file" else f"{file}:{line}" for file, line in _found(lines)))


def _found(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        match = LISTED.search(line)
        if match and not line.startswith("::e2e "):
            yield match[1], match[2]
