"""The faults that are on in an environment, on disk: those of a command that was killed are ended by the next one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.atomic import write_atomically
from orchestrator.codec import decode, encode
from orchestrator.process_id import ProcessId
from orchestrator.topology.fault_kind import Fault


@dataclass(frozen=True, slots=True)
class ActiveFault:
    """A fault that is on, or is about to be.

    Attributes:
        kept: what its end needs, for each machine; a machine is in it as soon as its part has begun.
        owner: the command that ends it; None: `fault add` left it on purpose.
        began: wall time, seconds since the epoch.
    """

    fault: Fault
    owner: ProcessId | None
    began: float
    kept: Mapping[str, object] = field(default_factory=dict)

    @property
    def left(self) -> bool:
        """Whether whoever was to end it is gone."""
        return self.owner is not None and not self.owner.alive

    def of(self, machine: str) -> Mapping[str, object]:
        """What is kept of a machine."""
        found = self.kept.get(machine)
        return found if isinstance(found, Mapping) else {}


class FaultBook:
    """What is on, written at each change.

    Args:
        path: of the file; it is there only while something is on.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.active: dict[str, ActiveFault] = read_faults(path)

    def put(self, one: ActiveFault) -> None:
        """It is on, or something of it changed."""
        self.active[one.fault.name] = one
        self._write()

    def keep(self, name: str, machine: str, kept: Mapping[str, object]) -> None:
        """What the end of a fault at a machine needs."""
        one = self.active[name]
        self.put(replace(one, kept={**one.kept, machine: dict(kept)}))

    def remove(self, name: str) -> None:
        """It is not on any more."""
        if self.active.pop(name, None) is not None:
            self._write()

    def clear(self) -> None:
        """The machines are others: nothing is on."""
        self.active.clear()
        self._write()

    def _write(self) -> None:
        if self.active:
            write_atomically(self._path, json.dumps({name: encode(one) for name, one in self.active.items()}))
        else:
            self._path.unlink(missing_ok=True)


def read_faults(path: Path) -> dict[str, ActiveFault]:
    """What a file says is on; nothing where there is none, or it is damaged."""
    try:
        data = json.loads(path.read_bytes())
        return {name: decode(one, ActiveFault, f"faults.{name}") for name, one in data.items()}
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return {}
