"""Bringing machines back: damage is seen, files are copied, and guests become their own."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fake_qemu import CLOSE, FakeServer
from simulated_time import run_simulated

from orchestrator import file_stamps
from orchestrator.deadline import Deadline
from orchestrator.errors import MachineError, SnapshotDamaged, SnapshotError
from orchestrator.snapshots import restore
from orchestrator.snapshots import restore as module
from orchestrator.snapshots.manifest import MachineFiles, Manifest, SavedMachine, files_of
from orchestrator.snapshots.memory import MIB, copy_sparse, digest, touched
from orchestrator.snapshots.restore import (
    ANNOUNCEMENTS,
    load,
    stage_files,
    verify,
)
from orchestrator.snapshots.save import CAPABILITIES
from orchestrator.vm.arguments import MachinePaths, Memory
from orchestrator.vm.qmp import Monitor, connect

PAGE = 4096


def saved(folder: Path, image: Path, name: str) -> SavedMachine:
    """The files of a saved machine: a sparse memory, a state, a real qcow2."""
    files = files_of(folder, name)
    files.folder.mkdir(parents=True)
    with files.ram.open("wb") as file:
        file.truncate(2 * MIB)
        file.write(os.urandom(PAGE))
        file.seek(MIB)
        file.write(os.urandom(PAGE))
    files.state.write_bytes(b"QEVM" + os.urandom(5000))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", files.disk, "4M"], check=True)
    image.mkdir(exist_ok=True)
    fingerprints = (digest(files.ram), digest(files.state), digest(files.disk))
    return SavedMachine(str(image), *fingerprints, "ssh-ed25519 A")


def snapshot(tmp_path: Path, *names: str) -> tuple[Path, Manifest]:
    folder = tmp_path / "store/alicia@healthy.k1"
    machines = {name: saved(folder, tmp_path / "image", name) for name in names}
    return folder, Manifest("healthy", "alicia", "ab12", "k1", {}, 100.0, 0.2, "orchestrator up", machines)


# ------------------------------------------------------------------ damage


def one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[PAGE // 2] ^= 0x10
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def test_a_whole_snapshot_is_verified(tmp_path: Path) -> None:
    run_simulated(verify(*snapshot(tmp_path, "server", "client")))


@pytest.mark.parametrize("damage", [one_bit, cut])
@pytest.mark.parametrize("part", ["ram", "state", "disk"])
def test_every_damaged_file_is_named(tmp_path: Path, part: str, damage: Callable[[Path], None]) -> None:
    folder, manifest = snapshot(tmp_path, "server", "client")
    path: Path = getattr(files_of(folder, "client"), part)
    damage(path)
    with pytest.raises(SnapshotDamaged, match="is damaged") as caught:
        run_simulated(verify(folder, manifest))
    assert caught.value.why == f"{path.name} of machine client is not what was saved"
    assert caught.value.where == (str(path),)
    assert "snapshot prune" in caught.value.hint


@pytest.mark.parametrize("part", ["ram", "state", "disk"])
def test_every_missing_file_is_named(tmp_path: Path, part: str) -> None:
    folder, manifest = snapshot(tmp_path, "server", "client")
    path: Path = getattr(files_of(folder, "client"), part)
    path.unlink()
    with pytest.raises(SnapshotDamaged, match="is not whole") as caught:
        run_simulated(verify(folder, manifest))
    assert str(path) in caught.value.why


def test_a_layer_is_part_of_what_was_saved(tmp_path: Path) -> None:
    """A guest has parts of its file system in memory: another disk of the same files would not fit them."""
    folder, manifest = snapshot(tmp_path, "server")
    disk = tmp_path / "disk.ext4"
    disk.write_bytes(os.urandom(PAGE))
    server = replace(manifest.machines["server"], layers={str(disk): digest(disk)})
    manifest = replace(manifest, machines={"server": server})
    run_simulated(verify(folder, manifest))
    one_bit(disk)
    with pytest.raises(SnapshotDamaged, match="is damaged") as caught:
        run_simulated(verify(folder, manifest))
    assert caught.value.why == "a layer of machine server is not what was saved"
    disk.unlink()
    with pytest.raises(SnapshotDamaged, match="is not whole"):
        run_simulated(verify(folder, manifest))


def test_files_in_memory_are_read_once_and_again_when_they_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_stamps, "RACE", -60.0)
    read: list[Path] = []

    def counted(path: Path) -> str:
        read.append(path)
        return digest(path)

    monkeypatch.setattr(restore, "digest", counted)
    folder, manifest = snapshot(tmp_path, "server")
    for place, times in (("disk", [3, 3]), ("tmpfs", [3, 0])):
        monkeypatch.setattr(restore, "file_system", lambda _, place=place: place)
        for wanted in times:
            read.clear()
            run_simulated(verify(folder, manifest))
            assert len(read) == wanted, place
    run_simulated(verify(folder, manifest, read_all=True))
    assert len(read) == 3, "prune believes nobody"
    ram = files_of(folder, "server").ram
    before = ram.stat()
    one_bit(ram)
    os.utime(ram, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(SnapshotDamaged, match="is damaged"):
        run_simulated(verify(folder, manifest))


def test_a_snapshot_whose_image_is_gone(tmp_path: Path) -> None:
    folder, manifest = snapshot(tmp_path, "server")
    (tmp_path / "image").rmdir()
    with pytest.raises(SnapshotDamaged, match="needs an image that is gone") as caught:
        run_simulated(verify(folder, manifest))
    assert caught.value.where == (str(tmp_path / "image"),)


# ------------------------------------------------------------------ files


Laid = tuple[Path, MachineFiles, MachinePaths]


@pytest.fixture
def laid(tmp_path: Path) -> Laid:
    folder, _ = snapshot(tmp_path, "server")
    return folder, files_of(folder, "server"), MachinePaths(tmp_path / "work", tmp_path / "s", tmp_path / "logs")


def test_a_machine_on_the_memory_of_the_snapshot_itself(laid: Laid) -> None:
    folder, files, paths = laid
    memory = run_simulated(stage_files(folder, "server", paths, None))
    assert memory == Memory(files.ram, shared=False, incoming=True)
    assert [path.name for path in paths.work.iterdir()] == ["disk.qcow2"]
    assert paths.work.stat().st_mode & 0o777 == 0o700


def test_a_machine_with_a_memory_of_its_own(laid: Laid, tmp_path: Path) -> None:
    folder, files, paths = laid
    memory = run_simulated(stage_files(folder, "server", paths, tmp_path / "own.ram"))
    assert memory == Memory(tmp_path / "own.ram", shared=True, incoming=True)
    assert memory.file.read_bytes() == files.ram.read_bytes()
    assert memory.file.stat().st_mode & 0o777 == 0o600
    assert touched(memory.file) < MIB, "as sparse as it was"


def test_the_disk_outlives_the_snapshot(laid: Laid, tmp_path: Path) -> None:
    """An overlay on the snapshot's disk would lose its ground when the snapshot is pruned, or its memory is lost."""
    folder, files, paths = laid
    saved_disk = files.disk.read_bytes()
    run_simulated(stage_files(folder, "server", paths, tmp_path / "own.ram"))
    assert paths.disk.read_bytes() == saved_disk
    assert paths.disk.stat().st_mode & 0o777 == 0o600
    shutil.rmtree(folder)
    text = subprocess.run(["qemu-img", "info", paths.disk], capture_output=True, check=True, text=True).stdout
    assert "backing file" not in text
    subprocess.run(["qemu-img", "check", "-q", paths.disk], check=True)


def test_what_an_earlier_start_left_is_replaced(laid: Laid, tmp_path: Path) -> None:
    folder, files, paths = laid
    before = {path: digest(path) for path in (files.ram, files.state, files.disk)}
    own = tmp_path / "own.ram"
    paths.work.mkdir()
    paths.disk.write_bytes(b"an old disk")
    paths.disk.chmod(0o644)
    own.write_bytes(b"\x01" * 3 * MIB)
    own.chmod(0o644)
    run_simulated(stage_files(folder, "server", paths, own))
    for path, source in ((own, files.ram), (paths.disk, files.disk)):
        assert path.read_bytes() == source.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
    assert {path: digest(path) for path in before} == before, "the snapshot stays as it is"


@pytest.mark.parametrize("part", ["ram", "disk"])
def test_no_room_for_a_copy(laid: Laid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    folder, files, paths = laid

    def full(source: Path, target: Path) -> int:
        if source == getattr(files, part):
            raise OSError(errno.ENOSPC, "No space left on device")
        return copy_sparse(source, target)

    monkeypatch.setattr(module, "copy_sparse", full)
    with pytest.raises(SnapshotError, match="saved files of machine server could not be copied") as caught:
        run_simulated(stage_files(folder, "server", paths, tmp_path / "own.ram"))
    assert "No space left on device" in caught.value.why
    assert not isinstance(caught.value, SnapshotDamaged), "a full host says nothing about the snapshot"


# ------------------------------------------------------------------ loading


class Waiting(FakeServer):
    """A QEMU that waits for a state, and tells these run states one after the other."""

    def __init__(self, path: Path, *states: str) -> None:
        self.given: dict[str, object] = {}
        self.states = list(states)
        super().__init__(
            path,
            {
                "migrate-set-capabilities": lambda given: self.given.update(capabilities=given) or {},
                "migrate-set-parameters": lambda given: self.given.update(parameters=given) or {},
                "migrate-incoming": lambda given: self.given.update(read=self.content_of(given["uri"])) or {},
                "query-status": self._status,
            },
        )

    def _status(self, _: object) -> object:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return CLOSE if state == "gone" else {"status": state}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Monitor]:
        (self.path.parent / "state").write_bytes(b"QEVM")
        async with self.serving():
            monitor = await connect("server", self.path, Deadline.after(5))
            yield monitor
            await monitor.close()


def test_a_state_is_loaded_and_waited_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        qmp = Waiting(tmp_path / "qmp", "inmigrate", "inmigrate", "inmigrate", "paused")
        async with qmp.opened() as monitor:
            await load(monitor, tmp_path / "state", Deadline.after(5))
        assert qmp.log == [
            "qmp_capabilities",
            "migrate-set-capabilities",
            "migrate-set-parameters",
            "add-fd",
            "migrate-incoming",
            *["query-status"] * 4,
            "remove-fd",
        ]
        assert qmp.given == {"capabilities": CAPABILITIES, "parameters": ANNOUNCEMENTS, "read": b"QEVM"}

    run_simulated(scenario())


def test_a_state_that_is_never_loaded(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Waiting(tmp_path / "qmp", "inmigrate").opened() as monitor:
            limit = Deadline.after(0.2)
            with pytest.raises(MachineError, match="QEMU did not load the state of machine server") as caught:
                await load(monitor, tmp_path / "state", limit)
            assert limit.elapsed < 0.6
            assert caught.value.subject == "server"

    run_simulated(scenario())


def test_a_qemu_that_ends_over_a_state(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Waiting(tmp_path / "qmp", "inmigrate", "gone").opened() as monitor:
            with pytest.raises(MachineError, match="QMP connection to machine server is lost"):
                await load(monitor, tmp_path / "state", Deadline.after(5))

    run_simulated(scenario())


def test_a_state_that_cannot_be_read(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Waiting(tmp_path / "qmp", "inmigrate").opened() as monitor:
            with pytest.raises(SnapshotError, match="the saved state of machine server cannot be read") as caught:
                await load(monitor, tmp_path / "none", Deadline.after(5))
            assert "No such file" in caught.value.why

    run_simulated(scenario())
