"""The fault ``dns-fail``: names do not resolve in the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.errors import FaultError
from orchestrator.topology import network_values
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope
from orchestrator.topology.keys import Key
from orchestrator.topology.value_types import Array

# Other files over those of the guest: the guest's own stay as they are, whatever writes them meanwhile.
BEGIN = """\
d=/run/orchestrator/faults/$1; shift; umask 022; mkdir -p $d
if [ $# = 0 ]; then
    grep -E '^(127\\.|::1)' /etc/hosts >$d/hosts; : >$d/resolv.conf
    mount --bind $d/resolv.conf "$(readlink -f /etc/resolv.conf)" || exit
else
    awk 'BEGIN { for (i = 2; i < ARGC; i++) { gone[ARGV[i]]; delete ARGV[i] } }
         { keep = $1; for (i = 2; i <= NF && $i !~ /^#/; i++) if (!($i in gone)) keep = keep " " $i
           if (keep != $1 || $1 ~ /^#/ || NF < 2) print ($1 ~ /^#/) ? $0 : keep }' /etc/hosts "$@" >$d/hosts
fi
mount --bind $d/hosts /etc/hosts
"""
END = """\
for f in hosts resolv.conf; do
    p=$(readlink -f /etc/$f)
    while grep -q " /[^ ]*orchestrator/faults/$1/$f $p " /proc/self/mountinfo; do umount "$p" || exit; done
done
rm -rf /run/orchestrator/faults/"$1"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsFail(FaultKind):
    kind: ClassVar[str] = "dns-fail"
    meaning: ClassVar[str] = "names do not resolve: those given, or all but localhost"
    scope: ClassVar[Scope] = Scope.MACHINE
    engine: ClassVar[str] = "other hosts and resolv.conf over those of the guest"
    examples: ClassVar[tuple[str, ...]] = ('on = "client"\nnames = ["server"]',)

    names: Annotated[
        tuple[str, ...],
        Key(Array(network_values.alias, "list of host names"), "dns-fail: which names, of /etc/hosts", "all"),
    ] = ()

    async def begin(self, at: Place) -> Kept:
        probe = self.names or (await at.sh("hostname"),)
        await at.sh(BEGIN, at.fault, *self.names)
        return {"probe": list(probe)}

    async def read_back(self, at: Place, kept: Kept) -> str:
        names = [str(name) for name in kept.get("probe", ())] if self.names else []  # type: ignore[attr-defined]
        for name in names:
            done = await at.run(["getent", "hosts", name])
            if done.code == 0:
                raise FaultError(f"fault {at.fault} is not in effect", why=f"{name} is {done.text}")
        return f"{', '.join(names) or 'no name but localhost'} does not resolve"

    async def end(self, at: Place, kept: Kept) -> None:
        del kept
        await at.sh(END, at.fault)


KIND = DnsFail
