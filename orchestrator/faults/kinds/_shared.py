"""What several kinds have in common: keys of links, units of systemd, helpers in the guest."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from orchestrator.errors import FaultError
from orchestrator.topology import fault_values
from orchestrator.topology.document import Node
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope
from orchestrator.topology.keys import Key
from orchestrator.topology.value_types import InvalidValue, value

NOTHING: Kept = {}
INTERFACE = """\
for d in /sys/class/net/*; do
    if read -r a < "$d/address" && [ "$a" = "$1" ]; then i=${d##*/}; break; fi
done
[ -n "$i" ] || { echo "no interface has the address $1" >&2; exit 1; }
"""  # shell: the interface with the address $1 in $i


class Direction(StrEnum):
    """Which frames of a link, as its machine sees them."""

    BOTH = "both"
    IN = "in"
    OUT = "out"


@value("`both`, `in`, `out`", enum=["both", "in", "out"])
def direction(node: Node) -> str:
    if node.value not in list(Direction):
        raise InvalidValue(f"expected both, in or out, found {node.describe()}")
    return str(node.value)


DIRECTION = Key(
    direction, "links: frames that the machine sends (`out`), that it gets (`in`), or both; the default is `both`"
)
PERCENT = Key(fault_values.percent, "links: how many of 100 frames")
SEED = Key(fault_values.seed, "links: what random choices are drawn from; the same seed gives the same ones")


@dataclass(frozen=True, slots=True)
class FilterFault(FaultKind):
    """A fault of a link that the frame filter makes."""

    scope: ClassVar[Scope] = Scope.LINK
    engine: ClassVar[str] = "frame filter"

    direction: Annotated[str, DIRECTION] = "both"
    seed: Annotated[int, SEED] = 1

    @abstractmethod
    def settings(self, at: Place) -> Mapping[str, object]:
        """What the filter does with frames (`orchestrator.faults.frame_filter.Settings`)."""

    async def begin(self, at: Place) -> Kept:
        return await at.filter_frames({**self.settings(at), "seed": self.seed}, self.direction)

    async def read_back(self, at: Place, kept: Kept) -> str:
        return await at.filter_told(kept)

    async def end(self, at: Place, kept: Kept) -> None:
        await at.end_filter(kept)


async def active(at: Place) -> str:
    """What systemd says of the unit: ``active``, ``failed``, …"""
    return (await at.run(["systemctl", "is-active", "--", at.unit])).text


async def start_unit(at: Place) -> None:
    """The unit runs, whatever became of it."""
    await at.sh('systemctl reset-failed -- "$1" 2>/dev/null; systemctl start -- "$1"', at.unit)


def helper_unit(at: Place) -> str:
    """The name of a unit in the guest that a fault needs."""
    return f"orchestrator-fault-{at.fault}.service"


async def run_helper(at: Place, script: str, *words: str, properties: Mapping[str, str] = NOTHING) -> None:  # type: ignore[assignment]
    """Start a script as a unit of the guest, so that it is found and ended again."""
    options = [word for name, text in properties.items() for word in ("-p", f"{name}={text}")]
    unit = helper_unit(at)
    await at.run(["systemctl", "reset-failed", "--", unit])
    command = ["systemd-run", "--quiet", "--collect", f"--unit={unit}", *options, "--", "sh", "-c", script, "sh"]
    done = await at.run([*command, *words])
    if done.code != 0:
        raise FaultError(f"fault {at.fault} cannot begin in machine {at.machine}", why=done.complaint)


async def helper_runs(at: Place) -> str:
    """A line about the script. Raises `FaultError` where it has ended."""
    state = (await at.run(["systemctl", "is-active", "--", helper_unit(at)])).text
    if state not in ("active", "activating"):
        raise FaultError(f"fault {at.fault} is not in effect in machine {at.machine}", why=f"its unit is {state}")
    return f"{helper_unit(at)} is {state}"


async def end_helper(at: Place) -> None:
    await at.run(["systemctl", "stop", "--", helper_unit(at)])


def found(answer: object, *path: str) -> Any:
    """A part of a QMP answer; None where it is not there."""
    for name in path:
        answer = answer.get(name) if isinstance(answer, Mapping) else None
    return answer
