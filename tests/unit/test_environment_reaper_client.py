"""Registered processes end with their owner, however it ends; orphans are found by their mark and nothing else is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from event_records import of
from fake_qemu import FakeServer, run_async
from topology_parts import topology

from orchestrator.deadline import Deadline
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.state import EnvironmentState, MachineState
from orchestrator.environment.teardown import end_group, end_machines, orphans, take_down
from orchestrator.events import Event, EventBus
from orchestrator.events.machines import MachineStateChanged, NetworkStateChanged
from orchestrator.events.run import Note
from orchestrator.process import launch
from orchestrator.process_id import ProcessId

OWNER = """
import asyncio, json, sys
from pathlib import Path
from orchestrator.environment.reaper_client import reaper_client
from orchestrator.process import launch
async def main():
    async with reaper_client() as group:
        made = []
        for script in sys.argv[2:]:
            process = launch(["sh", "-c", script], log=Path("/dev/null"))
            group.add(process)
            made.append(process.as_dict())
        if sys.argv[1] == "release":
            group.release()
        await asyncio.sleep(0.3)
        print(json.dumps(made), flush=True)
        if sys.argv[1] != "leave":
            await asyncio.sleep(60)
asyncio.run(main())
"""
DEAF = "trap '' TERM; sleep 60 & wait; sleep 60"


@contextmanager
def owner(how: str, *scripts: str) -> Iterator[tuple[subprocess.Popen[str], list[ProcessId]]]:
    """A process with reaper, and what they are; reaper that remain are ended."""
    argv = [sys.executable, "-c", OWNER, how, *scripts]
    reaper: list[ProcessId] = []
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            reaper += [ProcessId.from_dict(data) for data in json.loads(process.stdout.readline())]
            assert all(process.alive for process in reaper)
            yield process, reaper
        finally:
            process.kill()
            for process in reaper:
                process.signal_group(signal.SIGKILL)


def gone(reaper: list[ProcessId], limit: float) -> bool:
    deadline = Deadline.after(limit)
    while any(process.alive for process in reaper) and not deadline.expired:
        time.sleep(0.01)
    return not any(process.alive for process in reaper)


def test_two_wards_end_when_their_owner_is_killed() -> None:
    with owner("hold", "sleep 60", "sleep 60") as (process, reaper):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert gone(reaper, 2)


def test_wards_that_are_stopped_or_deaf_end_too() -> None:
    with owner("hold", "sleep 60", DEAF) as (process, reaper):
        os.killpg(reaper[0].pid, signal.SIGSTOP)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert gone(reaper[:1], 2)
        assert gone(reaper, 6), "SIGKILL comes three seconds after SIGTERM"


@pytest.mark.parametrize("how", ["release", "leave"])
def test_released_wards_live_on(how: str) -> None:
    with owner(how, "sleep 60") as (process, reaper):
        if how == "release":
            process.send_signal(signal.SIGKILL)
        process.wait()
        assert not gone(reaper, 0.5)


def test_the_reaper_survives_what_a_terminal_sends() -> None:
    with owner("hold", "sleep 60") as (process, reaper):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        reapers = [int(pid) for pid in children if b"reaper" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        assert len(reapers) == 1
        for number in (signal.SIGINT, signal.SIGHUP):
            os.kill(reapers[0], number)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert gone(reaper, 2)


# ------------------------------------------------------------------ taking down


def paths(path: Path) -> EnvironmentPaths:
    made = EnvironmentPaths("shop", path / "state", path / "sockets" / "abc")
    made.folder.mkdir(parents=True)
    made.sockets.mkdir(parents=True)
    return made


@contextmanager
def named(program: str, *arguments: str) -> Iterator[ProcessId]:
    """A process whose command line begins with ``program``."""
    argv = [program, "-c", "import time; time.sleep(60)", *arguments]
    with subprocess.Popen(argv, executable=sys.executable, start_new_session=True) as process:
        try:
            deadline = Deadline.after(5)
            while not Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(program.encode()):
                assert not deadline.expired
            identity = ProcessId.of(process.pid)
            assert identity is not None
            yield identity
        finally:
            process.kill()


def test_strays_are_this_environments_programs_only(tmp_path: Path) -> None:
    mine = paths(tmp_path)
    mark = f"socket,path={mine.sockets}/server/qmp"
    with (
        named("qemu-system-x86_64", mark) as qemu,
        named("/usr/bin/vde_switch", "--sock", f"{mine.sockets}/lan.vde") as switch,
        named("vim", mark) as editor,
        named("qemu-system-x86_64", f"path={mine.sockets}2/server/qmp") as neighbour,
    ):
        assert set(orphans(mine)) == {qemu, switch}
        seen: list[Event] = []
        bus = EventBus()
        bus.subscribe(seen.append)
        run_async(take_down(mine, None, bus))
        assert not qemu.alive
        assert not switch.alive
        assert editor.alive
        assert neighbour.alive
        assert len(of(seen, Note)) == 2


def a_state(path: Path, process: ProcessId, switch: ProcessId) -> EnvironmentState:
    return EnvironmentState(
        "shop",
        topology(path),
        path,
        "ready",
        process,
        "up",
        0.0,
        "debian",
        "tcg",
        1.0,
        networks={"lan": switch},
        machines={"server": MachineState(process, "/image")},
    )


def test_down_by_qmp_leaves_nothing_but_the_lock(tmp_path: Path) -> None:
    mine = paths(tmp_path)
    (mine.sockets / "server").mkdir()
    for name in ("lock", "state.json", "machines/server/disk.qcow2"):
        (mine.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (mine.folder / name).touch()
    qemu = launch(["sleep", "60"], log=tmp_path / "log")
    switch = launch(["sleep", "60"], log=tmp_path / "log")

    def quit_qemu(_: object) -> object:
        os.kill(qemu.pid, signal.SIGINT)
        return {}

    async def scenario() -> float:
        server = FakeServer(mine.sockets / "server" / "qmp-side", {"quit": quit_qemu})
        async with server.serving():
            began = time.monotonic()
            await take_down(mine, a_state(tmp_path, qemu, switch), bus)
            assert "quit" in server.log
            return time.monotonic() - began

    seen: list[Event] = []
    bus = EventBus()
    bus.subscribe(seen.append)
    try:
        assert run_async(scenario()) < 1.5
        assert not qemu.alive
        assert not switch.alive
    finally:
        for process in (qemu, switch):
            process.signal_group(signal.SIGKILL)
    states = [(e.subject, e.state) for e in seen if isinstance(e, MachineStateChanged | NetworkStateChanged)]
    assert states == [("server", "stopping"), ("server", "stopped"), ("lan", "stopped")]
    assert [path.name for path in mine.folder.iterdir()] == ["lock"]
    assert not mine.sockets.exists()


def test_down_of_a_machine_that_does_not_answer(tmp_path: Path) -> None:
    mine = paths(tmp_path)
    qemu = launch(["sleep", "60"], log=tmp_path / "log")
    dead = ProcessId(qemu.pid, qemu.start_ticks, "an earlier boot")
    os.killpg(qemu.pid, signal.SIGSTOP)
    began = time.monotonic()
    run_async(take_down(mine, a_state(tmp_path, qemu, dead), EventBus()))
    assert time.monotonic() - began < 20
    assert not qemu.alive
    run_async(take_down(mine, None, EventBus()))  # of what is gone already


def test_what_a_dead_leader_left_in_its_group(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    leader = launch(["sh", "-c", f"sleep 60 & echo $! > {pids}; wait"], log=tmp_path / "log")
    deadline = Deadline.after(5)
    while not (pids.exists() and pids.read_text().endswith("\n")) and not deadline.expired:
        time.sleep(0.005)
    helper = ProcessId.of(int(pids.read_text()))
    assert helper is not None
    os.kill(leader.pid, signal.SIGKILL)
    run_async(leader.ended(Deadline.after(5)))
    began = time.monotonic()
    run_async(end_group(leader))
    assert time.monotonic() - began < 20
    assert not helper.alive


def test_the_memory_of_ended_machines_is_given_back_where_it_was_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ORCH_RAM_DIR may be another one now; nothing beside the files is touched, and machines without one have none."""
    mine, dead = paths(tmp_path), ProcessId(4, 5, "another boot")
    files = [tmp_path / "ram-then" / f"{name}.ram" for name in ("server", "client")]
    files[0].parent.mkdir()
    for path in (*files, files[0].with_name("of-another.ram")):
        path.write_bytes(b"secret")
    monkeypatch.setenv("ORCH_RAM_DIR", str(tmp_path / "ram-now"))
    machines = {path.stem: MachineState(dead, "/image", {}, "", str(path)) for path in files}
    state = replace(a_state(tmp_path, dead, dead), machines={**machines, "clone": MachineState(dead, "/image")})
    for _ in range(2):  # the second time they are gone already
        run_async(end_machines(mine, state, EventBus()))
        assert [path.name for path in files[0].parent.iterdir()] == ["of-another.ram"]
