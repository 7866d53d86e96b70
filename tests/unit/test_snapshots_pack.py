"""Packed states: what comes out is what went in, and a file that was changed gives nothing."""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from simulated_time import run_simulated
from warm_states import INPUTS

from orchestrator.errors import SnapshotError
from orchestrator.snapshots.key import key_of
from orchestrator.snapshots.memory import BLOCK, touched
from orchestrator.snapshots.pack import (
    Pack,
    PackedFile,
    PackedFolder,
    PackedMachine,
    PackedState,
    data_bytes,
    from_json,
    to_json,
)
from orchestrator.snapshots.pack_read import NewFiles, PackReader
from orchestrator.snapshots.pack_write import Blobs, write_pack

NAMES = ("ram", "state", "disk.qcow2")


def saved_files(folder: Path) -> dict[str, Path]:
    """A memory with a hole, a part that the disk has too, and an end within a block."""
    folder.mkdir()
    common = os.urandom(BLOCK)
    ram, state, disk = (folder / name for name in NAMES)
    with ram.open("wb") as file:
        file.write(os.urandom(BLOCK))
        file.seek(5 * BLOCK)
        file.write(common + os.urandom(1000))
    state.write_bytes(os.urandom(3000))
    disk.write_bytes(common)
    return {one.name: one for one in (ram, state, disk)}


def packed(files: dict[str, PackedFile], **changes: object) -> Pack:
    machine = PackedMachine("server-app-0123", "root.raw", "aa", "bb", "ssh A", "pc-1", "max-x86_64-cpu", {}, files)
    state = PackedState("healthy", True, "shop", key_of(INPUTS), INPUTS, 1.0, 0.1, "up", {"server": machine})
    folder = PackedFolder("server", "app", "0123", {"root.raw": "cc"})
    return replace(Pack("0.1.0", (state,), {"server-app-0123": folder}), **changes)  # type: ignore[arg-type]


def written(tmp_path: Path) -> tuple[Pack, bytes, dict[str, Path]]:
    """A packed state of one machine, its bytes, and the files that it was made of."""
    files, blobs, target = saved_files(tmp_path / "saved"), Blobs(), io.BytesIO()
    pack = packed({name: blobs.scan(path) for name, path in files.items()})
    run_simulated(write_pack(target, to_json(pack), blobs, lambda done, total: None))
    return pack, target.getvalue(), files


def unpacked(content: bytes, folder: Path) -> None:
    """Read it all, its machine into a folder."""
    reader = PackReader(io.BytesIO(content), "x.states")
    pack, places = reader.manifest(), NewFiles()
    folder.mkdir()
    places.add(folder, pack.states[0].machines["server"].files, private=True)
    run_simulated(reader.unpack(pack, places, lambda done, total: None))


def test_what_comes_out_is_what_went_in_and_nobody_else_can_read_it(tmp_path: Path) -> None:
    pack, content, files = written(tmp_path)
    unpacked(content, tmp_path / "new")
    for name, path in files.items():
        new = tmp_path / "new" / name
        assert new.read_bytes() == path.read_bytes()
        assert new.stat().st_mode & 0o777 == 0o600
    assert touched(tmp_path / "new/ram") <= 3 * BLOCK, "a hole is a hole again"
    assert data_bytes(pack.files()) == 3 * BLOCK + 1000 + 3000


def test_it_is_a_tar_of_plain_members_with_the_manifest_first_and_each_block_once(tmp_path: Path) -> None:
    pack, content, _ = written(tmp_path)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members = tar.getmembers()
        first = tar.extractfile(members[0])
        assert first is not None
        assert first.read().startswith(b'{"format":1,"version":"0.1.0"')
    assert members[0].name == "manifest.json"
    blocks = [digest for one in pack.files() for digest in one.blocks if digest]
    assert len(blocks) == 5
    assert [one.name for one in members[1:]] == [f"blobs/{digest}" for digest in dict.fromkeys(blocks)]


def test_a_flipped_bit_anywhere_is_found(tmp_path: Path) -> None:
    _, content, _ = written(tmp_path)
    for place in (40, 700, len(content) // 2, len(content) - 4096):
        changed = bytearray(content)
        changed[place] ^= 4
        with pytest.raises(SnapshotError, match="damaged"):
            unpacked(bytes(changed), tmp_path / f"new{place}")


def test_a_file_that_ends_early_is_not_complete(tmp_path: Path) -> None:
    _, content, _ = written(tmp_path)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        ends = [one.offset for one in tar.getmembers()]
    for end in (0, 100, 513, *ends[1:], ends[-1] + 600, ends[-1] + 512 * 3):
        with pytest.raises(SnapshotError, match="damaged"):
            unpacked(content[:end], tmp_path / f"new{end}")


def member(name: str, content: bytes, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, "/etc/passwd" if kind == tarfile.SYMTYPE else ""
    return info.tobuf(tarfile.USTAR_FORMAT) + content + bytes(-len(content) % 512)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("blobs/../../x", tarfile.REGTYPE), ("/etc/x", tarfile.REGTYPE), ("blobs/" + "0" * 64, tarfile.REGTYPE)]
    + [("blobs/" + "0" * 64, kind) for kind in (tarfile.SYMTYPE, tarfile.DIRTYPE, tarfile.XHDTYPE)],
)
def test_a_member_that_the_manifest_does_not_announce_is_refused(tmp_path: Path, name: str, kind: bytes) -> None:
    pack, content, _ = written(tmp_path)
    first = len(member("manifest.json", to_json(pack)))
    with pytest.raises(SnapshotError, match="damaged") as caught:
        unpacked(content[:first] + member(name, b"x", kind) + content[first:], tmp_path / "new")
    assert "its member" in caught.value.why
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "saved"]


def with_block(pack: Pack, block: bytes) -> bytes:
    """A file whose first block is this one."""
    digest = next(digest for one in pack.files() for digest in one.blocks if digest)
    return member("manifest.json", to_json(pack)) + member(f"blobs/{digest}", block)


def test_a_block_that_would_become_large_is_not_unpacked(tmp_path: Path) -> None:
    pack, _, _ = written(tmp_path)
    large = zstandard.ZstdCompressor().compress(bytes(1 << 30))
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(BLOCK))
    for number, block in enumerate((large, silent, b"", b"no zstd", os.urandom(BLOCK))):
        with pytest.raises(SnapshotError, match="damaged"):
            unpacked(with_block(pack, block), tmp_path / f"new{number}")
    with pytest.raises(SnapshotError, match="damaged") as caught:
        unpacked(with_block(pack, bytes(2 * BLOCK)), tmp_path / "long")
    assert "too long" in caught.value.why


@pytest.mark.parametrize("path", ["../x", "/etc/x", "a/../../x", "a//b", "", "a\nb", "."])
def test_no_name_in_a_manifest_leads_out_of_its_folder(path: str) -> None:
    file = PackedFile(0, ())
    files = dict.fromkeys(NAMES, file)
    wrong = [
        packed(files, folders={"server-app-0123": PackedFolder("server", "app", "0123", {}, {path: file})}),
        packed(files, folders={"server-app-0123": PackedFolder(f"{path}/x", "app", "0123", {})}),
        packed({**files, path: file}),
    ]
    state = packed(files).states[0]
    wrong += [
        packed(files, states=(replace(state, environment=path),)),
        packed(files, states=(replace(state, machines={path: state.machines["server"]}),)),
        packed(files, states=(replace(state, name=path),)),
    ]
    for one in wrong:
        with pytest.raises(SnapshotError, match=r"x\.states is damaged"):
            from_json(to_json(one), "x.states")
    assert from_json(to_json(packed(files)), "x.states") == packed(files)


def test_a_manifest_that_contradicts_itself_is_refused() -> None:
    files = dict.fromkeys(NAMES, PackedFile(0, ()))
    state = packed(files).states[0]
    wrong = [
        packed({**files, "ram": PackedFile(1 << 60, ("",))}),
        packed({**files, "ram": PackedFile(5, ("abc",))}),
        packed(files, states=()),
        packed(files, states=(state, state)),
        packed(files, states=(replace(state, key="0" * 16),)),
        packed(files, folders={}),
    ]
    for one in wrong:
        with pytest.raises(SnapshotError, match="damaged"):
            from_json(to_json(one), "x.states")
    for content in (b"", b"[]", b"{}", b"[" * 100_000, b'{"format":2}'):
        with pytest.raises(SnapshotError):
            from_json(content, "x.states")
