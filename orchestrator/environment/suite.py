"""The browser suite: into the client, run phase by phase, its events out as they come, its artifacts home."""

from __future__ import annotations

from contextlib import AsyncExitStack

from orchestrator.deadline import Deadline
from orchestrator.environment.live_faults import PhaseFaults
from orchestrator.environment.suite_invoke import Invocation, Reader, files_below, invoke, only_files
from orchestrator.environment.suite_list import list_other_shards, narrowed, report_errors
from orchestrator.environment.suite_modules import NODE_MODULES, bring_modules, large
from orchestrator.environment.suite_run import SuiteInvocation, SuiteRun
from orchestrator.environment.suite_tally import Account, judge
from orchestrator.errors import GuestCommandError, MachineError, OrchestratorError
from orchestrator.events.run import RunOutcome
from orchestrator.events.suite import SuiteStateChanged
from orchestrator.faults.control import chosen
from orchestrator.guest.files import ARTIFACTS, PutOptions, get, put
from orchestrator.guest.ssh import Ssh
from orchestrator.tasks import run_with_watchdogs
from orchestrator.threads import in_thread
from orchestrator.topology.suite_package import allows, look_at

COPY_LIMIT = 120.0  # seconds, before scaling
PREPARE_LIMIT = 60.0  # seconds for the suite's prepare command, before scaling
SKIPPED_FOLDERS = frozenset({"test-results", "playwright-report", ".git"})


async def run_suite(run: SuiteRun) -> RunOutcome:
    """Run every phase; whatever happens, bring the artifacts home. Its outcome, as `judge` has it.

    Raises:
        SuiteFailed: tests failed, or others ran than were to run.
        NothingRan: no phase executed a test.
        GuestCommandError, MachineError: the suite could not be run.
    """
    async with AsyncExitStack() as stack:
        await push(run, stack)
        for phase in run.suite.phases:
            await run_invocation(run, SuiteInvocation(phase, phase.name))
    return judged(run)


async def push(run: SuiteRun, stack: AsyncExitStack | None = None) -> None:
    """Copy the suite into its machine.

    Args:
        stack: until its end a large node_modules may be plugged in; None: it is copied, so that a saved state holds it.
    """
    if run.scales:
        message = (
            f"this host is slow: the limits in the suite's configuration × {run.scale.factor:g} "
            "(--no-scale-timeouts turns this off)"
        )
        run.note("info", message)
    ssh, suite = await run.ssh(), run.suite
    deadline = run.within(COPY_LIMIT)
    await ssh.exec(["rm", "-rf", "--", run.guest_folder], deadline=deadline)
    modules = None if stack is None else await in_thread(large, suite)
    skip = SKIPPED_FOLDERS | ({f"/{NODE_MODULES}"} if modules else frozenset())
    tally = await put(ssh, suite.path, run.guest_folder, deadline=deadline, options=PutOptions(suite.user, skip))
    for text in tally.told("the suite"):
        run.note("warning", text)
    if stack is not None and modules is not None:
        await bring_modules(run, modules, stack, deadline)


async def prepare_runner(run: SuiteRun, label: str) -> str:
    """Start runner and browser for the suite's next invocation, by its prepare command; why it failed, or nothing."""
    deadline = run.within(PREPARE_LIMIT)
    try:
        done = await (await run.ssh()).exec(
            run.suite.prepare,
            deadline=deadline,
            user=run.suite.user,
            environment=run.environment(label),
            cwd=run.guest_folder,
        )
    except MachineError as error:
        if not deadline.expired:
            raise
        return error.what
    return "" if done.code == 0 else (done.complaint or f"it ended with {done.code}")


async def run_invocation(run: SuiteRun, part: SuiteInvocation, *, verify: bool = True) -> None:
    """One invocation of the suite's command, its events and artifacts; counted in the run's outcome.

    Args:
        verify: everything that was proven must be healthy before; False: something is broken on purpose.

    Raises:
        GuestCommandError: it did not end in time.
        MachineError, ServiceError: the machine is lost; something that was proven is not healthy any more.
    """
    phase, deadline = part.phase, run.within(run.suite.timeout)
    ssh, services = await run.ssh(), run.session.services
    run.bus.emit(SuiteStateChanged(phase.name, state="starting"))
    if verify:
        await run.session.verify_still_healthy(deadline)
    stopped: list[str] = []

    faults = PhaseFaults(run.session.faults, [chosen(run.session.topology, name) for name in phase.faults], deadline)

    async def make_ready() -> None:
        if phase.stop:
            # Only the named services are stopped: what depends on them must show how it fares without.
            stopped.extend(services.graph.with_dependants(phase.stop))
            await services.stop(phase.stop, deadline)
        await faults.begin()

    tally = run.outcome.phase(phase.name)
    reader = Reader(run.bus, phase.name, None if part.tests is None else tally.planned)
    before = make_ready if phase.stop or phase.faults else None
    invocation = Invocation(run.environment(part.label), part.tests, before)
    try:
        code = await run_with_watchdogs(_invoke(run, part, ssh, reader, deadline, invocation), [faults.follow])
    except BaseException:
        await run.session.faults.interrupt()
        raise
    await faults.end()
    tally.add(reader.account, code, part.tests, reader.first)
    if phase is run.suite.phases[0] and part.tests is None:
        _note_version(run, reader.runner)
    report_errors(run, phase, reader.account)
    if part.tests is None:
        await list_other_shards(run, phase, tally, reader.account)
    elapsed = round(deadline.elapsed, 3)
    run.bus.emit(SuiteStateChanged(phase.name, state="finished", exit_code=tally.code, **tally.counts, elapsed=elapsed))
    if stopped and part.last:
        services.mark_pending(tuple(stopped))
        await services.bring_up(deadline)


async def _invoke(
    run: SuiteRun, part: SuiteInvocation, ssh: Ssh, reader: Reader, deadline: Deadline, invocation: Invocation
) -> int:
    """Run the command between two pictures, and bring its artifacts home whatever happens; its exit code."""
    phase, qemu, run_folder = part.phase, run.machine.qemu, run.session.run_folder
    await qemu.screenshot(f"suite-{part.label}-start", run_folder)
    narrowing = run.selection.sharding if part.tests is None else only_files(part.tests)
    narrowing = narrowing or files_below(run.guest_folder, part.files)
    words = [*narrowed(phase.args, run.selection.grep), *narrowing]
    run.bus.emit(SuiteStateChanged(phase.name, state="running"))
    try:
        return await invoke(run, ssh, words, reader, deadline, invocation=invocation)
    except MachineError as error:
        if not deadline.expired:
            raise
        raise GuestCommandError(
            f"phase {phase.name} of the browser suite did not end within {deadline}",
            why=f"{_so_far(reader.account)}; last line: {reader.last or 'none'}",
            where=[str(run.artifacts)],
            hint=f"orchestrator shell {run.suite.machine}",
        ) from error
    finally:
        await qemu.screenshot(f"suite-{part.label}-end", run_folder)
        if reader.total or not reader.account.begun:  # a phase without tests must not replace what others wrote
            await bring_home(run, ssh)


def _so_far(account: Account) -> str:
    return f"{account.count('passed') + account.count('flaky')} passed, {account.count('failed')} failed so far"


def _note_version(run: SuiteRun, runner: str) -> None:
    """Note when the suite asks for another Playwright than it was run with."""
    wanted = look_at(run.suite.path).wanted
    if wanted and runner and not allows(wanted, runner):
        message = (
            f"the suite asks for Playwright {wanted} and was run with {runner}; `npm ci` in {run.suite.path} lets it "
            "bring its own"
        )
        run.note("warning", message)


async def bring_home(run: SuiteRun, ssh: Ssh) -> None:
    """Artifacts into ``playwright/``; whatever hinders that is noted, and hides no failure."""
    try:
        deadline = Deadline.after(run.scale.transfer(COPY_LIMIT))
        tally = await get(ssh, run.suite.artifacts, run.artifacts, deadline=deadline, rules=ARTIFACTS)
        for text in tally.told("artifacts of the suite"):
            run.note("warning", text)
    except (OrchestratorError, OSError) as error:
        run.note("warning", f"artifacts of the suite could not be fetched: {error}")


def judged(run: SuiteRun) -> RunOutcome:
    """`judge`, with the paths of this run; an empty shard is noted."""
    where = [str(run.artifacts), str(run.session.run_folder / "report" / "index.html")]
    outcome = judge(run.outcome, where=where, grep=run.selection.grep, shard=run.selection.shard)
    if outcome == "nothing-ran":
        others = len({name for tally in run.outcome.phases.values() for name in tally.elsewhere})
        run.note("info", f"shard {run.selection.shard} is empty: the other shards have all {others} browser tests")
    return outcome
