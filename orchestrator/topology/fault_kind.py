"""What a kind of fault is: its keys (`Kind`), and how it begins, is read back and ends at one place."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, Protocol

from orchestrator.errors import FaultError
from orchestrator.plugins import Registry
from orchestrator.topology.check_kind import CommandOutput
from orchestrator.topology.document import Node
from orchestrator.topology.keys import Key
from orchestrator.topology.kinds import Kind, all_keys

FAULTS_TABLE = "faults.NAME"
Kept = Mapping[str, object]  # what the end of a fault must know of its beginning, JSON-ready


class Scope(StrEnum):
    """What a fault is on."""

    MACHINE = "machine"
    LINK = "machine.network"
    SERVICE = "service"
    NETWORK = "network"


class Place(Protocol):
    """One machine, link or service as a fault reaches it.

    Each method raises `MachineError` where the machine does not answer in time.

    Attributes:
        fault: the name of the fault.
        machine: the machine.
        network: the network of the link; empty for machines and services.
        mac: the address of the interface on it.
        others: the addresses of the other machines on the network, by machine.
        unit: the unit of the service; empty otherwise.
    """

    fault: str
    machine: str
    network: str
    mac: str
    others: Mapping[str, str]
    unit: str

    async def qmp(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        """Run a QMP command of the machine; its answer."""
        ...

    async def run(self, command: Sequence[str]) -> CommandOutput:
        """Run a command in the guest as root, whatever its exit code."""
        ...

    async def sh(self, script: str, *words: str) -> str:
        """Run a shell script in the guest as root; its stdout, stripped. Raises `FaultError` where it fails."""
        ...

    async def filter_frames(self, settings: Mapping[str, object], direction: str) -> Kept:
        """Lead the frames of the link over a process of ours; what `end_filter` needs to end that."""
        ...

    async def filter_told(self, kept: Kept) -> str:
        """What the process says of itself. Raises `FaultError` where frames do not pass it."""
        ...

    async def end_filter(self, kept: Kept) -> None:
        """End the process; frames take the short way again."""
        ...

    async def capture(self, snaplen: int) -> Kept:
        """Write the frames of the link into a pcap file of the run folder: ``path``, relative to it."""
        ...

    async def end_capture(self, kept: Kept) -> None:
        """End that; the file stays."""
        ...


class FaultKind(Kind):
    """A kind of fault. Its instances are what authors write.

    Attributes:
        meaning: what it does, in a line of the documentation.
        scope: what it is on.
        engine: what does it, for people.
        silences: log patterns that it causes; they do not count on its machines while it is on and shortly after.
        reboots: the machine boots again at its end.
        cuts: nothing of the guest answers while it is on.
        stays: it lasts; False where it is over when it has begun.
        panics: the guest's kernel panics.
        harmless: it changes nothing, so nothing has to recover from it.
    """

    __slots__ = ()
    table: ClassVar[str] = FAULTS_TABLE
    meaning: ClassVar[str]
    scope: ClassVar[Scope]
    engine: ClassVar[str]
    silences: ClassVar[tuple[str, ...]] = ()
    reboots: ClassVar[bool] = False
    cuts: ClassVar[bool] = False
    stays: ClassVar[bool] = True
    panics: ClassVar[bool] = False
    harmless: ClassVar[bool] = False

    @classmethod
    def unfit(cls, name: str, others: Mapping[str, type[Kind]]) -> str:
        missing = [word for word in ("meaning", "scope", "engine") if not hasattr(cls, word)]
        return super().unfit(name, others) or (f"{cls.__name__} has no {missing[0]}" if missing else "")

    @classmethod
    def clashes(cls, key: str, others: Mapping[str, type[Kind]]) -> bool:
        return any(key in kind.own_keys() and kind.own_keys()[key] != cls.own_keys()[key] for kind in others.values())

    def written(self) -> dict[str, object]:
        # 0 and "" are only defaults: no author may write them.
        return {key: value for key, value in super().written().items() if value not in (0, "")}

    @classmethod
    def of_kind_named(cls, name: str) -> type[FaultKind] | None:
        return FAULT_KINDS.find(name)

    @classmethod
    def unreadable(cls, data: Mapping[str, object]) -> FaultKind:
        return UnknownFault(str(data.get("of_kind") or data.get("kind", "?")))

    @abstractmethod
    async def begin(self, at: Place) -> Kept:
        """Begin at a place; what `end` needs."""

    @abstractmethod
    async def read_back(self, at: Place, kept: Kept) -> str:
        """What the engine says of it now, in a line. Raises `FaultError` where it is not in effect."""

    @abstractmethod
    async def end(self, at: Place, kept: Kept) -> None:
        """End it. It may have begun only in part, or have ended already."""


@dataclass(frozen=True, slots=True)
class UnknownFault(FaultKind):
    """A fault of an environment that another version started, or of a package that is not installed."""

    kind: ClassVar[str] = ""
    meaning: ClassVar[str] = "unknown"
    scope: ClassVar[Scope] = Scope.MACHINE
    engine: ClassVar[str] = ""
    of_kind: str

    async def begin(self, at: Place) -> Kept:
        raise FaultError(f"fault {at.fault} cannot begin", why=f"this program has no kind {self.of_kind}")

    async def read_back(self, at: Place, kept: Kept) -> str:
        del kept
        raise FaultError(f"fault {at.fault} cannot be read back", why=f"this program has no kind {self.of_kind}")

    async def end(self, at: Place, kept: Kept) -> None:
        del kept
        raise FaultError(f"fault {at.fault} cannot be ended", why=f"this program has no kind {self.of_kind}")


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault as its author wrote it.

    Attributes:
        on: ``machine``, ``machine.network``, ``service`` or ``network``, as its kind wants it.
        lasts: seconds after which it ends by itself; None: it ends with what uses it.
        at: seconds after the beginning of the phase at which it begins.
        recovers_within: seconds, before scaling, in which everything it was on must be healthy after its end.
    """

    name: str
    on: str
    spec: FaultKind
    lasts: float | None = None
    at: float = 0.0
    recovers_within: float | None = None

    @property
    def kind(self) -> str:
        return self.spec.kind


FAULT_KINDS: Registry[FaultKind] = Registry("orchestrator.faults", "orchestrator.faults.kinds", FaultKind)


def fault_keys(node: Node) -> Mapping[str, Key]:
    """The keys that the table of a fault may have."""
    named = node.find("kind")
    word = named.value if named is not None else None
    kind = FAULT_KINDS.find(word) if isinstance(word, str) else None
    return all_keys(FAULTS_TABLE, FAULT_KINDS.every() if kind is None else {kind.kind: kind})
