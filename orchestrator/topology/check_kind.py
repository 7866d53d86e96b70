"""What a kind of check is: its keys (`Kind`), and one attempt, made through whatever reaches a guest."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from orchestrator.plugins import Registry
from orchestrator.topology.document import Node
from orchestrator.topology.keys import REQUIRED, Key
from orchestrator.topology.kinds import Kind, all_keys, known_kinds
from orchestrator.topology.urls import Url

ANSWER_LIMIT = 300  # characters of an answer
CHECKS_TABLE = "services.NAME.checks.NAME"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one attempt saw, in one line."""

    ok: bool
    text: str

    @classmethod
    def of(cls, ok: bool, text: str) -> CheckResult:
        """A result whose text may be anything: it becomes one line, cut where it is too long."""
        # JSON may hold halves of characters, which nothing can print.
        return cls(ok, " ".join(text.encode("utf-8", "replace").decode().split())[:ANSWER_LIMIT])


class CommandOutput(Protocol):
    """How a command in a guest ended."""

    @property
    def code(self) -> int: ...
    @property
    def stdout(self) -> bytes: ...
    @property
    def text(self) -> str:
        """Its stdout, stripped."""
        ...

    @property
    def complaint(self) -> str:
        """The last line that says what was wrong."""
        ...


class HttpResponse(Protocol):
    """What a server answered."""

    @property
    def status(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> str | None:
        """Its text; None where it was not read."""
        ...

    @property
    def fault(self) -> str:
        """Why the body is not whole, or empty."""
        ...


class NotReached(Exception):
    """Nothing could be connected to; the text says why. `run_check` makes a result of it."""


class Guest(Protocol):
    """A machine as a check reaches it.

    The limit of the attempt begins when the machine can first be reached. Past it, each method raises `TimeLimit`,
    of which `run_check` makes a result; a machine that is lost is a `MachineError`.
    """

    async def run(self, command: Sequence[str], *, user: str = "root") -> CommandOutput:
        """Run a command in the guest, through its agent. A program that is not there exits with 127."""
        ...

    async def connect(self, host: str, port: int) -> None:
        """Open a TCP connection from the guest, and close it. Raises `NotReached`."""
        ...

    async def get(
        self, url: Url, wanted: Callable[[int], bool], *, ca: Path | None = None, verify: bool = True
    ) -> HttpResponse:
        """Make an HTTP request from the guest. Raises `NotReached`.

        Args:
            wanted: whether the body is to be read, given the status.
            ca: certificates that are trusted instead of the host's, for https; ``verify``: whether any are asked for.
        """
        ...

    async def search(self, pattern: str, text: str) -> bool:
        """Whether a regular expression (RE2) is found in the first 128 KiB of a text. Raises `PatternError`."""
        ...


class CheckKind(Kind):
    """A kind of check. Its instances are the conditions that authors write.

    Attributes:
        interval: seconds between two attempts, before scaling. Each costs an emulated guest a connection or a
            process, and what the unit says in its journal brings the next attempt forward.
    """

    __slots__ = ()
    table: ClassVar[str] = CHECKS_TABLE
    interval: ClassVar[float] = 0.1

    @classmethod
    def unfit(cls, name: str, others: Mapping[str, type[Kind]]) -> str:
        why = super().unfit(name, others)
        return why or ("" if name in cls.own_keys() else f"{cls.__name__} has no key {name}, which names the kind")

    @classmethod
    def clashes(cls, key: str, others: Mapping[str, type[Kind]]) -> bool:
        # Kinds may share a key, as long as it names none of them.
        return key in others or (key == cls.kind and super().clashes(key, others))

    @classmethod
    def required_cell(cls, name: str) -> str:
        return "" if name == cls.kind else REQUIRED

    @classmethod
    def of_kind_named(cls, name: str) -> type[CheckKind] | None:
        return CHECK_KINDS.find(name)

    @classmethod
    def unreadable(cls, data: Mapping[str, object]) -> CheckKind:
        return UnknownCheck(str(data.get("of_kind") or data.get("kind", "?")))

    @property
    @abstractmethod
    def label(self) -> str:
        """What is looked at, in a word or two; an answer begins with it."""

    @abstractmethod
    async def run(self, guest: Guest) -> CheckResult:
        """Make one attempt. A service that is not there yet is a result, no error."""


@dataclass(frozen=True, slots=True)
class UnknownCheck(CheckKind):
    """A check of an environment that another version started, or that is of a package which is not installed."""

    kind: ClassVar[str] = ""
    of_kind: str

    @property
    def label(self) -> str:
        return f"a check of kind {self.of_kind}"

    async def run(self, guest: Guest) -> CheckResult:
        del guest
        return CheckResult(False, f"{self.label} cannot be made: this program has no such kind")


CHECK_KINDS: Registry[CheckKind] = Registry("orchestrator.checks", "orchestrator.services.checks", CheckKind)


def check_keys(node: Node) -> Mapping[str, Key]:
    """The keys that the table of a check may have."""
    return all_keys(CHECKS_TABLE, known_kinds(CHECKS_TABLE, CHECK_KINDS, node))
