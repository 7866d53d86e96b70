"""The check ``unit``: a systemd unit is active."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.topology import values
from orchestrator.topology.check_kind import CheckKind, CheckResult, Guest
from orchestrator.topology.keys import Key


@dataclass(frozen=True, slots=True)
class UnitCheck(CheckKind):
    kind: ClassVar[str] = "unit"
    examples: ClassVar[tuple[str, ...]] = ('unit = "everything-helper.service"',)

    unit: Annotated[
        str, Key(values.unit, "the unit is active; of a template, an instance is named (`getty@tty1.service`)")
    ]

    @property
    def label(self) -> str:
        return self.unit

    async def run(self, guest: Guest) -> CheckResult:
        result = await guest.run(["systemctl", "is-active", "--", self.unit])
        return CheckResult(result.code == 0, f"{self.unit} is {result.text}")


KIND = UnitCheck
