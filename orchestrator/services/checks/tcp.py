"""The check ``tcp``: the guest can open a connection, through its own resolver and network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.topology import values
from orchestrator.topology.check_kind import CheckKind, CheckResult, Guest
from orchestrator.topology.keys import Key
from orchestrator.topology.urls import parse_endpoint


@dataclass(frozen=True, slots=True)
class TcpCheck(CheckKind):
    kind: ClassVar[str] = "tcp"
    examples: ClassVar[tuple[str, ...]] = ('tcp = "127.0.0.1:7880"',)
    interval: ClassVar[float] = 0.05

    tcp: Annotated[str, Key(values.endpoint, "a connection can be made; an IPv6 address stands in brackets")]

    @property
    def label(self) -> str:
        return f"TCP {self.tcp}"

    async def run(self, guest: Guest) -> CheckResult:
        host, port = parse_endpoint(self.tcp)
        await guest.connect(host, port)
        return CheckResult(True, f"{self.label}: connected")


KIND = TcpCheck
