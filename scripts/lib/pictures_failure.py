"""Takes the pictures of docs/report.md from a real run that fails; see scripts/pictures.

A browser test runs in the client, and the database of the server is stopped in the middle of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from pictures_tools import ROOT, Failed, photograph

TEST = "still there after a reload"
NAME = "pictures"
LIMIT = 900.0  # seconds for each command


def take(folder: Path) -> Path:
    """Run the test below ``folder`` and break the database meanwhile; the run folder.

    Raises:
        Failed: the machines did not come up, or the test passed.
    """
    state = tempfile.mkdtemp(prefix="orch-")  # short: it holds sockets
    environment = {**os.environ, "ORCH_STATE_DIR": state, "ORCH_RUNS": str(folder / "runs"), "ORCH_NAME": NAME}
    command = [sys.executable, "-m", "orchestrator"]

    def call(*words: str) -> int:
        return subprocess.run([*command, *words], env=environment, cwd=ROOT, timeout=LIMIT, check=False).returncode

    try:
        if call("up") != 0:
            raise Failed("the machines did not come up")
        with subprocess.Popen([*command, "run", "--grep", TEST], env=environment, cwd=ROOT) as running:
            _until_a_test_begins(folder / "runs" / "latest" / "events.jsonl", running)
            if call("exec", "--no-stdin", "server", "--", "systemctl", "stop", "postgresql") != 0:
                raise Failed("the database could not be stopped")
            if running.wait(LIMIT) not in (1, 3):  # the next phase may find that the database is gone
                raise Failed(f"the run ended with {running.returncode}, not because of a test")
    finally:
        call("down")
        shutil.rmtree(state, ignore_errors=True)
    return (folder / "runs" / "latest").resolve()


def _until_a_test_begins(events: Path, running: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + LIMIT
    while not (events.exists() and '"kind": "test.begin"' in events.read_text(encoding="utf-8")):
        if running.poll() is not None or time.monotonic() > until:
            raise Failed("no test began")
        time.sleep(0.5)


def draw(run: Path, pictures: Path) -> None:
    """The page at its first cause, light, dark and on a phone, and what `orchestrator why` says."""
    why = [sys.executable, "-m", "orchestrator", "why"]
    told = subprocess.run([*why, "--json", str(run)], cwd=ROOT, check=True, capture_output=True, encoding="utf-8")
    story: dict[str, Any] = json.loads(told.stdout)
    cause = story["cause"]
    if cause is None:
        raise Failed("the story has no cause")
    address = f"{(run / 'report' / 'index.html').as_uri()}#t={cause['t']:.3f}"
    photograph(address, pictures / "axis.png", (1280, 1020))
    photograph(address, pictures / "axis-dark.png", (1280, 1020), dark=True)
    photograph(address, pictures / "axis-phone.png", (500, 900), dark=True)
    text = subprocess.run([*why, str(run)], cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout
    (pictures / "why.txt").write_text(text.replace(str(run), f"runs/{run.name}"), encoding="utf-8")
