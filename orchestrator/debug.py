"""The debug log: each command to QEMU, a guest's agent, SSH and the host, with its time, duration and result.

It is a ``logging`` logger, configured here and nowhere else. While a command runs, its records go to ``debug.log`` in
the run folder, and with ``-vv`` to the terminal too.

A record holds no secret, because nothing that could be one is ever handed to it: of arguments only numbers, truth
values, and the text of keys listed in `TEXT_KEYS`; of a command line all words only for the programs of `PROGRAMS`,
whose arguments are ours, and never the value of a NAME=VALUE word; of what is sent and printed only the size.
"""

from __future__ import annotations

import logging
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

FILE = "debug.log"
MOST = 16 << 20  # bytes of the file; then it becomes debug.log.1, in place of an older one
BEFORE = 5_000  # records kept until there is a run folder
WORD = 120  # characters shown of a word
TEXT_KEYS = frozenset(
    {"bus", "command-line", "driver", "filename", "format", "id", "job-id", "mode", "node-name", "path"}
)
PROGRAMS = frozenset(
    {"chmod", "chown", "cp", "debugfs", "ip", "journalctl", "ln", "losetup", "mke2fs", "mkdir", "mmdebstrap", "mount"}
    | {"nft", "nix", "nix-build", "nix-store", "qemu-img", "rm", "systemctl", "tar", "true", "umount", "vde_switch"}
)
# Where this program is a library, only it and the libraries it uses are recorded.
LIBRARIES = ("orchestrator", "paramiko", "qemu", "httpx", "httpcore")
_ASSIGNMENT = re.compile(r"^(-*[A-Za-z_][A-Za-z0-9_.-]*)=(.*)$", re.DOTALL)

commands = logging.getLogger("orchestrator.commands")
commands.setLevel(logging.DEBUG)


class Outcome:
    """What a block of `timed` says of its result."""

    def __init__(self) -> None:
        self.text = "ok"


@contextmanager
def timed(channel: str, machine: str, what: str) -> Iterator[Outcome]:
    """Record a command when the block ends: how long it took, and what came of it.

    Args:
        channel: ``qmp``, ``agent``, ``ssh`` or ``host``.
        machine: ``""`` for the host.
        what: made by `shown_arguments` or `shown_command`, never a raw command line.
    """
    outcome, began = Outcome(), time.monotonic()
    try:
        yield outcome
    except BaseException as error:
        outcome.text = type(error).__name__  # its text may hold what the command printed
        raise
    finally:
        subject = f"{channel} {machine}".rstrip()
        commands.debug("%s: %s → %s (%.3f s)", subject, what, outcome.text, time.monotonic() - began)


def shown_arguments(arguments: Mapping[str, object] | None) -> str:
    """The arguments of a QMP or agent command as far as they may be shown.

    >>> shown_arguments({"pid": 71, "path": "/bin/true", "input-data": "c2VjcmV0", "arg": ["a", "b"]})
    'pid=71 path=/bin/true input-data=<8 characters> arg=<2 values>'
    """
    return " ".join(f"{key}={_value(key, value)}" for key, value in (arguments or {}).items())


def _value(key: str, value: object) -> str:
    if value is None or isinstance(value, bool | int | float):
        return str(value)
    if isinstance(value, str):
        return _cut(value) if key in TEXT_KEYS else f"<{len(value)} characters>"
    return f"<{len(value)} values>" if isinstance(value, Mapping | Sequence) else "<value>"


def shown_command(argv: Sequence[str]) -> str:
    """A command line as far as it may be shown.

    >>> shown_command(["/usr/bin/systemctl", "start", "--no-block", "alicia.service"])
    'systemctl start --no-block alicia.service'
    >>> shown_command(["psql", "-c", "alter user u password 'x'"])
    'psql <2 words>'
    >>> shown_command(["mount", "-o", "password=hunter2", "/dev/vdb", "/mnt"])
    'mount -o password=<7 characters> /dev/vdb /mnt'
    """
    if not argv:
        return ""
    program = argv[0].rpartition("/")[2]
    if program not in PROGRAMS:
        return _cut(program) + (f" <{len(argv) - 1} words>" if len(argv) > 1 else "")
    return " ".join([program, *map(_word, argv[1:])])


def _word(word: str) -> str:
    assigned = _ASSIGNMENT.match(word)
    return f"{assigned[1]}=<{len(assigned[2])} characters>" if assigned else _cut(word)


def _cut(word: str) -> str:
    line = word.encode("utf-8", "replace").decode().replace("\n", "⏎")
    return line if len(line) <= WORD else f"{line[:WORD]}…"


class DebugLog:
    """Where this process's records go. There is one, `debug_log`, as there is one configuration of ``logging``."""

    def __init__(self) -> None:
        self._before: _Before | None = None
        self._file: logging.Handler | None = None
        self._show: Callable[[str], object] | None = None
        self._loggers: tuple[logging.Logger, ...] = (logging.getLogger(),)

    def configure(self, show: Callable[[str], object] | None = None, loggers: Sequence[str] = ("",)) -> None:
        """Begin to record: in memory, until there is a run folder.

        Args:
            show: takes each record as a line (``-vv``); None: only the file has them.
            loggers: whose records; a program of somebody else keeps its own (`LIBRARIES`).
        """
        if self._before is not None:  # a process may run several commands
            return
        self._loggers = tuple(map(logging.getLogger, loggers))
        self._before = _Before()
        self._add(self._before)
        if show is not None:
            self._show = show
            self._add(_Lines(lambda line: self._show and self._show(line)))

    def _add(self, handler: logging.Handler) -> None:
        for logger in self._loggers:
            logger.addHandler(handler)

    def _remove(self, handler: logging.Handler) -> None:
        for logger in self._loggers:
            logger.removeHandler(handler)

    @contextmanager
    def shown_by(self, show: Callable[[str], object]) -> Iterator[None]:
        """Where records are shown, they go to ``show`` instead, which knows what else is on the terminal."""
        before = self._show
        self._show = before and show
        try:
            yield
        finally:
            self._show = before

    def write_to(self, folder: Path) -> None:
        """Write to ``debug.log`` of a run folder from now on, and first what came before; the first folder counts."""
        if self._before is None or self._file is not None:
            return
        file = _file(folder / FILE)
        self._before.hand_over(file)
        self._remove(self._before)
        self._add(file)
        self._file = file

    def leave(self) -> None:
        """The run folder is left: what follows belongs to another one."""
        if self._file is None or self._before is None:
            return
        self._remove(self._file)
        self._file.close()
        self._file = None
        self._add(self._before)


debug_log = DebugLog()


class _Format(logging.Formatter):
    """Times of the day in UTC with milliseconds, as the run's events have them; one line, without a traceback."""

    converter = time.gmtime  # type: ignore[assignment]  # a function of C: no method
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def formatException(self, ei: object) -> str:  # noqa: ARG002 - its text may hold anything
        return ""

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).strip().replace("\n", "⏎")


def _file(path: Path) -> logging.Handler:
    from logging.handlers import RotatingFileHandler  # commands without a run folder do without it

    class File(RotatingFileHandler):
        """A file that ends quietly: a full disk stops the debug log and nothing else."""

        def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002
            for name in ("", *LIBRARIES):
                logging.getLogger(name).removeHandler(self)

    file = File(path, maxBytes=MOST, backupCount=1, encoding="utf-8", errors="replace", delay=True)
    file.setFormatter(_Format("%(asctime)s %(name)s %(message)s"))
    return file


class _Before(logging.Handler):
    """Keeps the last records until there is a file for them."""

    def __init__(self) -> None:
        super().__init__()
        self._records: deque[logging.LogRecord] = deque(maxlen=BEFORE)

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)

    def hand_over(self, file: logging.Handler) -> None:
        while self._records:
            file.handle(self._records.popleft())


class _Lines(logging.Handler):
    """Hands each record of ours to a function."""

    def __init__(self, show: Callable[[str], object]) -> None:
        super().__init__()
        self._show = show
        self.addFilter(logging.Filter("orchestrator"))

    def emit(self, record: logging.LogRecord) -> None:
        self._show(record.getMessage())
