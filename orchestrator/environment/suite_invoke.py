"""One invocation of a suite's command: what it prints, and what its runner tells on a channel of its own.

The channel is a FIFO in a folder that only the suite's user may enter. A first command makes it and runs the suite's
command, a second one reads it to its end; opening it, each waits for the other. What tests print goes another way, so
that it cannot be taken for their results.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.deadline import Deadline, completes_before
from orchestrator.environment.suite_events import Begun, Case, Finished, Lines, Planned, Started, parse
from orchestrator.environment.suite_run import SuiteRun
from orchestrator.environment.suite_tally import Account
from orchestrator.events import EventBus
from orchestrator.events.run import Note
from orchestrator.events.suite import Stream, SuiteOutput, TestBegan, TestEnded, TestPlanned
from orchestrator.guest.ssh import Ssh
from orchestrator.tasks import root_cause

LINE_LIMIT = 64 * 1024  # bytes of a line of output
EVENT_SIZE = 200  # bytes of an event besides its text, about
OUTPUT_LIMIT = 16 << 20  # characters of a phase's output that are kept
TELLING_LIMIT = 4 * OUTPUT_LIMIT  # of what is told of its tests
FIRST_LINES = 6
CHANNEL_LIMIT = 10.0  # seconds until the channel's end, once the command has ended; before scaling

# $1: the channel's folder, then the command. On stdin: which tests to run, as the runner wants it; empty for all. The
# folder is open to nobody else, the channel to none of the command's processes but by its name.
RUN = """\
d=$1; shift; mask=$(umask); umask 077
mkdir -- "$d" && mkfifo -- "$d/events" "$d/go" && cat >"$d/tests" || exit 126
umask "$mask"
exec 9>"$d/events" || exit 126
[ ! -s "$d/tests" ] || export E2E_TESTS="$d/tests"
E2E_EVENTS="$d/events" "$@" </dev/null 9>&-
code=$?
rm -rf -- "$d"
exit "$code"
"""
GO = 'echo >"$1/go"'  # the runner waits for it before the first test
READ = 'until [ -p "$1/events" ]; do sleep 0.1; done; exec cat "$1/events"'


@dataclass(frozen=True, slots=True)
class Invocation:
    """How the suite's command is run.

    Attributes:
        environment: its variables.
        tests: the tests to run, by id; None: all it finds.
        before: what must be done before the first test, and need not be where there is none; the runner waits for it.
    """

    environment: Mapping[str, str]
    tests: Mapping[str, Case] | None = None
    before: Callable[[], Awaitable[None]] | None = None


async def invoke(
    run: SuiteRun,
    ssh: Ssh,
    words: Sequence[str],
    reader: Reader,
    deadline: Deadline,
    *,
    invocation: Invocation,
) -> int:
    """Run the suite's command with further words; its exit code. What it reports is in the reader's account.

    Raises:
        MachineError: the connection is lost, or the deadline came first.
    """
    folder = f"/tmp/e2e-events-{secrets.token_hex(8)}"  # noqa: S108 - in the guest; made again, or not at all
    before, tests, suite = invocation.before, invocation.tests, run.suite
    environment = {**invocation.environment, **({} if before is None else {"E2E_GO": f"{folder}/go"})}
    asked = b"" if tests is None else json.dumps({"status": "failed", "failedTests": list(tests)}).encode()
    try:
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(
                ssh.exec(["sh", "-c", READ, "sh", folder], deadline=deadline, user=suite.user, on_stdout=reader.tell)
            )
            holding = group.create_task(_hold(ssh, suite.user, folder, reader, deadline, before))
            await asyncio.sleep(0)  # it listens before anything is told
            done = await ssh.exec(
                ["sh", "-c", RUN, "sh", folder, *suite.command, *words],
                deadline=deadline,
                user=suite.user,
                environment=environment,
                cwd=run.guest_folder,
                stdin=asked,
                on_stdout=lambda data: reader.feed(data, "stdout"),
                on_stderr=lambda data: reader.feed(data, "stderr"),
            )
            holding.cancel()  # it never found a test
            ending = Deadline.after(run.scale.reply(CHANNEL_LIMIT))
            if not await completes_before(lambda: asyncio.wait([reading]), ending):
                reading.cancel()  # something that the suite left running holds it open, or there never was one
    except BaseExceptionGroup as error:
        raise root_cause(error) from None
    finally:
        reader.close()
    return done.code


async def _hold(
    ssh: Ssh,
    user: str,
    folder: str,
    reader: Reader,
    deadline: Deadline,
    before: Callable[[], Awaitable[None]] | None,
) -> None:
    """Do what must be done before the first test, once there is one, and let the runner go on."""
    if before is None:
        return
    begun, loop = asyncio.Event(), asyncio.get_running_loop()
    reader.on_begin = lambda: loop.call_soon_threadsafe(begun.set)
    await begun.wait()
    if reader.total:
        await before()
    await ssh.exec(["sh", "-c", GO, "sh", folder], deadline=deadline, user=user)


def only_files(tests: Mapping[str, Case]) -> list[str]:
    """Words that let the runner load just the files of these tests; it takes them for regular expressions. Pure.

    Nothing when a file is not known: which tests run is told by their ids, this only spares time.

    >>> only_files({"1": Case("1", "t", "[id].spec.ts", 3, "/s/[id].spec.ts")})
    ['^/s/\\\\[id\\\\]\\\\.spec\\\\.ts$']
    """
    paths = dict.fromkeys(test.path for test in tests.values())
    return [] if "" in paths else [f"^{_plain(path)}$" for path in paths]


def files_below(folder: str, files: Sequence[str]) -> list[str]:
    """Words that let the runner load just these files of a suite's folder in the guest. Pure.

    >>> files_below("/s", ["a.spec.ts"])
    ['^/s/a\\\\.spec\\\\.ts$']
    """
    return [f"^{_plain(f'{folder}/{file}')}$" for file in files]


def _plain(path: str) -> str:
    """A regular expression for a path."""
    return "".join(f"\\{one}" if one in r"\^$.*+?()[]{}|" else one for one in path)


class Reader:
    """Output of a suite becomes events, what its runner tells becomes events of tests and an account.

    Args:
        listed: all tests of the phase, where they were listed before: they are told already, and keep their numbers.
    """

    def __init__(self, bus: EventBus, phase: str, listed: Mapping[str, Case] | None = None) -> None:
        self.account = Account()
        self.total = 0  # tests that the runner has found
        self.runner = ""  # the version of Playwright
        self.on_begin: Callable[[], object] = lambda: None  # called when it has; in the thread that the output comes in
        self.first: list[str] = []  # lines of output: why it does not even begin
        self.last = ""
        self._bus = bus
        self._phase = phase
        self._listed = listed
        self._rest: dict[Stream, bytes] = {"stdout": b"", "stderr": b""}
        self._lines = Lines()
        self._unread = 0
        self._room = OUTPUT_LIMIT
        self._telling_room = TELLING_LIMIT

    # ------------------------------------------------------------------ output

    def feed(self, data: bytes, stream: Stream) -> None:
        *lines, rest = (self._rest[stream] + data).split(b"\n")
        self._rest[stream] = rest[:LINE_LIMIT]
        for raw in lines:
            line = raw[:LINE_LIMIT].decode("utf-8", "replace").rstrip("\r")
            if line:
                self.last = line[:300]
                if len(self.first) < FIRST_LINES:
                    self.first.append(self.last)
                self._output(line, stream)

    def _output(self, line: str, stream: Stream) -> None:
        """A line; the first `OUTPUT_LIMIT` characters of all."""
        if self._room <= 0:
            return
        self._room -= len(line) + EVENT_SIZE
        self._bus.emit(SuiteOutput(self._phase, line=line, stream=stream))
        if self._room <= 0:
            self._warn(f"prints more than {OUTPUT_LIMIT >> 20} MiB; the rest is left out")

    # ------------------------------------------------------------------ what the runner tells

    def tell(self, data: bytes) -> None:
        for line in self._lines.feed(data):
            told = parse(line)
            if told is None:
                self._unread += 1
                continue
            self.account.apply(told)
            if isinstance(told, Begun):
                self.total, self.runner = told.total, told.runner
                self.on_begin()
            before, self._telling_room = self._telling_room, self._telling_room - len(line) - EVENT_SIZE
            if before > 0 >= self._telling_room:
                self._warn("reports more about its tests than can be stored; the rest is only counted")
            if self._telling_room > 0:
                self._emit(told)

    def _emit(self, told: object) -> None:
        match told:
            case Planned(test, elsewhere):
                if self._listed is None or test.id not in self._listed:
                    emit_planned(self._bus, self._phase, test, elsewhere=elsewhere)
            case Started(test):
                index, total = self._number(test)
                self._bus.emit(
                    TestBegan(
                        test.title,
                        phase=self._phase,
                        id=test.id,
                        file=test.file,
                        line=test.line,
                        index=index,
                        total=total,
                    )
                )
            case Finished(test, status, duration, retry, error, attachments):
                self._bus.emit(
                    TestEnded(
                        test.title,
                        phase=self._phase,
                        id=test.id,
                        file=test.file,
                        line=test.line,
                        status=status,
                        duration=duration,
                        retry=retry,
                        error=error,
                        attachments=attachments,
                    )
                )

    def _number(self, test: Case) -> tuple[int, int]:
        known = self.account.planned if self._listed is None else self._listed
        return (known[test.id].index if test.id in known else 0), len(known)

    def close(self) -> None:
        """Nothing more comes."""
        for stream, rest in self._rest.items():
            if rest:
                self.feed(b"\n", stream)
        lost = self._lines.dropped + self._unread
        if lost:
            self._warn(f"wrote {lost} lines that are not test events")

    def _warn(self, what: str) -> None:
        self._bus.emit(Note(level="warning", message=f"phase {self._phase} {what}"))


def emit_planned(bus: EventBus, phase: str, test: Case, *, elsewhere: bool = False) -> None:
    """A test that will run; ``elsewhere``: in another shard."""
    bus.emit(TestPlanned(test.title, phase=phase, id=test.id, file=test.file, line=test.line, other_shard=elsewhere))
