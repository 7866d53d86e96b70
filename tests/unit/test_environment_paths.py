"""The folder of RAM files: an environment's own, where files are memory, and gone with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.teardown import remove_traces
from orchestrator.folders import shared_memory
from orchestrator.snapshots.memory import RamBacking


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("ORCH_RAM_DIR", str(tmp_path / "shm"))


def ram_files(name: str) -> EnvironmentPaths:
    """An environment with a memory in its folder."""
    paths = EnvironmentPaths.of(name)
    paths.make()
    paths.memory.mkdir(parents=True, mode=0o700)
    (paths.memory / "server.ram").write_bytes(b"secret")
    return paths


def test_the_ram_folder_is_the_environments_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = EnvironmentPaths.of("one"), EnvironmentPaths.of("two")
    assert one.memory == EnvironmentPaths.of("one").memory, "the next command finds it"
    assert one.memory != two.memory
    assert one.memory.parent == two.memory.parent == tmp_path / "shm" / f"orch-{os.getuid()}"
    monkeypatch.setenv("ORCH_STATE_DIR", str(tmp_path / "other"))
    assert EnvironmentPaths.of("one").memory != one.memory, "of the same name, in another state folder"
    monkeypatch.delenv("ORCH_RAM_DIR")
    assert EnvironmentPaths.of("one").memory.parent == Path("/dev/shm") / f"orch-{os.getuid()}"


def test_nothing_is_made_by_asking(tmp_path: Path) -> None:
    assert not EnvironmentPaths.of("one").memory.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_ram_file_lies_in_memory_or_beside_the_disk() -> None:
    paths = EnvironmentPaths.of("one")
    in_memory = paths.ram("server", RamBacking(shared_memory(), "tmpfs", ""))
    on_disk = paths.ram("server", RamBacking(paths.folder, "disk", ""))
    assert in_memory == paths.memory / "server.ram"
    assert on_disk == paths.folder / "machines/server/server.ram"
    assert paths.ram("client", RamBacking(shared_memory(), "tmpfs", "")) != in_memory


def test_the_memory_of_a_machine_is_gone_with_its_environment(tmp_path: Path) -> None:
    one, two = ram_files("one"), ram_files("two")
    one.lock.touch()
    remove_traces(one)
    assert not one.memory.exists()
    assert not one.sockets.exists()
    assert [path.name for path in one.folder.iterdir()] == ["lock"]
    assert (two.memory / "server.ram").read_bytes() == b"secret", "nobody else's is touched"
    remove_traces(two)
    assert list((tmp_path / "shm").iterdir()) == [], "the last one leaves no empty folder"


def test_snapshots_stay_when_an_environment_goes(tmp_path: Path) -> None:
    one = ram_files("one")
    saved = one.memory.parent / "snapshots-abc/one@healthy.k1"
    saved.mkdir(parents=True)
    remove_traces(one)
    assert saved.exists()


def test_an_environment_without_ram_files_leaves_as_well() -> None:
    paths = EnvironmentPaths.of("one")
    paths.make()
    remove_traces(paths)
    assert list(paths.folder.iterdir()) == []
