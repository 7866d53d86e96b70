"""The browser suite: into the client, run phase by phase, its events out as they come, its artifacts home."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from orchestrator.deadline import Deadline
from orchestrator.environment.session import Session
from orchestrator.errors import GuestCommandError, MachineError, NothingRan, OrchestratorError, SuiteFailed
from orchestrator.events import EventBus
from orchestrator.guest.files import get, put
from orchestrator.guest.ssh import Ssh
from orchestrator.topology.model import Suite, SuitePhase

GUEST_SUITES = "/opt/e2e/suites"
MARK = "::e2e "
COPY_LIMIT = 120.0  # seconds, before scaling
SKIPPED_FOLDERS = frozenset({"node_modules", "test-results", "playwright-report", ".git"})
NO_TEST_RAN = 4  # run-e2e-tests: no test was executed
LINE_LIMIT = 64 * 1024
EVENT_SIZE = 200  # bytes of an event besides its text, about
OUTPUT_LIMIT = 16 << 20  # characters of a phase's output that are kept


@dataclass(slots=True)
class Counts:
    """What a phase's own reporter counted."""

    passed: int = 0
    failed: int = 0
    flaky: int = 0
    skipped: int = 0
    errors: tuple[str, ...] = ()

    def take(self, data: Mapping[str, Any]) -> None:
        self.passed, self.failed = int(data.get("passed", 0)), int(data.get("failed", 0))
        self.flaky, self.skipped = int(data.get("flaky", 0)), int(data.get("skipped", 0))
        self.errors = tuple(str(text) for text in data.get("errors", []))

    def plus(self, other: Counts) -> Counts:
        return Counts(
            self.passed + other.passed,
            self.failed + other.failed,
            self.flaky + other.flaky,
            self.skipped + other.skipped,
            (*self.errors, *other.errors),
        )


@dataclass(frozen=True, slots=True)
class Part:
    """One invocation of the suite's command.

    Attributes:
        label: what its artifacts are named after; the phase's name, or that with a number.
        only: ``FILE`` or ``FILE:LINE``, as the suite's runner lists them; empty for the whole phase.
        last: of the whole run: what the phase stopped is then started again.
    """

    phase: SuitePhase
    label: str
    only: str = ""
    last: bool = True


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which of the suite's tests a run is about.

    Attributes:
        grep: a pattern for their titles.
        shard: ``1/3``: the first third of them, as the suite's runner divides them.
    """

    grep: str | None = None
    shard: str | None = None

    @property
    def sharding(self) -> list[str]:
        """Words for the runner; none where a file is named: that was chosen from the listed shard."""
        return [f"--shard={self.shard}"] if self.shard else []


def _badness(code: int) -> int:
    return {NO_TEST_RAN: 0, 0: 1, 1: 2}.get(code, 3)


@dataclass(slots=True)
class Outcome:
    """All phases together."""

    phases: dict[str, tuple[int, Counts]] = field(default_factory=dict)

    def add(self, phase: str, code: int, counts: Counts) -> Counts:
        """One invocation more of a phase; the phase's counts so far. Of the codes the worst stays."""
        before, total = self.phases.get(phase, (NO_TEST_RAN, Counts()))
        total = total.plus(counts)
        self.phases[phase] = (max(before, code, key=_badness), total)
        return total

    @property
    def ran(self) -> int:
        return sum(c.passed + c.failed + c.flaky for _, c in self.phases.values())

    @property
    def failed(self) -> int:
        return sum(c.failed for _, c in self.phases.values())

    @property
    def broken(self) -> list[str]:
        """Phases that ended badly without a failed test to show for it."""
        return [
            name
            for name, (code, counts) in self.phases.items()
            if code not in (0, NO_TEST_RAN) and not (code == 1 and counts.failed)
        ]


async def run_suite(session: Session, suite: Suite, deadline: Deadline, chosen: Chosen) -> None:
    """Run every phase; whatever happens, bring the artifacts home.

    Raises:
        SuiteFailed: tests failed.
        NothingRan: no phase executed a test.
        GuestCommandError, MachineError: the suite could not be run.
    """
    await push(session, suite, deadline)
    outcome = Outcome()
    for phase in suite.phases:
        await run_part(session, suite, Part(phase, phase.name), deadline, outcome, chosen)
    judge(outcome, session)


async def push(session: Session, suite: Suite, deadline: Deadline) -> None:
    """Copy the suite into its machine."""
    ssh = await session.machines[suite.machine].ssh()
    limit = deadline.earlier(COPY_LIMIT * session.factor)
    await ssh.exec(["rm", "-rf", "--", guest_folder(suite)], deadline=limit)
    await put(ssh, suite.path, guest_folder(suite), deadline=limit, owner=suite.user, skip=SKIPPED_FOLDERS)


def guest_folder(suite: Suite) -> str:
    return f"{GUEST_SUITES}/{suite.path.resolve().name}"


def suite_environment(session: Session, suite: Suite, label: str) -> dict[str, str]:
    """The variables of the suite's command."""
    return {
        "HOME": f"/home/{suite.user}",
        "CI": "1",
        "ARTIFACT_DIR": suite.artifacts,
        "E2E_PHASE": label,
        "E2E_TIME_FACTOR": f"{session.factor:g}",
        **suite.environment,
    }


async def run_part(
    session: Session, suite: Suite, part: Part, deadline: Deadline, outcome: Outcome, chosen: Chosen
) -> None:
    """One invocation of the suite's command, its events and artifacts; counted in ``outcome``."""
    phase, limit = part.phase, deadline.earlier(suite.timeout * session.factor)
    bus, machine = session.bus, session.machines[suite.machine]
    ssh = await machine.ssh()
    bus.emit("suite.state", phase.name, state="starting")
    await session.confirm(limit)
    stopped = session.gate.graph.with_dependants(phase.stop) if phase.stop else ()
    # Only the named services are stopped: what rests on them must show how it fares without.
    await session.gate.stop(phase.stop, limit)
    await machine.screenshot(f"suite-{part.label}-start", session.run_folder)
    reader = _Reader(bus, phase.name)
    command = [*suite.command, *narrowed(phase.args, chosen.grep), *([part.only] if part.only else chosen.sharding)]
    bus.emit("suite.state", phase.name, state="running")
    try:
        result = await ssh.exec(
            command,
            deadline=limit,
            user=suite.user,
            environment=suite_environment(session, suite, part.label),
            cwd=guest_folder(suite),
            on_stdout=lambda data: reader.feed(data, "stdout"),
            on_stderr=lambda data: reader.feed(data, "stderr"),
        )
    except MachineError as error:
        if limit.expired:
            raise GuestCommandError(
                f"phase {phase.name} of the browser suite did not end within {limit.limit:.0f} s",
                why=f"{reader.counts_text()}; last line: {reader.last}",
                where=[str(session.run_folder / "playwright")],
                hint=f"orchestrator shell {suite.machine}",
            ) from error
        raise
    finally:
        await machine.screenshot(f"suite-{part.label}-end", session.run_folder)
        await _bring_home(session, suite, ssh)
    counts = outcome.add(phase.name, result.code, reader.counts)
    bus.emit(
        "suite.state",
        phase.name,
        state="finished",
        exit_code=result.code,
        passed=counts.passed,
        failed=counts.failed,
        skipped=counts.skipped,
        flaky=counts.flaky,
        elapsed=round(limit.elapsed, 3),
    )
    if stopped and part.last:
        session.gate.forget(stopped)
        await session.gate.bring_up(limit)


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
        await get(ssh, suite.artifacts, target, deadline=Deadline.after(COPY_LIMIT * max(1.0, session.factor / 2)))
    except (OrchestratorError, OSError) as error:
        session.bus.emit("note", level="warning", message=f"artifacts of the suite could not be fetched: {error}")


class _Reader:
    """Splits the suite's output into lines; marked lines become events of tests."""

    def __init__(self, bus: EventBus, phase: str) -> None:
        self.counts = Counts()
        self.last = ""
        self._bus = bus
        self._phase = phase
        self._rest: dict[str, bytes] = {"stdout": b"", "stderr": b""}
        self._room = OUTPUT_LIMIT
        self._tests_room = 4 * OUTPUT_LIMIT

    def feed(self, data: bytes, stream: str) -> None:
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        self._rest[stream] = rest[:LINE_LIMIT]
        for raw in lines:
            line = raw[:LINE_LIMIT].decode("utf-8", "replace").rstrip("\r")
            if stream == "stdout" and line.startswith(MARK):
                self._test(line[len(MARK) :])
            elif line:
                self.last = line[:300]
                self._output(line, stream)

    def _output(self, line: str, stream: str) -> None:
        """A line that is no test's; the first `OUTPUT_LIMIT` characters of all."""
        if self._room <= 0:
            return
        self._room -= len(line) + EVENT_SIZE
        self._bus.emit("suite.output", self._phase, line=line, stream=stream)
        if self._room <= 0:
            message = f"phase {self._phase} prints more than {OUTPUT_LIMIT >> 20} MiB; the rest is left out"
            self._bus.emit("note", level="warning", message=message)

    def _take_room(self, length: int) -> None:
        before, self._tests_room = self._tests_room, self._tests_room - length - EVENT_SIZE
        if before > 0 >= self._tests_room:
            message = f"phase {self._phase} tells more of its tests than can be kept; the rest is only counted"
            self._bus.emit("note", level="warning", message=message)

    def counts_text(self) -> str:
        return f"{self.counts.passed} passed, {self.counts.failed} failed so far"

    def _test(self, text: str) -> None:
        try:
            data = json.loads(text)
            event, title = str(data["event"]), str(data.get("title", ""))
        except (ValueError, KeyError, TypeError):
            self._output(MARK + text, "stdout")
            return
        self._take_room(len(text))
        if event == "test-begin" and self._tests_room > 0:
            self._bus.emit("test.begin", title, phase=self._phase, **_pick(data, "file", "line", "index", "total"))
        elif event == "test-end":
            attachments = [
                {**a, "path": f"playwright/{PurePosixPath(a['path'])}"}
                for a in data.get("attachments", [])
                if isinstance(a, dict) and isinstance(a.get("path"), str)
            ]
            fields = _pick(data, "file", "line", "status", "duration", "retry", "error")
            if self._tests_room > 0:  # else it is only counted
                self._bus.emit("test.end", title, phase=self._phase, **fields, attachments=attachments)
            status = data.get("status")
            self.counts.passed += status == "passed"
            self.counts.failed += bool(data.get("final", True)) and status in ("failed", "timedOut", "interrupted")
        elif event == "end":
            self.counts.take(data)


def _pick(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: data[name] for name in names if name in data}


def judge(outcome: Outcome, session: Session) -> None:
    """Raise what the run of all parts comes to, unless all is well."""
    where = [str(session.run_folder / "playwright"), str(session.run_folder / "report" / "index.html")]
    if outcome.failed:
        raise SuiteFailed(f"{outcome.failed} of {outcome.ran} browser tests failed", where=where)
    if outcome.broken:
        name = outcome.broken[0]
        code, counts = outcome.phases[name]
        said = "\n".join(counts.errors).splitlines()  # the first lines tell what is wrong, the rest where
        raise GuestCommandError(
            f"phase {name} of the browser suite ended with {code}, and no failed test explains it",
            why="\n".join(said[:6]) or "its runner failed; its output is in events.jsonl",
            where=where,
        )
    if outcome.ran == 0:
        raise NothingRan("no browser test ran", why="the suite has none, or none matched", where=where)

