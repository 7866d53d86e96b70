"""What a guest sends is unpacked below the target, or refused; and nothing else is touched."""

from __future__ import annotations

import io
import os
import random
import struct
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import GuestCommandError, HostError
from orchestrator.guest import copy_unpack
from orchestrator.guest.copy_archive import DamagedArchiveError, in_order, pack, parse
from orchestrator.guest.copy_entries import Tally
from orchestrator.guest.copy_unpack import Rules, unpack
from orchestrator.guest.copy_walk import walk
from orchestrator.guest.files import ARTIFACTS

FILE, FOLDER, SYMLINK, HARDLINK, DEVICE, PIPE = (
    tarfile.REGTYPE,
    tarfile.DIRTYPE,
    tarfile.SYMTYPE,
    tarfile.LNKTYPE,
    tarfile.CHRTYPE,
    tarfile.FIFOTYPE,
)
REFUSED = (GuestCommandError, DamagedArchiveError)


def archive(*members: tuple[str, bytes, str]) -> bytes:
    """A tar of (name, type, content or target of a link)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, kind, content in members:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind in (SYMLINK, HARDLINK):
                info.linkname = content
            info.size = len(content) if kind == FILE else 0
            tar.addfile(info, io.BytesIO(content.encode()))
    return buffer.getvalue()


def unpacked(data: bytes, place: Path, rules: Rules = Rules(), *, alone: bool = False) -> Tally:  # noqa: B008 - frozen
    """What comes of a guest that sends this, in chunks of odd sizes."""
    stream = io.BytesIO(data)
    tally = Tally()
    unpack(parse(lambda: stream.read(7001), tally, alone=alone), place, tally, rules)
    return tally


def packed(source: Path) -> bytes:
    tally = Tally()
    return b"".join(pack(walk(str(source), tally), tally))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The target; beside it lies what must stay as it is."""
    (tmp_path / "secret").write_text("untouched")
    return tmp_path / "run" / "artifacts"


def everything(root: Path) -> dict[str, str]:
    def what(path: Path) -> str:
        return f"-> {path.readlink()}" if path.is_symlink() else "/" if path.is_dir() else path.read_text()

    return {str(path.relative_to(root)): what(path) for path in root.rglob("*")}


@pytest.mark.parametrize("name", ["/secret", "../secret", "./../../secret", "a/../../secret", "..", "/"])
@pytest.mark.parametrize("kind", [FILE, FOLDER, SYMLINK, HARDLINK])
def test_no_name_leads_elsewhere(place: Path, tmp_path: Path, name: str, kind: bytes) -> None:
    with pytest.raises(GuestCommandError, match="which leads outside"):
        unpacked(archive((name, kind, "mine")), place)
    assert everything(tmp_path) == {"secret": "untouched"}


@pytest.mark.parametrize("target", ["/etc", "../..", "secret", "a/../../.."])
def test_links_are_kept_as_they_are_and_never_followed(place: Path, tmp_path: Path, target: str) -> None:
    """Each is the way to something outside; then the guest writes through it."""
    unpacked(archive(("./way", SYMLINK, target)), place)
    assert everything(place) == {"way": f"-> {target}"}
    for sent in (("./way/secret", FILE, "mine"), ("./way/new", FOLDER, ""), ("./way/sub/file", FILE, "mine")):
        with pytest.raises(GuestCommandError, match="cannot be written"):
            unpacked(archive(("./way", SYMLINK, target), sent), place)
    assert (tmp_path / "secret").read_text() == "untouched"
    assert {path.name for path in tmp_path.rglob("*")} == {"secret", "run", "artifacts", "way"}


def test_a_file_over_a_link_replaces_the_link(place: Path, tmp_path: Path) -> None:
    secret = str(tmp_path / "secret")
    unpacked(archive(("./way", SYMLINK, secret), ("./way", FILE, "mine")), place)
    assert everything(place) == {"way": "mine"}
    assert (tmp_path / "secret").read_text() == "untouched"


def test_a_folder_over_a_link_is_refused(place: Path, tmp_path: Path) -> None:
    place.mkdir(parents=True)
    (place / "way").symlink_to(tmp_path)
    with pytest.raises(GuestCommandError, match="way cannot be written"):
        unpacked(archive(("./way", FOLDER, ""), ("./way/secret", FILE, "mine")), place)
    assert (tmp_path / "secret").read_text() == "untouched"


def test_hard_links_are_names_of_files_of_the_same_tree(place: Path, tmp_path: Path) -> None:
    two = ("./two", HARDLINK, "./sub/one")
    tally = unpacked(archive(("./sub/one", FILE, "1"), two, two), place)
    assert everything(place) == {"sub": "/", "sub/one": "1", "two": "1"}
    assert (place / "two").samefile(place / "sub/one")
    assert tally.files == 3
    secret = str(tmp_path / "secret")
    for sent in (
        [("./in", HARDLINK, secret)],
        [("./in", HARDLINK, "../../secret")],
        [("./in", HARDLINK, "./nothing")],
        [("./way", SYMLINK, str(tmp_path)), ("./in", HARDLINK, "./way/secret")],
        [("./way", SYMLINK, secret), ("./in", HARDLINK, "./way")],
        [("./in", HARDLINK, ".")],
    ):
        with pytest.raises(GuestCommandError):
            unpacked(archive(*sent), place)
        assert not (place / "in").exists()
    assert (tmp_path / "secret").stat().st_nlink == 1


def test_another_guest_gets_no_path_without_its_folder() -> None:
    """Its tar would follow a link of that name that lies there already."""

    def sent(*members: tuple[str, bytes, str]) -> list[str]:
        stream = io.BytesIO(archive(*members))
        return ["/".join(entry.path) for entry in in_order(parse(lambda: stream.read(7001), Tally()))]

    good = [(".", FOLDER, ""), ("./a", FOLDER, ""), ("./a/f", FILE, "1"), ("./a/b", FOLDER, ""), ("./a/g", FILE, "1")]
    assert sent(*good, ("./h", FILE, "1")) == ["", "a", "a/f", "a/b", "a/g", "h"]
    for bad in (
        [(".", FOLDER, ""), ("./way/f", FILE, "1")],
        [("./a", FOLDER, ""), ("./a", SYMLINK, "/etc"), ("./a/f", FILE, "1")],
        [("./a", FOLDER, ""), ("./f", FILE, "1"), ("./a/f", FILE, "1")],
        [("./a", FOLDER, ""), ("./b/c", SYMLINK, "1")],
    ):
        with pytest.raises(GuestCommandError, match="without its folder"):
            sent(*bad)


def test_what_is_no_file_folder_or_link_is_named(place: Path) -> None:
    sent = archive(("./null", DEVICE, ""), ("./pipe", PIPE, ""), ("./odd", b"Q", ""), ("./file", FILE, "one"))
    tally = unpacked(sent, place)
    assert everything(place) == {"file": "one"}
    assert tally.missing == 3
    assert tally.left_out == [("null", "a device"), ("pipe", "a named pipe"), ("odd", "something of no known kind")]


def test_a_file_alone_is_a_file_and_nothing_else(place: Path) -> None:
    unpacked(archive(("any/name", FILE, "one")), place, alone=True)
    assert place.read_text() == "one"
    for kind in (FOLDER, SYMLINK, HARDLINK, DEVICE):
        with pytest.raises(GuestCommandError, match="something else"):
            unpacked(archive(("x", kind, "/etc")), place, alone=True)
    assert place.read_text() == "one"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"not a tar at all" * 100,
        archive(("./file", FILE, "x" * 2000))[:600],
        archive(("./file", FILE, "x" * 512), ("./other", FILE, "y"))[:1024],
        archive(("./file", FILE, "x"), ("./other", FILE, "y"))[:1024] + b"?" * 512 + bytes(2048),
        archive(("./a", FILE, "one"), ("./a/b", FILE, "two")),
        archive(("./a/b", FILE, "one"), ("./a", FILE, "two")),
        archive(("./a", FILE, "one"), ("./a", FOLDER, "")),
        archive((f"./{'n' * 300}", FILE, "one")),
        archive(("./file", FILE, "x")) + bytes(8 << 20),
    ],
)
def test_what_cannot_be_unpacked_is_told(place: Path, tmp_path: Path, sent: bytes) -> None:
    with pytest.raises(REFUSED):
        unpacked(sent, place)
    assert (tmp_path / "secret").read_text() == "untouched"
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(copy_unpack.PART)]


def test_a_file_that_ends_too_early_leaves_the_one_that_was_there(place: Path) -> None:
    place.mkdir(parents=True)
    (place / "file").write_text("whole")
    with pytest.raises(DamagedArchiveError, match="too early"):
        unpacked(archive(("./file", FILE, "x" * 2000))[:600], place)
    assert everything(place) == {"file": "whole"}


@pytest.mark.parametrize(("rules", "why"), [({"most_bytes": 5}, "5 B"), ({"most_files": 1}, "1 files")])
def test_artifacts_have_an_end(place: Path, rules: dict[str, int], why: str) -> None:
    with pytest.raises(GuestCommandError, match="the guest sent too much") as caught:
        unpacked(archive(("./a", FILE, "four"), ("./b", FILE, "four")), place, replace(ARTIFACTS, **rules))
    assert why in caught.value.why


def test_artifacts_are_plain_files_that_others_can_read(place: Path, tmp_path: Path) -> None:
    """Reports are sent elsewhere, by programs that would follow a link to the host's own files."""
    source = tmp_path / "source"
    source.mkdir()
    for name, mode in (("a", 0o600), ("run", 0o700)):
        (source / name).write_text(name)
        (source / name).chmod(mode)
    (source / "link").symlink_to("/etc/passwd")
    tally = unpacked(packed(source), place, ARTIFACTS)
    assert {path.name: path.stat().st_mode & 0o777 for path in place.iterdir()} == {"a": 0o644, "run": 0o755}
    assert tally.left_out == [("link", "a link")]


def claim(size: bytes, kind: bytes = FILE) -> bytes:
    """A header with a size of the sender's own choice."""
    info = tarfile.TarInfo("./file")
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = size
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


SIZES = [b"77777777777\0", b"\x80" + struct.pack(">xxxQ", 1 << 62), b"\xff" * 12, b"\xff" * 11 + b"\0"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", [FILE, b"x", b"g", b"L", b"K", b"S", b"Q", FOLDER, SYMLINK])
def test_claimed_sizes_take_neither_memory_nor_time(place: Path, tmp_path: Path, size: bytes, kind: bytes) -> None:
    sent = claim(size, kind) + b"13 path=four\n" * 500
    try:
        unpacked(sent, place)
    except REFUSED:
        pass
    else:
        assert kind in (FOLDER, SYMLINK), "these have no content"
    assert (tmp_path / "secret").read_text() == "untouched"


def test_a_map_of_holes_that_lies_is_refused(place: Path) -> None:
    for pieces in ("2\n0\n1\n0\n1\n", "1\n5\n9\n", "1\n-5\n1\n", "999999999\n", "x\n"):
        info = tarfile.TarInfo("./f")
        text = pieces.encode() + bytes(512 - len(pieces))
        info.size = 1024
        sparse = {"major": "1", "minor": "0", "name": "./f", "realsize": "8"}
        info.pax_headers = {f"GNU.sparse.{key}": value for key, value in sparse.items()}
        with pytest.raises(REFUSED):
            unpacked(info.tobuf(tarfile.PAX_FORMAT) + text + bytes(512 * 6000), place)
    assert not (place / "f").exists()


def test_a_nearly_full_disk_ends_a_copy(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fstatvfs

    def nearly_full(descriptor: int) -> os.statvfs_result:
        found = list(real(descriptor))
        found[4] = 3  # blocks for everybody
        return os.statvfs_result(found)

    monkeypatch.setattr(os, "fstatvfs", nearly_full)
    with pytest.raises(HostError, match="nearly full"):
        unpacked(archive(("./a", FILE, "four")), place)
    assert everything(place) == {}


def harm(data: bytes, dice: random.Random) -> bytes:
    """An archive that was cut, or has other bytes, or pieces of itself elsewhere."""
    changed = bytearray(data)

    def other_bytes() -> None:
        for _ in range(dice.randint(1, 12)):
            changed[dice.randrange(len(changed))] = dice.randrange(256)

    def moved() -> None:
        start, end, to = (dice.randrange(len(changed)) for _ in range(3))
        changed[to:to] = changed[min(start, end) : max(start, end)]

    def cut() -> None:
        del changed[dice.randrange(len(changed)) :]

    def words() -> None:
        word = dice.choice([b"../" * 8, b"/etc/x", b"\0" * 30, b"\x80" + b"\xff" * 11, b"9" * 30, b"./../../secret"])
        at = dice.randrange(len(changed))
        changed[at : at + len(word)] = word

    changes: list[Callable[[], None]] = [other_bytes, moved, cut, words]
    for _ in range(dice.randint(1, 3)):
        if changed:
            dice.choice(changes)()
    return bytes(changed)


def test_no_archive_harms(tmp_path: Path) -> None:
    """A thousand, always the same ones, made from a good one."""
    good = archive(
        (".", FOLDER, ""),
        ("./one", FILE, "1" * 700),
        ("./sub/two", FILE, "2"),
        ("./link", SYMLINK, "/etc"),
        (f"./{'long' * 40}/{'n' * 90}", FILE, "3"),
        ("./hard", HARDLINK, "./one"),
    )
    dice = random.Random(20261123)
    outcomes = {"unpacked": 0, "refused": 0}
    for _ in range(1000):
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            root = Path(folder)
            try:
                unpacked(harm(good, dice), root / "run" / "target")
                outcomes["unpacked"] += 1
            except REFUSED:
                outcomes["refused"] += 1
            assert {path.name for path in root.iterdir()} <= {"run"}
            if (root / "run").exists():
                assert [path.name for path in (root / "run").iterdir()] == ["target"]
    assert min(outcomes.values()) > 100, outcomes
