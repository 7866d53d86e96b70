"""The browser suite: into the client, run phase by phase, its events out as they come, its artifacts home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from orchestrator.deadline import Deadline
from orchestrator.environment.session import Session
from orchestrator.environment.suite_events import Case
from orchestrator.environment.suite_invoke import (
    Reader,
    emit_planned,
    guest_folder,
    invoke,
    only_files,
    scales,
    suite_environment,
)
from orchestrator.environment.suite_modules import NODE_MODULES, bring_modules, large
from orchestrator.environment.suite_tally import Account, Outcome, Tally, judge
from orchestrator.errors import GuestCommandError, MachineError, OrchestratorError
from orchestrator.events import EventBus
from orchestrator.events.run import Note, RunOutcome
from orchestrator.events.suite import SuiteError, SuiteStateChanged
from orchestrator.guest.files import ARTIFACTS, get, put
from orchestrator.guest.ssh import Ssh
from orchestrator.threads import in_thread
from orchestrator.topology.model import Suite, SuitePhase
from orchestrator.topology.suite_package import allows, look_at

COPY_LIMIT = 120.0  # seconds, before scaling
SKIPPED_FOLDERS = frozenset({"test-results", "playwright-report", ".git"})
LIST_FOLDER = "/tmp/e2e-list"  # noqa: S108 - in the guest


@dataclass(frozen=True, slots=True)
class SuiteInvocation:
    """One invocation of the suite's command.

    Attributes:
        label: what its artifacts are named after; the phase's name, or that with a number.
        tests: which ones, by id; None for the whole phase.
        last: of the whole run: what the phase stopped is then started again.
    """

    phase: SuitePhase
    label: str
    tests: Mapping[str, Case] | None = None
    last: bool = True


@dataclass(frozen=True, slots=True)
class TestSelection:
    """Which of the suite's tests a run is about.

    Attributes:
        grep: a pattern for their titles.
        shard: ``1/3``: the first third of them, as the suite's runner divides them.
    """

    grep: str | None = None
    shard: str | None = None

    @property
    def sharding(self) -> list[str]:
        """Words for the runner; none where tests are named: those were chosen from the listed shard."""
        return [f"--shard={self.shard}"] if self.shard else []


async def run_suite(session: Session, suite: Suite, deadline: Deadline, chosen: TestSelection) -> RunOutcome:
    """Run every phase; whatever happens, bring the artifacts home. Its outcome, as `judge` has it.

    Raises:
        SuiteFailed: tests failed, or others ran than were to run.
        NothingRan: no phase executed a test.
        GuestCommandError, MachineError: the suite could not be run.
    """
    outcome = Outcome()
    async with AsyncExitStack() as stack:
        await push(session, suite, deadline, stack)
        for phase in suite.phases:
            await run_part(session, suite, SuiteInvocation(phase, phase.name), deadline, outcome, chosen)
    return judged(outcome, session, chosen)


async def push(session: Session, suite: Suite, deadline: Deadline, stack: AsyncExitStack | None = None) -> None:
    """Copy the suite into its machine.

    Args:
        stack: until its end a large node_modules may be plugged in; None: it is copied, so that a saved state holds it.
    """
    if scales(session, suite):
        message = (
            f"this host is slow: the limits in the suite's configuration × {session.factor:g} "
            "(--no-scale-timeouts leaves them)"
        )
        session.bus.emit(Note(level="info", message=message))
    ssh = await session.machines[suite.machine].ssh()
    limit = deadline.earlier(COPY_LIMIT * session.factor)
    await ssh.exec(["rm", "-rf", "--", guest_folder(suite)], deadline=limit)
    modules = None if stack is None else await in_thread(large, suite)
    skip = SKIPPED_FOLDERS | ({f"/{NODE_MODULES}"} if modules else frozenset())
    tally = await put(ssh, suite.path, guest_folder(suite), deadline=limit, owner=suite.user, skip=skip)
    for text in tally.told("the suite"):
        session.bus.emit(Note(level="warning", message=text))
    if stack is not None and modules is not None:
        await bring_modules(session, suite, modules, stack, limit)


async def run_part(
    session: Session, suite: Suite, part: SuiteInvocation, deadline: Deadline, outcome: Outcome, chosen: TestSelection
) -> None:
    """One invocation of the suite's command, its events and artifacts; counted in ``outcome``."""
    phase, limit = part.phase, deadline.earlier(suite.timeout * session.factor)
    bus, machine = session.bus, session.machines[suite.machine]
    ssh = await machine.ssh()
    bus.emit(SuiteStateChanged(phase.name, state="starting"))
    await session.verify_still_healthy(limit)
    stopped: list[str] = []

    async def stop_services() -> None:
        # Only the named services are stopped: what rests on them must show how it fares without.
        stopped.extend(session.services.graph.with_dependants(phase.stop))
        await session.services.stop(phase.stop, limit)

    await machine.screenshot(f"suite-{part.label}-start", session.run_folder)
    tally = outcome.phase(phase.name)
    reader = Reader(bus, phase.name, None if part.tests is None else tally.planned)
    narrowing = chosen.sharding if part.tests is None else only_files(part.tests)
    bus.emit(SuiteStateChanged(phase.name, state="running"))
    try:
        code = await invoke(
            session,
            suite,
            ssh,
            [*narrowed(phase.args, chosen.grep), *narrowing],
            reader,
            limit,
            environment=suite_environment(session, suite, part.label),
            chosen=part.tests,
            before=stop_services if phase.stop else None,
        )
    except MachineError as error:
        if limit.expired:
            raise GuestCommandError(
                f"phase {phase.name} of the browser suite did not end within {limit}",
                why=f"{_so_far(reader.account)}; last line: {reader.last or 'none'}",
                where=[str(session.run_folder / "playwright")],
                hint=f"orchestrator shell {suite.machine}",
            ) from error
        raise
    finally:
        await machine.screenshot(f"suite-{part.label}-end", session.run_folder)
        if reader.total or not reader.account.begun:  # a phase without tests must not replace what others wrote
            await _bring_home(session, suite, ssh)
    tally.add(reader.account, code, part.tests, reader.first)
    if phase is suite.phases[0] and part.tests is None:
        tell_version(bus, suite, reader.runner)
    _tell_errors(session, phase, reader.account)
    if part.tests is None:
        await other_shards(session, suite, phase, deadline, tally, chosen, reader.account)
    bus.emit(
        SuiteStateChanged(
            phase.name,
            state="finished",
            exit_code=tally.code,
            **tally.counts,
            elapsed=round(limit.elapsed, 3),
        )
    )
    if stopped and part.last:
        session.services.mark_pending(tuple(stopped))
        await session.services.bring_up(limit)


def tell_version(bus: EventBus, suite: Suite, runner: str) -> None:
    """Note when the suite asks for another Playwright than it was run with."""
    wanted = look_at(suite.path).wanted
    if wanted and runner and not allows(wanted, runner):
        message = (
            f"the suite asks for Playwright {wanted} and was run with {runner}; `npm ci` in {suite.path} lets it bring "
            "its own"
        )
        bus.emit(Note(level="warning", message=message))


def _so_far(account: Account) -> str:
    return f"{account.count('passed') + account.count('flaky')} passed, {account.count('failed')} failed so far"


def tell_listed(session: Session, phase: SuitePhase, tally: Tally, listed: Account) -> None:
    """Note what a listing found: what is to run, what other shards have, and why some cannot be listed."""
    tally.planned.update(listed.planned)
    tally.elsewhere.update(listed.elsewhere)
    for elsewhere, tests in ((False, listed.planned), (True, listed.elsewhere)):
        for test in tests.values():
            emit_planned(session.bus, phase.name, test, elsewhere=elsewhere)
    if listed.errors:
        tally.fail(listed.errors)
        _tell_errors(session, phase, listed)


def _tell_errors(session: Session, phase: SuitePhase, account: Account) -> None:
    for text in account.errors:
        session.bus.emit(SuiteError(phase.name, error=text))


async def other_shards(
    session: Session,
    suite: Suite,
    phase: SuitePhase,
    deadline: Deadline,
    tally: Tally,
    chosen: TestSelection,
    account: Account,
) -> None:
    """Ask which tests the other shards have, where the runner did not say and somebody must know.

    One of all shards tells for all; a shard without tests must know whether there are any.
    """
    if not chosen.shard or account.whole or not account.begun:
        return
    if account.planned and not chosen.shard.startswith("1/"):
        return
    listed = await list_tests(session, suite, phase, deadline, TestSelection(chosen.grep))
    for name, test in listed.planned.items():
        if name not in account.planned:
            tally.elsewhere[name] = test
            emit_planned(session.bus, phase.name, test, elsewhere=True)


async def list_tests(
    session: Session, suite: Suite, phase: SuitePhase, deadline: Deadline, chosen: TestSelection
) -> Account:
    """What the suite's runner would run in a phase.

    Raises:
        GuestCommandError: it cannot be listed, and the suite's own code is not the reason.
    """
    ssh = await session.machines[suite.machine].ssh()
    limit = deadline.earlier(suite.timeout * session.factor)
    reader = Reader(EventBus(), phase.name)  # nobody is told
    code = await invoke(
        session,
        suite,
        ssh,
        [*narrowed(phase.args, chosen.grep), *chosen.sharding, "--list"],
        reader,
        limit,
        # The reports of a listing are of no use to anybody.
        environment={**suite_environment(session, suite, phase.name), "ARTIFACT_DIR": LIST_FOLDER},
    )
    account = reader.account
    if account.errors and code == 1:
        return account
    if code not in (0, 4) or not account.ended:  # 4: nothing was executed
        raise GuestCommandError(
            f"the tests of phase {phase.name} cannot be listed",
            why="\n".join(reader.first) or f"the runner ended with {code} and told nothing",
            hint="--isolate=suite needs no list",
        )
    return account


def narrowed(arguments: Sequence[str], grep: str | None) -> list[str]:
    """A phase's arguments with the user's pattern as well; Playwright heeds only one ``--grep``. Pure.

    >>> narrowed(["--grep", "@down"], "page")
    ['--grep', '(?=.*(?:@down))(?=.*(?:page))']
    """
    words = list(arguments)
    if not grep:
        return words
    if "--grep" not in words[:-1]:
        return [*words, "--grep", grep]
    at = words.index("--grep") + 1
    words[at] = f"(?=.*(?:{words[at]}))(?=.*(?:{grep}))"
    return words


async def _bring_home(session: Session, suite: Suite, ssh: Ssh) -> None:
    """Artifacts into ``playwright/``; whatever hinders that is noted, and hides no failure."""
    target = session.run_folder / "playwright"
    try:
        limit = Deadline.after(COPY_LIMIT * max(1.0, session.factor / 2))
        tally = await get(ssh, suite.artifacts, target, deadline=limit, rules=ARTIFACTS)
        for text in tally.told("artifacts of the suite"):
            session.bus.emit(Note(level="warning", message=text))
    except (OrchestratorError, OSError) as error:
        session.bus.emit(Note(level="warning", message=f"artifacts of the suite could not be fetched: {error}"))


def judged(outcome: Outcome, session: Session, chosen: TestSelection) -> RunOutcome:
    """`judge`, with the places of this run; an empty shard is noted."""
    where = [str(session.run_folder / "playwright"), str(session.run_folder / "report" / "index.html")]
    word = judge(outcome, where=where, grep=chosen.grep, shard=chosen.shard)
    if word == "nothing-ran":
        others = len({name for tally in outcome.phases.values() for name in tally.elsewhere})
        message = f"shard {chosen.shard} is empty: the other shards have all {others} browser tests"
        session.bus.emit(Note(level="info", message=message))
    return word
