"""Scenarios: steps that break something, look at what becomes of it, and end it. Frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class StepKind(StrEnum):
    """What a step does; also the key that says so."""

    FAULT = "fault"
    END = "end"
    WAIT = "wait"
    COMMAND = "command"
    CHECK = "check"
    TESTS = "tests"


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Attributes:
        subject: the fault of ``fault`` and ``end``; the service of ``check``; the pattern of ``tests``.
        seconds: of ``wait``.
        command: in the guest; ``machine`` and ``user``: where and who.
        code: which the command must exit with; ``stdout``: a regular expression that is found in its output.
        passes: whether the checks are to pass, or one of them is to fail.
        within: seconds, before scaling, in which a command or check must have come to that; None: at once for a
            command, the limit of the service for a check.
        phase: of the suite whose arguments ``tests`` has.
    """

    kind: StepKind
    subject: str = ""
    seconds: float = 0.0
    command: tuple[str, ...] = ()
    machine: str = ""
    user: str = "root"
    code: int = 0
    stdout: str | None = None
    passes: bool = True
    within: float | None = None
    phase: str = ""

    @property
    def title(self) -> str:
        """What it does, for people."""
        match self.kind:
            case StepKind.WAIT:
                return f"wait {self.seconds:g} s"
            case StepKind.COMMAND:
                return f"{' '.join(self.command)} in {self.machine}"
            case StepKind.CHECK:
                return f"{self.subject} is {'healthy' if self.passes else 'not healthy'}"
            case StepKind.TESTS:
                return f"tests {self.subject or 'of the phase'}"
        return f"{self.kind} {self.subject}"


@dataclass(frozen=True, slots=True)
class Scenario:
    """Steps, one after the other. Faults that are still on end with it."""

    name: str
    steps: tuple[Step, ...]
    description: str = ""
