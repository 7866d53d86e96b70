"""What became of a suite's tests: those that were to run against those that ended, by the runner's own ids."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.environment.suite_events import Begun, Case, Ended, Fault, Finished, Planned, Told
from orchestrator.errors import GuestCommandError, NothingRan, OrchestratorError, SuiteFailed

NO_TEST_RAN = 4  # run-e2e-tests: no test was executed
TESTS_LIMIT = 50_000  # that are kept of one invocation
ERRORS_LIMIT = 20
SHOWN = 20  # tests that an error names
# Of a test that ran more than once, from fresh states of its own or as support of others, the last result here counts.
ORDER = ("skipped", "passed", "flaky", "failed")


@dataclass(slots=True)
class Account:
    """What one invocation of the runner told.

    Attributes:
        planned: what it was going to run, by id.
        elsewhere: what other shards are to run.
        results: a word of `ORDER` for every test that ended; of several attempts the last.
        ran: those tests.
        errors: of no test.
        begun, ended: whether it said so.
        whole: whether `elsewhere` is told.
        too_many: more tests than can be compared.
    """

    planned: dict[str, Case] = field(default_factory=dict)
    elsewhere: dict[str, Case] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    ran: dict[str, Case] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    begun: bool = False
    ended: bool = False
    whole: bool = False
    too_many: bool = False

    def apply(self, told: Told) -> None:
        match told:
            case Begun(whole=whole):
                self.begun, self.whole = True, whole
            case Planned(test, elsewhere):
                self._keep(self.elsewhere if elsewhere else self.planned, test)
            case Finished(test, status):
                self._keep(self.ran, test)
                if test.id in self.ran:
                    self.results[test.id] = status if status in ORDER else "failed"
            case Fault(text) if len(self.errors) < ERRORS_LIMIT:
                self.errors.append(text)
            case Ended():
                self.ended = True

    def _keep(self, tests: dict[str, Case], test: Case) -> None:
        if len(tests) < TESTS_LIMIT:
            tests.setdefault(test.id, test)
        elif test.id not in tests:
            self.too_many = True

    def count(self, status: str) -> int:
        return sum(one == status for one in self.results.values())


@dataclass(slots=True)
class Tally:
    """All invocations of a phase together.

    Attributes:
        planned: what was to run; given before, when the tests were listed and divided.
        unasked: tests that ran without having been listed, or from another fresh state than their own.
        codes: how the invocations ended.
        said: the first lines of one that did not begin.
    """

    planned: dict[str, Case] = field(default_factory=dict)
    elsewhere: dict[str, Case] = field(default_factory=dict)
    results: dict[str, str] = field(default_factory=dict)
    missed: dict[str, Case] = field(default_factory=dict)
    unasked: dict[str, Case] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    silent: bool = False
    unfinished: bool = False
    too_many: bool = False

    def add(
        self, account: Account, code: int, chosen: Mapping[str, Case] | None = None, said: Iterable[str] = ()
    ) -> None:
        """One invocation more.

        Args:
            chosen: which tests it was to run; None: all that it finds.
            said: the first lines of its output.
        """
        asked = account.planned if chosen is None else chosen
        if chosen is None:
            self.planned.update(account.planned)
            self.elsewhere.update(account.elsewhere)
        for name, test in account.ran.items():
            if name not in asked and not (name in self.planned and self.planned[name].support):
                self.unasked[name] = test
            before = self.results.get(name, ORDER[0])
            self.results[name] = max(before, account.results[name], key=ORDER.index)
        self.missed.update({name: test for name, test in asked.items() if name not in account.results})
        self.missed = {name: test for name, test in self.missed.items() if name not in self.results}
        self.errors += account.errors
        self.codes.append(code)
        if code not in (0, NO_TEST_RAN) and not account.begun:
            self.said = list(said)
        well = code in (0, NO_TEST_RAN)
        self.silent |= well and not account.begun
        self.unfinished |= well and account.begun and not account.ended
        self.too_many |= account.too_many

    def fail(self, errors: Sequence[str]) -> None:
        """The tests could not even be listed; those that were listed did not run unless they do later."""
        self.errors += errors
        self.codes.append(1)
        self.missed.update(self.planned)

    def finish(self) -> None:
        """Nothing more is run: whatever was to run and has no result did not."""
        self.missed.update({name: test for name, test in self.planned.items() if name not in self.results})

    def count(self, status: str) -> int:
        if status == "did_not_run":
            return len(self.missed)
        return sum(one == status for one in self.results.values())

    @property
    def counts(self) -> dict[str, int]:
        return {status: self.count(status) for status in ("passed", "failed", "flaky", "skipped", "did_not_run")}

    @property
    def code(self) -> int:
        """Of all codes the worst."""
        return max(self.codes, key=lambda code: {NO_TEST_RAN: 0, 0: 1, 1: 2}.get(code, 3), default=NO_TEST_RAN)

    @property
    def broken(self) -> str:
        """Why this is no run of tests at all; empty if it is one."""
        if self.code not in (0, 1, NO_TEST_RAN):
            return f"ended with {self.code}, and no failed test explains it"
        explained = self.errors or self.missed or self.count("failed") or self.count("flaky")
        if self.code == 1 and not explained:
            return "ended with 1, and no failed test explains it"
        if self.silent:
            return "ended, and its runner reported no tests"
        if self.too_many:
            return f"has more than {TESTS_LIMIT} tests, which cannot be compared"
        if self.unfinished and not self.missed:
            return "ended before its runner finished"
        return ""


@dataclass(slots=True)
class Outcome:
    """All phases together."""

    phases: dict[str, Tally] = field(default_factory=dict)

    def phase(self, name: str) -> Tally:
        return self.phases.setdefault(name, Tally())

    def count(self, status: str) -> int:
        return sum(tally.count(status) for tally in self.phases.values())

    @property
    def total(self) -> int:
        return sum(len(tally.planned.keys() | tally.results.keys()) for tally in self.phases.values())


def judge(
    outcome: Outcome, *, where: Sequence[str] = (), grep: str | None = None, shard: str | None = None
) -> Literal["passed", "nothing-ran"]:
    """What the run of all phases comes to: ``passed``, or ``nothing-ran`` where the shard is empty.

    Raises:
        SuiteFailed: tests or the suite's own code failed, or not exactly those tests ran that were to run.
        GuestCommandError: the suite could not be run.
        NothingRan: no test was executed.
    """
    for tally in outcome.phases.values():
        tally.finish()
    problem = _failed(outcome, where) or _broken(outcome, where) or _different(outcome, where)
    if problem is not None:
        raise problem
    if outcome.count("passed") + outcome.count("flaky"):
        return "passed"
    if outcome.total:
        raise NothingRan(
            "no browser test ran",
            why=f"all of the {outcome.total} are skipped" if outcome.total > 1 else "the only one is skipped",
            where=where,
        )
    if shard and any(tally.elsewhere for tally in outcome.phases.values()):
        return "nothing-ran"
    why = f"the title of none matches {grep!r}" if grep else "the suite has none"
    raise NothingRan("no browser test ran", why=why, where=where)


def _failed(outcome: Outcome, where: Sequence[str]) -> OrchestratorError | None:
    failed, missed, total = outcome.count("failed"), outcome.count("did_not_run"), outcome.total
    errors = [text for tally in outcome.phases.values() for text in tally.errors if tally.code == 1]
    if failed:
        rest = f", {missed} did not run" if missed else ""
        what = f"{failed} of {total} browser tests failed{rest}"
        return SuiteFailed(what, why=_first_lines(errors), where=where, evidence=_missed_lines(outcome))
    if errors:
        rest = f"; {missed} of {total} browser tests did not run" if missed else ""
        return SuiteFailed(
            f"the browser suite itself fails{rest}",
            why=_first_lines(errors),
            where=where,
            evidence=_missed_lines(outcome),
        )
    flaky = sum(tally.count("flaky") for tally in outcome.phases.values() if tally.code == 1 and not tally.missed)
    if flaky:
        return SuiteFailed(
            f"{flaky} of {total} browser tests passed at a second attempt only",
            why="the suite's runner takes that for a failure: failOnFlakyTests",
            where=where,
        )
    return None


def _broken(outcome: Outcome, where: Sequence[str]) -> OrchestratorError | None:
    for name, tally in outcome.phases.items():
        if tally.broken:
            return GuestCommandError(
                f"phase {name} of the browser suite {tally.broken}",
                why=_first_lines(tally.errors or tally.said) or "its runner's output is in events.jsonl",
                where=where,
                evidence=_missed_lines(outcome),
            )
    return None


def _different(outcome: Outcome, where: Sequence[str]) -> OrchestratorError | None:
    unasked = {name: test for tally in outcome.phases.values() for name, test in tally.unasked.items()}
    missed = outcome.count("did_not_run")
    if missed:
        return SuiteFailed(
            f"{missed} of {outcome.total} browser tests did not run",
            why="the suite's runner listed them, and ended without their results and without an error",
            where=where,
            evidence=_missed_lines(outcome),
        )
    if unasked:
        return SuiteFailed(
            f"{len(unasked)} browser tests ran that were not to run",
            why="the suite's runner did not list them, or ran them from the fresh state of another test",
            where=where,
            evidence=named(unasked.values()),
        )
    return None


def named(tests: Collection[Case]) -> list[str]:
    """Titles for an error, the first of them. Pure."""
    lines = [test.title for test in tests][:SHOWN]
    return [*lines, f"… and {len(tests) - SHOWN} more"] if len(tests) > SHOWN else lines


def _missed_lines(outcome: Outcome) -> list[str]:
    tests = [test for tally in outcome.phases.values() for test in tally.missed.values()]
    return [f"did not run: {line}" for line in named(tests)]


def _first_lines(errors: Sequence[str]) -> str:
    """The first lines tell what is wrong, the rest where."""
    return "\n".join("\n".join(errors).splitlines()[:6])
