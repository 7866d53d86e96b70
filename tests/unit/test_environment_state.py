"""Lock and state: what survives between commands, also those that were killed or meddled with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_qemu import link, machine, network, topology

from orchestrator.environment import lock
from orchestrator.environment.state import EnvironmentState, MachineState, StateFile, from_json, read_state, to_json
from orchestrator.errors import HostError, LockedError
from orchestrator.process import ProcessId

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
        name="shop", topology=topology(path, server, networks={"lan": network("lan")}), run_folder=path / "runs/r1",
        phase="ready", owner=ProcessId(4, 5, "boot"), command="orchestrator up", started=1795400000.5,
        provider="debian", accelerator="tcg", factor=10.0, networks={"lan": ProcessId(6, 7, "boot")},
        machines={"server": MachineState(ProcessId(8, 9, "boot"), "/cache/i", {22: 40001, 80: 40002}, "ssh-ed25519 A")},
        services={"web": "healthy"},
    )  # fmt: skip


def test_round_trip(tmp_path: Path) -> None:
    state = a_state(tmp_path)
    assert from_json(json.loads(json.dumps(to_json(state)))) == state
    path = tmp_path / "state.json"
    StateFile(path, state)
    assert read_state(path) == state
    assert path.stat().st_mode & 0o077 == 0
    assert read_state(tmp_path / "none") is None


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
    monkeypatch.setattr(json, "dump", lambda data, file: file.write('{"half": ') and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        record.change(phase="ready")
    assert path.read_bytes() == before, "a write that fails half way leaves the old state"


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
        b"", b"{", b"null", b"[]", b"{}", b"\xff\xfe\x00", json.dumps(whole()).encode()[:-20],
        damaged(whole(), "format", value=99),
        damaged(whole(), "machines", value=[]),
        damaged(whole(), "machines", "server", "process", value={"pid": "x"}),
        damaged(whole(), "machines", "server", "ports", value={"a": 1}),
        damaged(whole(), "topology", value={}),
        damaged(whole(), "topology", "networks", "lan", "subnet", value="300.0.0.0/8"),
        damaged(whole(), "factor", value="fast"),
    ]  # fmt: skip
    for text in texts:
        path.write_bytes(text)
        with pytest.raises(HostError, match="state of the environment cannot be read") as caught:
            read_state(path)
        assert caught.value.where == (str(path),)
        assert "orchestrator down" in caught.value.hint


def test_only_living_processes_count(tmp_path: Path) -> None:
    state = a_state(tmp_path)
    assert state.processes == [ProcessId(8, 9, "boot"), ProcessId(6, 7, "boot")]
    assert state.living == [], "they are of another boot"
