"""What a guest sends is unpacked below the target, or refused; and nothing else is touched."""

from __future__ import annotations

import io
import random
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import GuestCommandError
from orchestrator.guest import files
from orchestrator.guest.files import pack, unpack

FILE, FOLDER, SYMLINK, HARDLINK, DEVICE, PIPE = (
    tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE,
)  # fmt: skip


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


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The target; beside it lies what must stay as it is."""
    (tmp_path / "secret").write_text("untouched")
    return tmp_path / "run" / "artifacts"


def everything(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): "->" if path.is_symlink() else path.read_text() if path.is_file() else "/"
        for path in root.rglob("*")
    }


def test_files_and_folders_come_through(place: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "empty").mkdir(parents=True)
    (source / "a b").write_text("one")
    (source / "run.sh").write_text("two")
    (source / "run.sh").chmod(0o755)
    written = unpack(io.BytesIO(pack(source, "top")), "top", place)
    assert sorted(path.name for path in written) == ["a b", "run.sh"]
    assert everything(place) == {"a b": "one", "run.sh": "two", "empty": "/"}
    assert (place / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (place / "a b").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("name", ["/secret", "../secret", "top/../../secret", "other/file", "topical/file", "..", "/"])
def test_no_name_leads_elsewhere(place: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(GuestCommandError, match="which leads elsewhere"):
        unpack(io.BytesIO(archive((name, FILE, "mine"))), "top", place)
    assert everything(tmp_path) == {"secret": "untouched"}


@pytest.mark.parametrize("kind", [SYMLINK, HARDLINK])
def test_no_link_is_made_or_followed(place: Path, tmp_path: Path, kind: bytes) -> None:
    secret = str(tmp_path / "secret")
    sent = archive(("top/way", kind, secret), ("top/way", FILE, "mine"), ("top/door", kind, str(tmp_path)))
    unpack(io.BytesIO(sent), "top", place)
    assert everything(place) == {"way": "mine"}
    assert (tmp_path / "secret").read_text() == "untouched"


def test_a_link_that_lies_in_the_target_is_not_followed(place: Path, tmp_path: Path) -> None:
    place.mkdir(parents=True)
    (place / "way").symlink_to(tmp_path / "secret")
    with pytest.raises(GuestCommandError, match="cannot be unpacked"):
        unpack(io.BytesIO(archive(("top/way", FILE, "mine"))), "top", place)
    assert (tmp_path / "secret").read_text() == "untouched"


def test_devices_and_pipes_are_left_out(place: Path) -> None:
    sent = archive(("top/null", DEVICE, ""), ("top/pipe", PIPE, ""), ("top/file", FILE, "one"))
    unpack(io.BytesIO(sent), "top", place)
    assert everything(place) == {"file": "one"}


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"not a tar at all" * 100,
        archive(("top/file", FILE, "x" * 2000))[:600],
        archive(("top/a", FILE, "one"), ("top/a/b", FILE, "two")),
        archive(("top/a", FOLDER, ""), ("top/a", FILE, "one")),
        archive(("top/a", FILE, "one"), ("top/a", FOLDER, "")),
        archive((f"top/{'n' * 300}", FILE, "one")),
    ],
)
def test_what_cannot_be_unpacked_is_told(place: Path, tmp_path: Path, sent: bytes) -> None:
    with pytest.raises(GuestCommandError, match="unpacked"):
        unpack(io.BytesIO(sent), "top", place)
    assert (tmp_path / "secret").read_text() == "untouched"


@pytest.mark.parametrize(("name", "value"), [("TOTAL_LIMIT", 5), ("COUNT_LIMIT", 1)])
def test_there_is_an_end(place: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: int) -> None:
    monkeypatch.setattr(files, name, value)
    with pytest.raises(GuestCommandError, match="the guest sent too much"):
        unpack(io.BytesIO(archive(("top/a", FILE, "four"), ("top/b", FILE, "four"))), "top", place)


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
        word = dice.choice([b"../" * 8, b"/etc/x", b"\0" * 30, b"\x80" + b"\xff" * 11, b"9" * 30, b"top/../../secret"])
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
        ("top", FOLDER, ""), ("top/one", FILE, "1" * 700), ("top/sub/two", FILE, "2"), ("top/link", SYMLINK, "/etc"),
        (f"top/{'long' * 40}/{'n' * 90}", FILE, "3"),
    )  # fmt: skip
    dice = random.Random(20261123)
    outcomes = {"unpacked": 0, "refused": 0}
    for _ in range(1000):
        with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
            root = Path(folder)
            try:
                unpack(io.BytesIO(harm(good, dice)), "top", root / "run" / "target")
                outcomes["unpacked"] += 1
            except GuestCommandError:
                outcomes["refused"] += 1
            assert {path.name for path in root.iterdir()} <= {"run"}
            if (root / "run").exists():
                assert [path.name for path in (root / "run").iterdir()] == ["target"]
                assert not any(path.is_symlink() for path in root.rglob("*"))
    assert min(outcomes.values()) > 100, outcomes
