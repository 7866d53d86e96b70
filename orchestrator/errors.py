"""The one error tree.

::

    OrchestratorError            exit 3 unless the class says otherwise
    ├── UsageError          (2)  the command line
    ├── TopologyError       (2)  the topology file: every problem with file:line:column
    ├── HostError           (3)  QEMU missing or too old, no disk space, a name taken
    │   └── MemoryShort     (3)  too little memory is free now for the machines
    ├── ImageError          (3)  an image could not be built or used
    │   └── RecipeError     (2)  its recipe is wrong: every problem with file:line:column
    ├── SnapshotError       (3)  a snapshot does not fit, or could not be saved
    │   └── SnapshotDamaged (3)  its files are not what was saved
    ├── HistoryError        (3)  the history of earlier runs cannot be used
    ├── MachineError        (3)  a machine did not boot, died, panicked, or cannot be reached
    ├── ServiceError        (3)  a service failed, or its checks never passed
    ├── GuestCommandError   (3)  a command in a guest could not be run at all
    ├── FaultError          (3)  a fault did not begin, is not in effect, or was not recovered from
    ├── IncompleteCopy     (23)  files were copied, and some were left out
    ├── SuiteFailed         (1)  tests failed
    ├── SignsFound          (1)  tests passed, a failing log pattern was found
    ├── NothingRan          (4)  the suite ran no test
    ├── UnforeseenError     (3)  a bug of this program; ``where`` has its traceback
    ├── LockedError         (5)  another command holds the environment
    └── TimeLimit         (124)  the limit of the whole command was reached

Every error answers four questions: what happened, why, where the evidence is
stored, and what to type next. The command line prints these and nothing else; a
traceback means a bug in this program.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Sequence
from typing import Any, ClassVar


class OrchestratorError(Exception):
    """An expected failure, explained.

    Args:
        what: one sentence, no trailing full stop.
        why: the cause, as far as it is known; may span lines.
        where: where the evidence is (paths, or ``file:line:column``).
        hint: the next command or step.
        evidence: last lines of a log, the last answer of a check, shown as they are.
        subject: the machine or service it is about, where there is one.
    """

    exit_code: ClassVar[int] = 3

    def __init__(
        self,
        what: str,
        *,
        why: str = "",
        where: Sequence[str] = (),
        hint: str = "",
        evidence: Sequence[str] = (),
        subject: str = "",
    ) -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.where = tuple(where)
        self.hint = hint
        self.evidence = tuple(evidence)
        self.subject = subject
        self.shown = False  # whether it was already reported as an event

    @property
    def brief(self) -> str:
        """What and why in one line, for a note about an error that does not end the command."""
        return f"{self.what}: {self.why}" if self.why else self.what

    def as_dict(self) -> dict[str, Any]:
        """The error as JSON-ready data, for events and ``summary.json``."""
        return {
            "type": type(self).__name__,
            "what": self.what,
            "why": self.why,
            "where": list(self.where),
            "hint": self.hint,
            "evidence": list(self.evidence),
            "exit_code": self.exit_code,
        }


class UsageError(OrchestratorError):
    exit_code = 2


class TopologyError(OrchestratorError):
    """The topology file is wrong; ``evidence`` holds one line per problem."""

    exit_code = 2


class HostError(OrchestratorError):
    pass


class MemoryShort(HostError):
    """Too little memory is free now. It may be enough when something else has ended."""


class ImageError(OrchestratorError):
    pass


class RecipeError(ImageError):
    """The recipe of an image is wrong; ``evidence`` holds one line per problem."""

    exit_code = 2


class SnapshotError(OrchestratorError):
    pass


class SnapshotDamaged(SnapshotError):
    pass


class HistoryError(OrchestratorError):
    """The history of earlier runs cannot be used. It is made of the run folders, which are as they were."""


class MachineError(OrchestratorError):
    pass


class ServiceError(OrchestratorError):
    pass


class GuestCommandError(OrchestratorError):
    pass


class FaultError(OrchestratorError):
    """A fault could not begin, is not in effect, could not be ended, or was not recovered from."""


class IncompleteCopy(OrchestratorError):
    """Something could not be copied; the rest was."""

    exit_code = 23  # rsync's code for the same


class SuiteFailed(OrchestratorError):
    exit_code = 1


class SignsFound(OrchestratorError):
    """The tests passed, and a failing log pattern was found on a machine."""

    exit_code = 1


class NothingRan(OrchestratorError):
    exit_code = 4


class UnforeseenError(OrchestratorError):
    """A bug of this program: an unexpected exception."""


class LockedError(OrchestratorError):
    exit_code = 5


class TimeLimit(OrchestratorError):
    exit_code = 124


class Interrupted(Exception):
    """SIGINT, SIGTERM or SIGHUP came; everything that had to be ended was."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = 128 + number


REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


def as_error(cause: OrchestratorError | OSError) -> OrchestratorError:
    """The error itself, or a HostError if the host refused to write. Any other `OSError` is a bug of ours.

    Raises:
        OSError: such a one.
    """
    if isinstance(cause, OrchestratorError):
        return cause
    if cause.errno not in REFUSALS:
        raise cause
    return HostError("the host refused to write", why=str(cause), hint="orchestrator doctor shows free space")
