"""Our own commands as a night calls them: a process each, its output in a file of the night's folder."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.errors import TimeLimit
from orchestrator.history.records import is_run_folder
from orchestrator.process_lines import stream_lines
from orchestrator.topology.nightly import Cell

ENDING = 120.0  # seconds that a command has to take its machines down, beyond its own limit
ERROR = re.compile(r"\berror: .*\S")
PROGRAM = (sys.executable, "-m", "orchestrator")


@dataclass(frozen=True, slots=True)
class Commands:
    """How the commands of a night are called.

    Attributes:
        file: the topology.
        name: the environment.
        program: what is started, for tests.
    """

    file: Path
    name: str
    program: Sequence[str] = field(default_factory=lambda: PROGRAM)

    def run_words(self, cell: Cell, runs: Path, seconds: float, isolate: str, grep: str = "") -> list[str]:
        """``run`` of a cell. The pattern comes first: the command line of a run is recorded to some length."""
        words = ["run", *(["--grep", grep] if grep else [])]
        words += ["--file", str(self.file), "--name", self.name, "--runs", str(runs)]
        words += ["--timeout", f"{max(1.0, seconds):.0f}", "--isolate", isolate, "--free-ports", *_of_cell(cell)]
        return words

    def build_words(self, cell: Cell, seconds: float) -> list[str]:
        """``images build`` of a cell."""
        return ["images", "build", "--file", str(self.file), "--timeout", f"{max(1.0, seconds):.0f}", *_of_cell(cell)]

    async def call(self, words: Sequence[str], log: Path, seconds: float) -> tuple[int, str]:
        """Run one of our commands; its exit code, and the first line of its error or its last one.

        It gets SIGTERM when this process is killed, and then shuts down in order.

        Args:
            seconds: its own limit.
        """
        argv = ["setpriv", "--pdeathsig", "TERM", *self.program, "--progress", "plain", *words]
        last = error = ""
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"$ orchestrator {' '.join(words)}\n")

            def keep(line: str) -> None:
                nonlocal last, error
                last = line.strip() or last
                if not error and (found := ERROR.search(line)):
                    error = found[0]
                with suppress(OSError):  # a full disk does not end the night
                    file.write(line + "\n")
                    file.flush()

            try:
                code = await stream_lines(argv, keep, deadline=Deadline.after(seconds + ENDING), grace=ENDING)
            except TimeLimit:
                return TimeLimit.exit_code, "it did not end in time"
        return code, error or last


def _of_cell(cell: Cell) -> list[str]:
    words = [] if cell.variant is None else ["--variant", cell.variant]
    words += [] if cell.suite is None else ["--suite", str(cell.suite)]
    return words + [f"--layer={name}={folder}" for name, folder in cell.layers.items()]


def latest_run(runs: Path) -> Path | None:
    """The newest run folder below a folder; their names begin with the time."""
    try:
        found = [one for one in runs.iterdir() if one.is_dir() and not one.is_symlink() and is_run_folder(one)]
    except OSError:
        return None
    return max(found, key=lambda one: (one.stat().st_mtime_ns, one.name), default=None)
