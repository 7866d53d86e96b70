"""Temporary folders of killed commands are removed by the next one, those of living ones are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from cli_process import RECIPE, Cli

from orchestrator.deadline import Deadline
from orchestrator.scratch import PREFIX, scratch, sweep

HOLDER = """
import sys
from orchestrator.scratch import scratch
with scratch("layer") as folder:
    (folder / "tree").mkdir()
    print(folder, flush=True)
    sys.stdin.read()
"""

# A layer program that goes on as long as its folder is there.
RENDER = """
import os, sys, time
while os.path.isdir(sys.argv[sys.argv.index("--out") + 1]):
    time.sleep(0.05)
"""


@pytest.fixture(autouse=True)
def own_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def holder() -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ}
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().rstrip("\n"))


def test_a_killed_commands_folder_goes_and_a_living_ones_stays(own_tmp: Path) -> None:
    killed, left = holder()
    living, kept = holder()
    assert left.is_dir(), "the second did not take the first one's, which lived"
    killed.send_signal(signal.SIGKILL)
    killed.wait(30)
    assert (left / "tree").is_dir(), "nobody cleaned up"
    with scratch("probe") as mine:
        assert sorted(own_tmp.iterdir()) == sorted([kept, mine])
        assert mine.stat().st_mode & 0o777 == 0o700
        assert sweep() == []
    living.communicate("", timeout=30)
    assert list(own_tmp.iterdir()) == []


def test_what_is_no_folder_of_ours_is_left_alone(own_tmp: Path) -> None:
    elsewhere = own_tmp / "elsewhere"
    elsewhere.mkdir()
    (own_tmp / f"{PREFIX}link").symlink_to(elsewhere)
    (own_tmp / f"{PREFIX}file").touch()
    assert sweep() == []
    assert len(list(own_tmp.iterdir())) == 3


def test_a_killed_image_look_up_leaves_nothing_for_long(own_tmp: Path) -> None:
    folder = own_tmp / "project"
    folder.mkdir()
    cli = Cli(folder, {"TMPDIR": str(own_tmp)})
    (folder / "base.toml").write_text(RECIPE + '[layer]\nprogram = "render.py"\n')
    (folder / "render.py").write_text(RENDER)
    looking = subprocess.Popen(
        [sys.executable, "-m", "orchestrator", "images", "build", "--images", "debian"],
        cwd=folder,
        env=cli.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    limit = Deadline.after(60)
    while not (left := list(own_tmp.glob(f"{PREFIX}layer-*"))):
        assert not limit.expired and looking.poll() is None
    looking.kill()
    looking.wait(30)
    assert left[0].is_dir()
    cli("doctor")
    assert not left[0].exists()
