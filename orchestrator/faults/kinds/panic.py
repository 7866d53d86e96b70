"""The fault ``panic``: the guest's kernel panics. It stays as it is until the fault ends, then it is reset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.deadline import Deadline, pause
from orchestrator.errors import FaultError
from orchestrator.faults.kinds._shared import NOTHING, found
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope

SEEN = 10.0  # seconds until QEMU knows of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Panic(FaultKind):
    kind: ClassVar[str] = "panic"
    meaning: ClassVar[str] = "the guest's kernel panics; at the end the machine is reset"
    scope: ClassVar[Scope] = Scope.MACHINE
    engine: ClassVar[str] = "SysRq c in the guest, QMP system_reset"
    cuts: ClassVar[bool] = True
    reboots: ClassVar[bool] = True
    panics: ClassVar[bool] = True
    silences: ClassVar[tuple[str, ...]] = ("kernel-panic", "oops")
    examples: ClassVar[tuple[str, ...]] = ('on = "server"',)

    async def begin(self, at: Place) -> Kept:
        # From a process that the agent does not wait for: nobody answers any more then.
        await at.run(
            [
                "systemd-run",
                "--quiet",
                "--on-active=0.1",
                "--timer-property=AccuracySec=1ms",
                "--",
                "sh",
                "-c",
                "echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger",
            ]
        )
        return NOTHING

    async def read_back(self, at: Place, kept: Kept) -> str:
        del kept
        limit = Deadline.after(SEEN)
        while (state := found(await at.qmp("query-status"), "status")) != "guest-panicked":
            if limit.expired:
                raise FaultError(f"fault {at.fault} is not in effect", why=f"QEMU says that {at.machine} is {state}")
            await pause(0.1, limit)
        return "QEMU says guest-panicked"

    async def end(self, at: Place, kept: Kept) -> None:
        del kept
        if found(await at.qmp("query-status"), "status") != "running":
            await at.qmp("system_reset")
            await at.qmp("cont")


KIND = Panic
