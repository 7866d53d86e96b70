"""Lock and state: what survives between commands, also those that were killed or meddled with."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from topology_parts import link, machine, network, topology

from orchestrator.environment import lock
from orchestrator.environment.state import EnvironmentState, MachineState, StateFile, from_json, read_state, to_json
from orchestrator.errors import HostError, LockedError
from orchestrator.process_id import ProcessId

HOLDER = """
import sys, time
from pathlib import Path
from orchestrator.environment.lock import hold
with hold(Path(sys.argv[1]), "shop", "orchestrator up"):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_the_loser_is_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "shop" / "lock"
    with holder(path) as process:
        assert lock.held(path)
        with pytest.raises(LockedError, match="environment shop is held") as caught, lock.hold(path, "shop", "down"):
            pass
        assert caught.value.exit_code == 5
        assert caught.value.why.startswith(f"pid {process.pid}, `orchestrator up`, since 2")
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not lock.held(path), "the kernel frees it with its holder"
        with lock.hold(path, "shop", "orchestrator down"):
            assert f"pid {os.getpid()}, `orchestrator down`" in lock.describe(path)
            assert lock.held(path)
    assert not lock.held(path)
    assert lock.describe(path) == ""


def test_the_lock_is_freed_by_an_error_and_is_not_inherited(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with pytest.raises(RuntimeError), lock.hold(path, "shop", "up"):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
        raise RuntimeError
    try:
        assert not lock.held(path), "a process that we started and that outlives us must not hold it"
    finally:
        child.kill()
        child.wait()


RIVAL = """
import os, sys
from pathlib import Path
from orchestrator.environment.lock import hold
from orchestrator.errors import LockedError
mine = 0
while mine < 100:
    try:
        with hold(Path(sys.argv[1]), "shop", "orchestrator up"):
            os.close(os.open(sys.argv[2], os.O_CREAT | os.O_EXCL))  # fails where somebody else holds it too
            os.unlink(sys.argv[2])
            mine += 1
    except LockedError:
        pass
"""


def test_an_environment_of_which_only_the_lock_is_left_is_gone_and_still_only_one_holds_it(tmp_path: Path) -> None:
    path, inside = tmp_path / "shop" / "lock", tmp_path / "inside"
    rivals = [subprocess.Popen([sys.executable, "-c", RIVAL, str(path), str(inside)]) for _ in range(3)]
    assert [rival.wait(60) for rival in rivals] == [0, 0, 0]
    assert not path.parent.exists()
    with lock.hold(path, "shop", "orchestrator up"):
        (path.parent / "state.json").touch()
    assert path.exists(), "what is left of an environment keeps its lock"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x", "command": "", "since": ""}', '{"pid": 1}'])
def test_a_damaged_lock_text_is_no_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "lock"
    path.write_text(text)
    assert lock.describe(path) == ""
    assert not lock.held(path)
    path.write_bytes(b"\xff\xfe")
    assert lock.describe(path) == ""
    assert not lock.held(tmp_path / "none")


# ------------------------------------------------------------------ state


def a_state(path: Path) -> EnvironmentState:
    server = machine("server", links=(link("lan", 2),), ports=((0, 80),), egress=True)
    return EnvironmentState(
        name="shop",
        topology=topology(path, server, networks={"lan": network("lan")}),
        run_folder=path / "runs/r1",
        phase="ready",
        owner=ProcessId(4, 5, "boot"),
        command="orchestrator up",
        started=1795400000.5,
        provider="debian",
        accelerator="tcg",
        factor=10.0,
        networks={"lan": ProcessId(6, 7, "boot")},
        machines={"server": MachineState(ProcessId(8, 9, "boot"), "/cache/i", {22: 40001, 80: 40002}, "ssh-ed25519 A")},
        services={"web": "healthy"},
        restarts={"web": 2},
    )


def test_round_trip(tmp_path: Path) -> None:
    state = a_state(tmp_path)
    assert from_json(json.loads(json.dumps(to_json(state)))) == state
    path = tmp_path / "state.json"
    StateFile(path, state)
    assert read_state(path) == state
    assert path.stat().st_mode & 0o077 == 0
    assert read_state(tmp_path / "none") is None


def test_what_a_snapshot_needs_survives(tmp_path: Path) -> None:
    server = MachineState(ProcessId(8, 9, "boot"), "/cache/i", {22: 40001}, "ssh A", "/dev/shm/o/server.ram")
    state = replace(
        a_state(tmp_path),
        machines={"server": server},
        inputs={"QEMU": "10.0.2", "file /run/x of server": "600 aa"},
        snapshot="/cache/snapshots/shop@healthy.k1",
        generation=3,
    )
    path = tmp_path / "state.json"
    StateFile(path, state)
    assert read_state(path) == state


def test_a_state_without_snapshots_has_none_of_it(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    StateFile(path, a_state(tmp_path))
    found = read_state(path)
    assert found is not None
    assert (found.inputs, found.snapshot, found.generation) == ({}, "", 0)
    assert found.machines["server"].ram == ""


def test_a_machine_started_anew_without_a_memory_file_forgets_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    record = StateFile(path, a_state(tmp_path))
    record.machine("server", ram="/dev/shm/o/server.ram")
    record.machine("server", host_key="ssh-ed25519 B")
    assert record.state.machines["server"].ram == "/dev/shm/o/server.ram", "what was not changed stays"
    record.machine("server", process=ProcessId(20, 21, "boot"), image="/cache/i")
    assert record.state.machines["server"].ram == ""


def test_a_change_of_the_topology_is_written_too(tmp_path: Path) -> None:
    """Its encoding is kept between writes; an old one must not be."""
    path = tmp_path / "state.json"
    record = StateFile(path, a_state(tmp_path))
    record.change(topology=topology(tmp_path, machine("client", memory=77)))
    record.change(phase="failed")
    found = read_state(path)
    assert found is not None
    assert list(found.topology.machines) == ["client"]


def test_the_format_before_snapshots_is_refused_as_documented(tmp_path: Path) -> None:
    """The kept topology reads the same; what it lacks must not be guessed."""
    data = to_json(a_state(tmp_path))
    for name in ("inputs", "snapshot", "generation"):
        del data[name]
    del data["machines"]["server"]["ram"], data["machines"]["server"]["addresses"]
    path = tmp_path / "state.json"
    path.write_text(json.dumps({**data, "format": 1}))
    with pytest.raises(HostError) as caught:
        read_state(path)
    assert f"`{caught.value.what}`" in (Path(__file__).parents[2] / "docs/troubleshooting.md").read_text()
    assert "written by another version: ValueError: format 1, this version writes 4" in caught.value.why
    assert caught.value.where == (str(path),)


def test_each_change_is_on_disk_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    record = StateFile(path, a_state(tmp_path))
    record.change(phase="stopping")
    record.service("web", "stopped")
    record.service("db", "healthy")
    record.machine("server", host_key="ssh-ed25519 B")
    record.machine("client", process=ProcessId(10, 11, "boot"), image="/cache/c")
    found = read_state(path)
    assert found == record.state
    assert found is not None
    assert found.phase == "stopping"
    assert found.services == {"web": "stopped", "db": "healthy"}
    assert found.machines["server"].ports == {22: 40001, 80: 40002}, "what was not changed stays"
    assert found.machines["client"] == MachineState(ProcessId(10, 11, "boot"), "/cache/c")

    before = path.read_bytes()
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, *mode: real("/dev/full", os.O_WRONLY))
    with pytest.raises(OSError, match="No space left"):
        record.change(phase="ready")
    monkeypatch.undo()
    assert path.read_bytes() == before, "a write that fails leaves the old state"


def test_a_state_folder_that_was_removed_is_named_and_hides_no_failure(tmp_path: Path) -> None:
    folder = tmp_path / "environment"
    folder.mkdir()
    record = StateFile(folder / "state.json", a_state(tmp_path))
    assert record.kept
    shutil.rmtree(folder)
    with pytest.raises(HostError, match="the state folder of environment shop was removed while it was in use"):
        record.change(phase="ready")
    record.fail()
    assert record.state.phase == "failed"
    assert not record.kept, "no later command would find its machines"


def test_a_machine_started_anew_forgets_its_ports(tmp_path: Path) -> None:
    record = StateFile(tmp_path / "state.json", a_state(tmp_path))
    record.machine("server", process=ProcessId(20, 21, "boot"), image="/cache/i")
    assert record.state.machines["server"].ports == {}


def damaged(data: dict[str, object], *path: str, value: object) -> bytes:
    target = data
    for key in path[:-1]:
        inner = target[key]
        assert isinstance(inner, dict)
        target = inner
    target[path[-1]] = value
    return json.dumps(data).encode()


def test_damaged_or_foreign_states_are_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "state.json"

    def whole() -> dict[str, object]:
        return to_json(a_state(tmp_path))

    texts = [
        b"",
        b"{",
        b"null",
        b"[]",
        b"{}",
        b"\xff\xfe\x00",
        json.dumps(whole()).encode()[:-20],
        damaged(whole(), "format", value=99),
        damaged(whole(), "machines", value=[]),
        damaged(whole(), "machines", "server", "process", value={"pid": "x"}),
        damaged(whole(), "machines", "server", "ports", value={"a": 1}),
        damaged(whole(), "topology", value={}),
        damaged(whole(), "topology", "networks", "lan", "subnet", value="300.0.0.0/8"),
        damaged(whole(), "factor", value="fast"),
        damaged(whole(), "inputs", value=["QEMU"]),
        damaged(whole(), "generation", value="many"),
    ]
    for text in texts:
        path.write_bytes(text)
        with pytest.raises(HostError, match="state of the environment cannot be read") as caught:
            read_state(path)
        assert caught.value.where == (str(path),)
        assert "orchestrator down" in caught.value.hint


def test_only_living_processes_count(tmp_path: Path) -> None:
    state = a_state(tmp_path)
    assert state.processes == [ProcessId(8, 9, "boot"), ProcessId(6, 7, "boot")]
    assert state.live_processes == [], "they are of another boot"
