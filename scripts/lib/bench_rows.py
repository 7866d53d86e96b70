"""What the benches share: a line of their outcome, and a command of ours that is timed."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAME = "bench"


@dataclass(frozen=True)
class Row:
    """One line of the outcome. ``aim`` is a text; ``ours``/``theirs`` are seconds or a ratio's parts."""

    what: str
    ours: list[float]
    theirs: list[float]
    aim: str
    unit: str = "s"

    def text(self) -> str:
        ours = statistics.median(self.ours)
        line = f"{self.what}: {ours:.3f} {self.unit} (n={len(self.ours)}, {min(self.ours):.3f}–{max(self.ours):.3f})"
        if self.theirs:
            theirs = statistics.median(self.theirs)
            line += f"; compared: {theirs:.3f} {self.unit} ({min(self.theirs):.3f}–{max(self.theirs):.3f})"
            line += f"; ratio {ours / theirs:.3f}"
        return f"{line}; aim {self.aim}"


def orchestrator(*arguments: str, environment: Mapping[str, str]) -> float:
    """Run our command line; seconds it took. A failure ends the bench with its output."""
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator", *arguments],
        env=dict(environment),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"orchestrator {' '.join(arguments)} exited with {done.returncode}:\n{done.stderr[-3000:]}")
    return time.monotonic() - begun
