"""How a script ended: its tests, its error, and the exit code."""

from __future__ import annotations

import traceback
from dataclasses import asdict, dataclass

from orchestrator.driver.results import DriverFailed, MachineOff
from orchestrator.driver.testscript.script import Script
from orchestrator.errors import GuestCommandError, IncompleteCopy, OrchestratorError, SuiteFailed, UsageError

# What is wrong with what the script wanted, or found; anything else of the tree is about the machines.
OF_THE_SCRIPT = (DriverFailed, MachineOff, GuestCommandError, IncompleteCopy, UsageError)


@dataclass(frozen=True, slots=True)
class Case:
    """A test case of a script: a subtest, a polling condition, or the whole script.

    Attributes:
        status: ``passed``, ``failed`` or ``interrupted``.
    """

    title: str
    line: int
    status: str
    seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a script ended.

    Attributes:
        outcome: ``passed``, ``failed``, ``error`` (of the machines, or of this host) or ``interrupted``.
    """

    file: str
    outcome: str
    exit_code: int
    seconds: float
    run_folder: str = ""
    cases: tuple[Case, ...] = ()
    error: str = ""

    def as_dict(self) -> dict[str, object]:
        """As JSON-ready data."""
        return asdict(self)


def is_of_script(error: BaseException) -> bool:
    """Whether a script failed by this, and not the machines below it."""
    return not isinstance(error, OrchestratorError) or isinstance(error, OF_THE_SCRIPT)


def failure_of(error: BaseException, script: Script) -> SuiteFailed:
    """A script's error as one of the tree, with the script's own lines of its traceback."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(script.path)]
    where = [
        f"{script.shown}:{frame.lineno}"
        + (f" in {frame.name}" if frame.name != "<module>" else "")
        + f": {script.line(frame.lineno or 0)}"
        for frame in frames
    ]
    if isinstance(error, OrchestratorError):
        first, _, others = error.what.strip().partition("\n")  # unittest says more in lines of their own
        why = f"{others}\n{error.why}".strip()
        return SuiteFailed(first, why=why, where=where, hint=error.hint, evidence=error.evidence, subject=error.subject)
    text = str(error).strip()
    what, _, rest = text.partition("\n")
    kind = type(error).__name__
    if isinstance(error, AssertionError):
        what = what or (f"`{script.line(frames[-1].lineno or 0)}` does not hold" if frames else "an assertion failed")
    elif isinstance(error, SystemExit):
        what = f"the script ended itself with {error.code!r}"
    else:
        what = f"{kind}: {what}" if what else kind
    return SuiteFailed(what, why=rest.strip(), where=where)


def failure_text(error: OrchestratorError) -> str:
    """An error of a script in full: its lines, then what happened, and everything that was seen."""
    lines = [*error.where, f"error: {error.what}"]
    lines += [f"  {line}" for line in error.why.splitlines()]
    lines += [f"  {line}" for line in error.evidence]
    if error.hint:
        lines.append(f"  try: {error.hint}")
    return "\n".join(lines)


def exit_code_of(outcomes: list[Outcome]) -> int:
    """The code of several scripts: that of the machines' first error, else 1 if one failed."""
    codes = [outcome.exit_code for outcome in outcomes]
    return next((code for code in codes if code not in (0, 1)), max(codes, default=0))
