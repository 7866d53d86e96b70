"""The text around a command, with a real bash."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from orchestrator.driver.shell import CONSOLE


@pytest.mark.parametrize("there", [True, False])
def test_stderr_goes_to_the_console_where_there_is_one(tmp_path: Path, there: bool) -> None:
    console = tmp_path / "console" if there else tmp_path / "no" / "console"
    if there:
        console.touch()
    script = f"{CONSOLE.replace('/dev/console', str(console))}; set -euo pipefail\necho out; echo words >&2"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (0, "out\n")
    assert done.stderr == ("" if there else "words\n")
    assert not there or console.read_text() == "words\n"
