"""Memory that is no file of its own, saved out of a real QEMU while its guest writes."""

# ruff: noqa: ASYNC110 - what is waited for is a page of memory, for milliseconds
from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import cast

import pytest
from fake_qemu import run_async
from topology_parts import machine

from orchestrator.deadline import Deadline
from orchestrator.environment.memory import base_of
from orchestrator.environment.state import MachineState
from orchestrator.errors import MachineError, SnapshotError
from orchestrator.process import launch
from orchestrator.process_id import ProcessId
from orchestrator.snapshots.live import flowing
from orchestrator.snapshots.manifest import SavedMachine, files_of
from orchestrator.snapshots.memory import MIB, Holes, digest, touched
from orchestrator.snapshots.restore import load, stage_files
from orchestrator.snapshots.save import Source, save_machines
from orchestrator.vm.accelerator import QEMU
from orchestrator.vm.arguments import MachinePaths, Memory, QemuSettings, script_arguments
from orchestrator.vm.qmp import Monitor, connect

SIZE = 64  # MiB
MARK = 40 * MIB  # where the saved state that the machine rests on has something
NEAR, FAR = 0x600, 0x20000  # where the guest counts: the same number, first here, then there


def counting_disk() -> bytes:
    """A boot sector that counts in two pages, for ever."""
    code = bytes.fromhex("31c0 8ed8 b80020 8ec0 6631c9  6641 66890e0006 2666890e0000 ebf1")
    return (code.ljust(510, b"\0") + b"\x55\xaa").ljust(1 << 16, b"\0")


@pytest.fixture
def folder() -> Iterator[Path]:
    """On tmpfs, as RAM files are."""
    path = Path(tempfile.mkdtemp(prefix="orch-test-", dir="/dev/shm"))
    yield path
    shutil.rmtree(path)


@contextmanager
def running(folder: Path, memory: Memory, *more: str) -> Iterator[MachinePaths]:
    paths = MachinePaths(folder / "work", folder / "s", folder / "logs")
    for one in (paths.work, paths.sockets, paths.logs):
        one.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not paths.disk.exists():
        paths.disk.write_bytes(counting_disk())
    drive = f"file={paths.disk},format=raw,if=floppy"
    arguments = script_arguments(
        machine("server", memory=SIZE, cpus=1), paths, (), QemuSettings(accelerator="tcg", memory=memory)
    )
    process: ProcessId = launch([QEMU, "-no-user-config", "-drive", drive, *arguments, *more], log=paths.qemu_log)
    try:
        yield paths
    finally:
        run_async(process.end())


async def is_up(paths: MachinePaths) -> None:
    """QEMU has opened all its files."""
    await (await connect("server", paths.qmp, Deadline.after(20))).close()


def process_of(paths: MachinePaths) -> ProcessId:
    """The QEMU of these paths."""
    for entry in Path("/proc").iterdir():
        with suppress(OSError):  # it ended meanwhile
            if entry.name.isdigit() and str(paths.qmp).encode() in (entry / "cmdline").read_bytes():
                found = ProcessId.of(int(entry.name))
                if found is not None:
                    return found
    raise AssertionError("it does not run")


def numbers(ram: Path) -> tuple[int, int]:
    with ram.open("rb") as file:
        return tuple(int.from_bytes(os.pread(file.fileno(), 4, at), "little") for at in (NEAR, FAR))  # type: ignore[return-value]


async def counted(monitor: Monitor, folder: Path) -> int:
    """The guest's number; once it counts."""
    limit, path = Deadline.after(30), folder / "seen"
    while not limit.expired:
        await monitor.execute("pmemsave", {"val": FAR, "size": 4, "filename": str(path)})
        if number := int.from_bytes(path.read_bytes(), "little"):
            return number
        await asyncio.sleep(0.05)
    raise AssertionError("the guest does not count")


def base_file(folder: Path) -> tuple[Path, bytes]:
    mark = os.urandom(4096)
    path = folder / "base"
    with path.open("wb") as file:
        file.truncate(SIZE * MIB)
        os.pwrite(file.fileno(), mark, MARK)
    return path, mark


async def saved_of(paths: MachinePaths, base: Path | None, folder: Path) -> tuple[SavedMachine, float, int, int]:
    """Save while it counts: what was saved, the pause, its number before, and that after, when it went on."""
    monitor = await connect("server", paths.qmp, Deadline.after(20))
    before = await counted(monitor, paths.work)
    source = Source("server", monitor, None, paths.disk, "/i", "k", paths.serial_log, paths.journal, base)
    (folder / "saved").mkdir()
    saved, paused = await save_machines([source], folder / "saved", Deadline.after(30))
    assert await monitor.run_state() == "running"
    after = await counted(monitor, paths.work)
    await monitor.close()
    return saved["server"], paused, before, after


@pytest.mark.parametrize("kind", ["of another's state", "of a removed state", "anonymous"])
def test_a_state_is_saved_while_the_guest_writes_and_goes_on_where_it_was(folder: Path, kind: str) -> None:
    base, mark = base_file(folder) if kind != "anonymous" else (None, bytes(4096))
    with running(folder / "one", Memory(base, shared=False)) as paths:
        run_async(is_up(paths))
        if kind == "of a removed state":
            assert base is not None
            base.unlink()
        state = MachineState(process_of(paths), "/i", base=str(base or ""))
        rests_on = base_of(state)
        assert (rests_on is None) is (base is None)
        saved, paused, before, after = run_async(saved_of(paths, rests_on, folder), 60)
        # A page that the guest itself reads first is filled, too.
        taken = rests_on.stat().st_blocks * 512 if rests_on is not None else 0
        assert taken < 8 * MIB, "that QEMU read all of it fills no hole"
    files = files_of(folder / "saved", "server")
    near, far = numbers(files.ram)
    assert before < far <= near <= far + 1 and far < after, "one moment between"
    assert paused < 5
    with files.ram.open("rb") as ram:
        assert os.pread(ram.fileno(), 4096, MARK) == mark
    assert files.ram.stat().st_size == SIZE * MIB and touched(files.ram) < 8 * MIB, "zeros are holes"
    assert files.state.stat().st_size < 4 * MIB, "devices, and no memory"
    assert (saved.ram, saved.state) == (digest(files.ram), digest(files.state))
    assert {path.stat().st_mode & 0o777 for path in (files.ram, files.state, files.disk)} == {0o600}

    async def goes_on(paths: MachinePaths, own: Path) -> None:
        monitor = await connect("server", paths.qmp, Deadline.after(20))
        await load(monitor, files.state, Deadline.after(20))
        assert numbers(own) == (near, far), "it is paused where it was"
        await monitor.execute("cont")
        limit = Deadline.after(10)
        while numbers(own)[1] <= far and not limit.expired:
            await asyncio.sleep(0.02)
        assert numbers(own)[1] > far
        await monitor.close()

    two, own = folder / "two", folder / "own.ram"
    paths = MachinePaths(two / "work", two / "s", two / "logs")
    memory = run_async(stage_files(folder / "saved", "server", paths, own))
    assert memory == Memory(own, incoming=True)
    with running(two, memory) as paths:
        run_async(goes_on(paths, own))


def test_a_lack_of_room_is_told_and_the_guest_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory comes, and the file system of the snapshot is full: QEMU must not wait for anybody."""
    real = os.pwrite

    def full(descriptor: int, data: bytes, offset: int) -> int:
        if offset >= MIB // 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, data, offset)

    async def scenario(paths: MachinePaths) -> None:
        monitor = await connect("server", paths.qmp, Deadline.after(20))
        before = await counted(monitor, paths.work)
        source = Source("server", monitor, None, paths.disk, "/i", "k", paths.serial_log, paths.journal)
        (folder / "saved").mkdir()
        monkeypatch.setattr("orchestrator.snapshots.stream.os.pwrite", full)
        with pytest.raises(SnapshotError, match="could not be written") as caught:
            await save_machines([source], folder / "saved", Deadline.after(30))
        monkeypatch.undo()
        assert "No space left on device" in caught.value.why
        assert await monitor.run_state() == "running"
        assert await counted(monitor, paths.work) > before
        # And it can be saved when there is room.
        (folder / "again").mkdir()
        saved, _ = await save_machines([source], folder / "again", Deadline.after(30))
        assert saved["server"].ram == digest(files_of(folder / "again", "server").ram)
        await monitor.close()

    with running(folder / "one", Memory(None, shared=False)) as paths:
        run_async(scenario(paths), 90)


def test_a_machine_that_dies_while_it_is_saved_is_lost(folder: Path) -> None:
    async def scenario(paths: MachinePaths) -> None:
        monitor = await connect("server", paths.qmp, Deadline.after(20))
        await counted(monitor, paths.work)
        source = Source("server", monitor, None, paths.disk, "/i", "k", paths.serial_log, paths.journal)
        (folder / "saved").mkdir()
        real = monitor.execute

        async def dies_at_stop(command: str, *given: object, **named: object) -> object:
            if command == "stop":
                await real("quit")
            return await real(command, *given, **named)  # type: ignore[arg-type]

        monitor.execute = dies_at_stop  # type: ignore[method-assign]
        with pytest.raises(MachineError, match=r"lost|refused"):
            await save_machines([source], folder / "saved", Deadline.after(30))
        await monitor.close()

    with running(folder / "one", Memory(None, shared=False)) as paths:
        run_async(scenario(paths), 60)


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def test_a_save_that_cannot_begin_leaves_nothing_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_holes(path: Path) -> None:
        raise PermissionError(errno.EACCES, "no", str(path))

    monkeypatch.setattr(Holes, "of", no_holes)
    files = files_of(tmp_path, "server")
    files.ram.parent.mkdir(parents=True, exist_ok=True)
    before = descriptors()

    async def scenario() -> None:
        async with flowing("server", cast("Monitor", None), tmp_path, files, Deadline.after(5)):
            raise AssertionError("it began")

    with pytest.raises(PermissionError):
        asyncio.run(scenario())
    assert descriptors() <= before
