"""RAM files: holes stay holes, copies are equal, damage is seen, and the place is chosen by what is free."""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.snapshots.memory import (
    MIB,
    RESERVE,
    Holes,
    choose_place,
    copy_sparse,
    digest,
    extents,
    file_system,
    promised,
    touched,
)

PAGE = 4096


def sparse(path: Path, size: int, parts: dict[int, bytes]) -> Path:
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in parts.items():
            file.seek(offset)
            file.write(data)
    return path


@given(
    st.lists(st.integers(0, 255), unique=True, max_size=12),
    st.integers(1, 256),
    st.binary(min_size=1, max_size=3 * PAGE),
)
@settings(derandomize=True, deadline=None)
def test_a_copy_is_equal_and_as_sparse(
    tmp_path_factory: pytest.TempPathFactory, pages: list[int], size: int, data: bytes
) -> None:
    folder = tmp_path_factory.mktemp("ram")
    parts = {page * PAGE: data for page in pages if page * PAGE + len(data) <= size * PAGE}
    source = sparse(folder / "a", size * PAGE, parts)
    copied = copy_sparse(source, folder / "b")
    assert (folder / "b").read_bytes() == source.read_bytes()
    with source.open("rb") as one, (folder / "b").open("rb") as other:
        assert list(extents(one.fileno())) == list(extents(other.fileno()))
        assert copied == sum(length for _, length in extents(one.fileno()))
    assert digest(folder / "b") == digest(source)
    assert (folder / "b").stat().st_mode & 0o777 == 0o600


def test_the_cost_is_what_was_touched(tmp_path: Path) -> None:
    """An 8 GiB machine that touched 2 MiB takes 2 MiB, here and in the copy."""
    source = sparse(tmp_path / "ram", 8 << 30, {0: os.urandom(MIB), 7 << 30: os.urandom(MIB)})
    assert touched(source) < 3 * MIB
    assert copy_sparse(source, tmp_path / "copy") < 3 * MIB
    assert touched(tmp_path / "copy") < 3 * MIB
    assert (tmp_path / "copy").stat().st_size == 8 << 30
    assert digest(source) == digest(tmp_path / "copy")


def test_a_hole_that_became_zeros_is_no_damage(tmp_path: Path) -> None:
    """What a clone does to the saved memory that it maps, when it reads what nobody ever wrote."""
    path = sparse(tmp_path / "ram", 4096 * PAGE, {3 * PAGE: b"\x01" * PAGE, 3000 * PAGE: b"\x02" * PAGE})
    before = digest(path)
    with path.open("r+b") as file:
        for page in (0, 4, 1000, 2999, 4095):
            file.seek(page * PAGE)
            file.write(bytes(PAGE))
    assert digest(path) == before


@pytest.mark.parametrize("damage", ["bit", "cut", "longer", "hole", "moved"])
def test_every_damage_changes_the_fingerprint(tmp_path: Path, damage: str) -> None:
    path = sparse(tmp_path / "ram", 64 * PAGE, {3 * PAGE: b"\x01" * PAGE, 40 * PAGE: b"\x02" * PAGE})
    before = digest(path)
    with path.open("r+b") as file:
        match damage:
            case "bit":
                file.seek(40 * PAGE + 77)
                file.write(b"\x03")
            case "cut":
                file.truncate(64 * PAGE - 1)
            case "longer":
                file.truncate(65 * PAGE)
            case "hole":
                file.seek(50 * PAGE)
                file.write(b"\x01" * PAGE)
            case _:
                file.seek(3 * PAGE)
                file.write(b"\0" * PAGE)
                file.seek(4 * PAGE)
                file.write(b"\x01" * PAGE)
    assert digest(path) != before


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "none").touch()
    assert digest(tmp_path / "none") == digest(tmp_path / "none")
    assert copy_sparse(tmp_path / "none", tmp_path / "copy") == 0


def test_a_copy_never_overwrites(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"new")
    (tmp_path / "b").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        copy_sparse(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"old"


def test_the_place(tmp_path: Path) -> None:
    memory = tmp_path / "shm"
    memory.mkdir()
    free = shutil.disk_usage(memory).free
    fits = choose_place(free // 4, tmp_path, shared=memory)
    assert fits.folder == memory
    assert "free" in fits.reason
    too_large = choose_place(free - RESERVE + MIB, tmp_path, shared=memory)
    assert (too_large.folder, too_large.kind) == (tmp_path, "disk")
    assert "has only" in too_large.reason
    gone = choose_place(1, tmp_path, shared=tmp_path / "none")
    assert (gone.folder, gone.kind) == (tmp_path, "disk")
    assert "cannot be written" in gone.reason


def test_room_that_running_machines_may_still_take_is_not_given_away(tmp_path: Path) -> None:
    """A RAM file of 1 GiB of which 2 MiB were touched: the rest is free now, and will not be."""
    memory = tmp_path / "shm"
    for environment, size in (("ram-1a", 1 << 30), ("ram-2b", 2 << 30)):
        (memory / f"orch-{os.getuid()}" / environment).mkdir(parents=True)
        sparse(memory / f"orch-{os.getuid()}" / environment / "server.ram", size, {0: os.urandom(2 * MIB)})
    assert promised(memory) == pytest.approx((3 << 30) - 4 * MIB, abs=MIB)
    free = shutil.disk_usage(memory).free
    place = choose_place(free - RESERVE - (2 << 30), tmp_path, shared=memory)
    assert (place.folder, place.kind) == (tmp_path, "disk")
    assert "has only" in place.reason
    assert choose_place(free - RESERVE - (4 << 30), tmp_path, shared=memory).folder == memory


def test_what_nobody_will_take_is_not_promised(tmp_path: Path) -> None:
    """Memory that was touched whole, snapshots, and the files of other users, whose limits are their own."""
    mine, other = tmp_path / f"orch-{os.getuid()}", tmp_path / f"orch-{os.getuid() + 1}"
    for folder in (mine / "ram-1a", mine / "snapshots-1a/alicia@healthy.k1/server", other / "ram-1a"):
        folder.mkdir(parents=True)
    (mine / "ram-1a/server.ram").write_bytes(os.urandom(MIB))
    sparse(mine / "snapshots-1a/alicia@healthy.k1/server/ram", 1 << 30, {})
    sparse(other / "ram-1a/server.ram", 1 << 30, {})
    assert promised(tmp_path) == 0
    assert promised(tmp_path / "none") == 0


def test_file_systems() -> None:
    assert file_system(Path("/dev/shm")) == "tmpfs"
    assert file_system(Path(__file__).parent) == "disk"


def test_holes_that_were_only_read_become_holes_again() -> None:
    """What QEMU does to a saved memory that a clone rests on, when it sends all of the clone's."""
    folder = Path(tempfile.mkdtemp(prefix="orch-test-", dir="/dev/shm"))
    try:
        path = folder / "ram"
        with path.open("wb") as file:
            file.truncate(200 * MIB)
            for at in (0, 70 * MIB, 199 * MIB):
                os.pwrite(file.fileno(), b"\x17" * 4096, at)
        before, print_before = touched(path), digest(path)
        holes = Holes.of(path)
        assert holes is not None
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as view:
            seen = []
            for at in range(0, 200 * MIB, 4096):
                _ = view[at]
                if at % MIB == 0:
                    holes.give_back(at)
                    seen.append(touched(path))
            assert before < max(seen) < 80 * MIB, "never more than one step of them was filled"
        holes.close()
        assert (touched(path), digest(path)) == (before, print_before)
        assert Holes.of(folder / "gone") is None
    finally:
        shutil.rmtree(folder)
