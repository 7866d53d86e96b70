"""The fault ``disk-full``: a file takes all room of a file system, or all but a little."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.errors import FaultError
from orchestrator.topology import fault_values
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope
from orchestrator.topology.keys import Key

# A file system keeps some room for root, who writes here: so what fallocate refuses is written.
FILL = """\
f=$1/.orchestrator-fault-$2 b=$(df --output=avail -B1 -- "$1" | tail -n1)
n=$((b - $3)); [ "$n" -gt 0 ] || { echo "only $b bytes are free" >&2; exit 1; }
fallocate -l "$n" -- "$f" 2>/dev/null || head -c "$n" /dev/zero >"$f" || [ "$3" = 0 ]
if [ "$3" = 0 ]; then cat /dev/zero >>"$f" 2>/dev/null || :; fi
echo "$f"
"""
FREE = 'df --output=avail -B1 -- "$1" | tail -n1'
SLACK = 16 << 20  # bytes: a file system needs some for itself


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFull(FaultKind):
    kind: ClassVar[str] = "disk-full"
    meaning: ClassVar[str] = "a file takes the free room of a file system; it is removed at the end"
    scope: ClassVar[Scope] = Scope.MACHINE
    engine: ClassVar[str] = "fallocate in the guest"
    silences: ClassVar[tuple[str, ...]] = ("disk-full", "database-panic")
    examples: ClassVar[tuple[str, ...]] = ('on = "server"\npath = "/var/lib/postgresql"\nleave = "1MiB"',)

    path: Annotated[str, Key(fault_values.folder, "disk-full: a folder of the file system")] = "/"
    leave: Annotated[int, Key(fault_values.size, "disk-full: how much stays free", "nothing")] = 0

    async def begin(self, at: Place) -> Kept:
        return {"file": await at.sh(FILL, self.path, at.fault, str(self.leave))}

    async def read_back(self, at: Place, kept: Kept) -> str:
        del kept
        free = int(await at.sh(FREE, self.path))
        if free > self.leave + SLACK:
            raise FaultError(f"fault {at.fault} is not in effect", why=f"{free} bytes are free in {self.path}")
        return f"{free} bytes are free in {self.path}"

    async def end(self, at: Place, kept: Kept) -> None:
        del kept
        await at.sh('rm -f -- "$1/.orchestrator-fault-$2"', self.path, at.fault)


KIND = DiskFull
