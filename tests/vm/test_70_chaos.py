"""A few faults of scripts/chaos, always the same ones; the long run is made by hand."""

from __future__ import annotations

import os
import subprocess
import sys

from conftest import ROOT
from host import RAM

KINDS = (
    "^orchestrator SIG(KILL|STOP) during up$|^QEMU SIGKILL|^switch SIGKILL$|^guest panics$"
    "|^state file (foreign|truncated)$|^build"
)


def test_some_faults_are_survived_explained_or_reclaimed() -> None:
    """Started from the state that the tests before have saved, if they did."""
    words = ("--seed", "11", "--count", "3", "--kinds", KINDS, "--minutes", "4")
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/lib/chaos.py"), *words],
        env={**os.environ, "OVM_RAM": str(RAM)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert "3 faults of" in done.stdout
