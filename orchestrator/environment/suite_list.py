"""Which tests a suite has, as its own runner lists them; those of other shards too."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.environment.suite_invoke import Invocation, Reader, emit_planned, invoke
from orchestrator.environment.suite_run import SuiteRun, TestSelection
from orchestrator.environment.suite_tally import NO_TEST_RAN, Account, Tally
from orchestrator.errors import GuestCommandError
from orchestrator.events import EventBus
from orchestrator.events.suite import SuiteError
from orchestrator.topology.model import SuitePhase

LIST_FOLDER = "/tmp/e2e-list"  # noqa: S108 - in the guest


async def list_tests(run: SuiteRun, phase: SuitePhase, selection: TestSelection) -> Account:
    """What the suite's runner would run in a phase.

    Raises:
        GuestCommandError: it cannot be listed, and the suite's own code is not the reason.
    """
    ssh = await run.ssh()
    reader = Reader(EventBus(), phase.name)  # a bus without subscribers
    words = [*narrowed(phase.args, selection.grep), *selection.sharding, "--list"]
    # The reports of a listing are of no use to anybody.
    environment = {**run.environment(phase.name), "ARTIFACT_DIR": LIST_FOLDER}
    code = await invoke(run, ssh, words, reader, run.within(run.suite.timeout), invocation=Invocation(environment))
    account = reader.account
    if account.errors and code == 1:
        return account
    if code not in (0, NO_TEST_RAN) or not account.ended:
        raise GuestCommandError(
            f"the tests of phase {phase.name} cannot be listed",
            why="\n".join(reader.first) or f"the runner ended with {code} and reported nothing",
            hint="--isolate=suite needs no list",
        )
    return account


def report_listed(run: SuiteRun, phase: SuitePhase, listed: Account) -> None:
    """Report what a listing found: what is to run, what other shards have, and why some cannot be listed."""
    tally = run.outcome.phase(phase.name)
    tally.planned.update(listed.planned)
    tally.elsewhere.update(listed.elsewhere)
    for elsewhere, tests in ((False, listed.planned), (True, listed.elsewhere)):
        for test in tests.values():
            emit_planned(run.bus, phase.name, test, elsewhere=elsewhere)
    if listed.errors:
        tally.fail(listed.errors)
        report_errors(run, phase, listed)


def report_errors(run: SuiteRun, phase: SuitePhase, account: Account) -> None:
    """Report the errors that belong to no test."""
    for text in account.errors:
        run.bus.emit(SuiteError(phase.name, error=text))


async def list_other_shards(run: SuiteRun, phase: SuitePhase, tally: Tally, account: Account) -> None:
    """Ask which tests the other shards have, where the runner did not say and somebody must know.

    One of all shards asks for all; a shard without tests must know whether there are any.
    """
    shard = run.selection.shard
    if not shard or account.whole or not account.begun:
        return
    if account.planned and not shard.startswith("1/"):
        return
    listed = await list_tests(run, phase, TestSelection(run.selection.grep))
    for name, test in listed.planned.items():
        if name not in account.planned:
            tally.elsewhere[name] = test
            emit_planned(run.bus, phase.name, test, elsewhere=True)


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
