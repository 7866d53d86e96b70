"""The ground: folders, atomic writes, the reader of /proc, waiting for what tells nobody, the scale of time."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.atomic import write_atomically
from orchestrator.deadline import Deadline, wait_until
from orchestrator.folders import cache_root, socket_root, state_root
from orchestrator.process_id import ProcessId
from orchestrator.procfs import parse_stat, read_stat
from orchestrator.timescale import TimeScale

HOME = Path.home()


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"ORCH_STATE_DIR": "/a", "XDG_STATE_HOME": "/b"}, Path("/a")),
        ({"ORCH_STATE_DIR": "~/a"}, HOME / "a"),
        ({"ORCH_STATE_DIR": "a"}, Path.cwd() / "a"),
        ({"XDG_STATE_HOME": "/b"}, Path("/b/orchestrator")),
        ({"XDG_STATE_HOME": "~/b"}, HOME / "b/orchestrator"),
        ({"ORCH_STATE_DIR": "", "XDG_STATE_HOME": ""}, HOME / ".local/state/orchestrator"),
    ],
)
def test_where_the_state_is(variables: dict[str, str], folder: Path) -> None:
    assert state_root(variables) == folder


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"ORCH_CACHE_DIR": "~/a", "XDG_CACHE_HOME": "/b"}, HOME / "a"),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/orchestrator")),
        ({}, HOME / ".cache/orchestrator"),
    ],
)
def test_where_the_cache_is(variables: dict[str, str], folder: Path) -> None:
    assert cache_root(variables) == folder


def test_where_sockets_are() -> None:
    assert socket_root({"XDG_RUNTIME_DIR": "/run/user/7"}) == Path("/run/user/7")
    assert socket_root({"XDG_RUNTIME_DIR": "/run/it's"}) == Path("/tmp")
    assert socket_root({"XDG_RUNTIME_DIR": "~/run"}) == HOME / "run"


@pytest.mark.parametrize("durable", [False, True])
def test_an_atomic_write_replaces_the_file_and_sets_its_mode(tmp_path: Path, durable: bool) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with path.open() as reader:
        write_atomically(path, "new ä\n", mode=0o640, durable=durable)
        assert reader.read() == "old"
    assert path.read_bytes() == "new ä\n".encode()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_atomic_write_leaves_the_old_file_alone(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    (target / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="folder"):
        write_atomically(target, "new")
    assert list(tmp_path.iterdir()) == [target]


def test_a_process_is_read_with_any_name(tmp_path: Path) -> None:
    program = tmp_path / "a) S (b"
    program.symlink_to(sys.executable)
    with subprocess.Popen([str(program), "-c", "input()"], stdin=subprocess.PIPE) as child:
        running = read_stat(child.pid)
        assert running is not None
        assert running.running
        assert running.start_ticks == parse_stat(Path(f"/proc/{child.pid}/stat").read_text()).start_ticks
        child.communicate(b"\n")
    assert read_stat(child.pid) is None
    assert ProcessId.own().pid == os.getpid()


def test_a_zombie_does_not_run() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    zombie = read_stat(child)
    os.waitpid(child, 0)
    assert zombie is not None
    assert not zombie.running


def test_wait_until_asks_until_it_holds() -> None:
    answers = iter([False, False, True])
    assert asyncio.run(wait_until(lambda: next(answers), Deadline.after(60), first=0.001, longest=0.002))


def test_wait_until_gives_up_at_the_deadline() -> None:
    asked = []
    assert not asyncio.run(wait_until(lambda: bool(asked.append(1)), Deadline.after(0.02), first=0.005))
    assert len(asked) > 1


def test_scaled_times() -> None:
    slow, fast = TimeScale(10), TimeScale(0.5)
    assert (slow.slow, fast.slow) == (True, False)
    assert (slow.limit(4), slow.interval(4), slow.transfer(4), slow.reply(4)) == (40, 40, 20, 10)
    assert (fast.limit(4), fast.interval(4), fast.transfer(4), fast.reply(4)) == (2, 4, 4, 4)
