"""The check ``file``: a path of the guest exists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.topology import values
from orchestrator.topology.check_kind import CheckKind, CheckResult, Guest
from orchestrator.topology.keys import Key


@dataclass(frozen=True, slots=True)
class FileCheck(CheckKind):
    kind: ClassVar[str] = "file"
    examples: ClassVar[tuple[str, ...]] = ('file = "/run/everything/socket"',)

    file: Annotated[str, Key(values.guest_path, "the path exists")]

    @property
    def label(self) -> str:
        return self.file

    async def run(self, guest: Guest) -> CheckResult:
        there = (await guest.run(["test", "-e", self.file])).code == 0
        return CheckResult(there, f"{self.file} {'exists' if there else 'does not exist'}")


KIND = FileCheck
