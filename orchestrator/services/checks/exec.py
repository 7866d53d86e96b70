"""The check ``exec``: a command in the guest exits with 0, and perhaps prints what is expected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.errors import GuestCommandError
from orchestrator.patterns import TEXT_LIMIT, PatternError
from orchestrator.topology import values
from orchestrator.topology.check_kind import ANSWER_LIMIT, CheckKind, CheckResult, Guest
from orchestrator.topology.keys import Key
from orchestrator.topology.value_types import Command


@dataclass(frozen=True, slots=True)
class ExecCheck(CheckKind):
    kind: ClassVar[str] = "exec"
    examples: ClassVar[tuple[str, ...]] = ('exec = ["psql", "-XtAc", "select 1"]\nuser = "postgres"\nstdout = "^1$"',)

    exec: Annotated[tuple[str, ...], Key(Command(), "the command exits with 0; no shell is involved")]
    user: Annotated[str, Key(values.user, "exec: who runs the command; HOME, USER and LOGNAME are that user's")] = (
        "root"
    )
    stdout: Annotated[str | None, Key(values.pattern, "exec: is found in the output")] = None

    @property
    def label(self) -> str:
        return self.exec[0]

    async def run(self, guest: Guest) -> CheckResult:
        try:
            result = await guest.run(self.exec, user=self.user)
        except GuestCommandError as error:
            return CheckResult.of(False, f"{self.label}: {error.why or error.what}")
        if result.code != 0:
            return CheckResult.of(False, f"{self.label} exited with {result.code}: {result.complaint}")
        if self.stdout is None:
            return CheckResult.of(True, f"{self.label} exited with 0")
        begin = result.text[:ANSWER_LIMIT]
        try:
            found = await guest.search(f"(?m){self.stdout}", result.text)
        except PatternError as error:  # of an environment that another version started
            return CheckResult.of(False, f"{self.label}: /{self.stdout}/ cannot be searched: {error}")
        if found:
            return CheckResult.of(True, f"{self.label} printed {begin!r}")
        rest = f" in its first {TEXT_LIMIT >> 10} KiB" if len(result.stdout) > TEXT_LIMIT else ""
        return CheckResult.of(False, f"{self.label} printed {begin!r}, expected /{self.stdout}/{rest}")


KIND = ExecCheck
