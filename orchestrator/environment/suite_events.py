"""What a suite's runner tells of its tests: lines of JSON from a guest, taken as data that anybody may have written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from orchestrator.events.suite import Attachment
from orchestrator.fields import SENTENCE, TEXT, WORD, number, tables, text, whole

LINE_LIMIT = 64 * 1024  # bytes of a line with its end; event-reporter.cjs keeps all of its lines below
PATH_LIMIT = 4096
ATTACHMENTS = 100  # of one attempt


@dataclass(frozen=True, slots=True)
class Case:
    """A test as the runner knows it.

    Attributes:
        id: the runner's own; the same in every run of the same suite.
        title: for people.
        path: the file that the runner loads to get the test, as it is in the guest.
        index: its number among all that run.
        support: it belongs to what others depend on, and runs with them wherever they run.
    """

    id: str
    title: str
    file: str
    line: int
    path: str = ""
    index: int = 0
    support: bool = False


@dataclass(frozen=True, slots=True)
class Begun:
    """The runner has found its tests; ``planned`` ones follow.

    Attributes:
        whole: whether it also tells the tests of the other shards.
        runner: the version of Playwright.
    """

    total: int
    whole: bool
    runner: str = ""


@dataclass(frozen=True, slots=True)
class Planned:
    """A test that will run; ``elsewhere``: in another shard."""

    test: Case
    elsewhere: bool


@dataclass(frozen=True, slots=True)
class Started:
    test: Case


@dataclass(frozen=True, slots=True)
class Finished:
    """An attempt; ``status`` is a word of docs/events.md, or what a newer runner says."""

    test: Case
    status: str
    duration: float
    retry: int
    error: str
    attachments: tuple[Attachment, ...]


@dataclass(frozen=True, slots=True)
class Fault:
    """An error of no test."""

    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """The runner is done."""


Told = Begun | Planned | Started | Finished | Fault | Ended


def parse(line: bytes) -> Told | None:
    """One line; None when it tells nothing. Pure, and never raises."""
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):  # no UTF-8, no JSON, numbers of ten thousand digits, a thousand brackets
        return None
    if not isinstance(data, dict):
        return None
    match data.get("event"):
        case "begin":
            return Begun(whole(data, "total") or 0, data.get("whole") is True, text(data, "playwright"))
        case "error":
            return Fault(text(data, "text", TEXT, multiline=True) or "an error that was not described")
        case "end":
            return Ended()
        case "planned" | "elsewhere" | "test-begin" | "test-end" as event:
            test = _test(data)
            if test is None:
                return None
            if event == "test-begin":
                return Started(test)
            if event == "test-end":
                return _finished(test, data)
            return Planned(test, event == "elsewhere")
    return None


def _test(data: Mapping[str, object]) -> Case | None:
    name, path = data.get("id"), data.get("path")
    if not isinstance(name, str) or not name or len(name) > WORD:
        return None
    return Case(
        id=name,
        title=text(data, "title", SENTENCE) or name,
        file=text(data, "file", SENTENCE),
        line=whole(data, "line") or 0,
        path=path if isinstance(path, str) and _is_path(path) else "",
        index=whole(data, "index") or 0,
        support=data.get("support") is True,
    )


def _is_path(path: str) -> bool:
    """Whether it can be a word of a command."""
    return len(path) <= PATH_LIMIT and "\0" not in path and not any("\ud800" <= one <= "\udfff" for one in path)


def _finished(test: Case, data: Mapping[str, object]) -> Finished:
    return Finished(
        test,
        status=text(data, "status") or "interrupted",
        duration=max(0.0, number(data, "duration") or 0.0),
        retry=max(0, whole(data, "retry") or 0),
        error=text(data, "error", TEXT, multiline=True),
        attachments=tuple(
            Attachment(text(one, "name"), f"playwright/{PurePosixPath(path)}", text(one, "content_type"))
            for one in tables(data, "attachments")[:ATTACHMENTS]
            if isinstance(path := one.get("path"), str) and 0 < len(path) <= PATH_LIMIT
        ),
    )


class Lines:
    """Puts pieces of a stream together to lines of at most `LINE_LIMIT` bytes.

    Attributes:
        dropped: lines that were longer, and are left out.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._rest = bytearray()
        self._dropping = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        *lines, rest = data.split(b"\n")
        for piece in lines:
            self._rest += piece[: LINE_LIMIT + 1 - len(self._rest)]
            line, dropping = bytes(self._rest), self._dropping
            self._rest.clear()
            self._dropping = False
            if dropping or len(line) >= LINE_LIMIT:
                self.dropped += 1
            elif line:
                yield line
        self._rest += rest[: LINE_LIMIT + 1 - len(self._rest)]
        if len(self._rest) >= LINE_LIMIT:
            self._rest.clear()
            self._dropping = True
