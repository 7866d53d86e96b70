"""What a copy keeps: this host is both ends, a real sshd and a real tar between them."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from copy_scene import DIRECTIONS, Copy, soon, with_ssh
from real_sshd import Server, sshd

from orchestrator.guest.copy_entries import Tally
from orchestrator.guest.files import get, inspect, measure, put
from orchestrator.guest.ssh import Ssh

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


ODD_NAMES = (
    "two words",
    "-dash",
    "new\nline",
    "ends\n",
    "co:lon",
    "ünï",
    "\udcff\udcfe",
    "*",
    "q'uo\"te",
    "back\\slash",
    "\\n",
    "tab\t",
    "#",
    "~",
    "$HOME",
    "n" * 255,
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything a folder may hold."""
    root = tmp_path_factory.mktemp("tree") / "a \\n tree"
    (root / "empty").mkdir(parents=True)
    for number, name in enumerate(ODD_NAMES):
        (root / name).write_text(f"{number}")
    for mode in (0o600, 0o640, 0o444, 0o755, 0o700):
        (root / f"mode-{mode:o}").write_bytes(os.urandom(mode))
        (root / f"mode-{mode:o}").chmod(mode)
    (root / "private").mkdir(mode=0o700)
    (root / "private/inside").write_text("inside")
    (root / "shared").mkdir()
    (root / "shared").chmod(0o1777)
    links = {"relative": "mode-600", "dangling": "no/such", "up": "../elsewhere", "folder": "private"}
    for name, target in links.items():
        (root / name).symlink_to(target)
    (root / "private/again").hardlink_to(root / "mode-755")
    with (root / "sparse").open("wb") as file:
        for offset in (1 << 20, 30 << 20):
            file.seek(offset)
            file.write(b"data")
        file.truncate(64 << 20)
    with (root / "hole").open("wb") as file:
        file.truncate(8 << 20)
    deep = root
    for _ in range(8):
        deep /= "d" * 100
        deep.mkdir()
    (deep / ("f" * 120)).write_text("deep")
    os.utime(root / "mode-600", ns=(0, 1_234_567_890_123_456_789))
    os.utime(root / "mode-444", ns=(0, -1_000_000_000))
    os.utime(root / "dangling", ns=(0, 1_000_000_000_000_000_007), follow_symlinks=False)
    os.utime(root / "private", ns=(0, 1_500_000_000_500_000_000))
    return root


def described(root: Path) -> dict[str, tuple[object, ...]]:
    """Each thing in a folder: type and mode, time, and text of a link or content."""
    found: dict[str, tuple[object, ...]] = {}
    for path in root.rglob("*"):
        info = path.lstat()
        content: object = None
        if stat.S_ISLNK(info.st_mode):
            content = path.readlink()
        elif stat.S_ISREG(info.st_mode):
            content = (path.read_bytes(), info.st_nlink)
        found[str(path.relative_to(root))] = (oct(info.st_mode), info.st_mtime_ns, content)
    return found


@DIRECTIONS
def test_a_tree_is_the_same_on_the_other_side(server: Server, tree: Path, tmp_path: Path, copy: Copy) -> None:
    before = os.umask(0o077)  # it does not count: the modes are the source's

    async def work(ssh: Ssh) -> None:
        tally = await copy(ssh, tree, tmp_path / "new/target")
        assert (tally.missing, tally.left_out) == (0, [])
        assert tally.outward == ["up → ../elsewhere"]

    try:
        with_ssh(server, work)
    finally:
        os.umask(before)
    there, expected = described(tmp_path / "new/target"), described(tree)
    assert there.keys() == expected.keys()
    assert {name: what for name, what in there.items() if what != expected[name]} == {}
    assert (tmp_path / "new/target").stat().st_mode == tree.stat().st_mode
    for name in ("sparse", "hole"):
        assert (tmp_path / "new/target" / name).stat().st_blocks * 512 < 1 << 20, f"{name} became full"


@DIRECTIONS
def test_files_alone_keep_what_they_have(server: Server, tree: Path, tmp_path: Path, copy: Copy) -> None:
    names = [*ODD_NAMES[:5], "\\n", "\udcff\udcfe", "mode-600", "mode-444", "sparse"]

    async def work(ssh: Ssh) -> None:
        for name in names:
            tally = await copy(ssh, tree / name, tmp_path / "new" / name)
            assert (tally.files, tally.missing) == (1, 0)

    with_ssh(server, work)
    there, expected = described(tmp_path / "new"), described(tree)
    assert there == {name: expected[name] for name in names}
    assert (tmp_path / "new/sparse").stat().st_blocks * 512 < 1 << 20


@DIRECTIONS
def test_what_is_left_out_is_named_and_the_rest_copied(server: Server, tmp_path: Path, copy: Copy) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    os.mkfifo(source / "sub/pipe")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(source / "socket"))
    (source / "file").write_text("1")
    if os.getuid() == 0:
        os.mknod(source / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))

    async def work(ssh: Ssh) -> None:
        tally = await copy(ssh, source, tmp_path / "target")
        expected = {("sub/pipe", "a named pipe"), ("socket", "a socket")}
        assert set(tally.left_out) == expected | ({("null", "a device")} if os.getuid() == 0 else set())
        assert tally.missing == len(tally.left_out)

    with_ssh(server, work)
    listening.close()
    assert sorted(path.name for path in (tmp_path / "target").rglob("*")) == ["file", "sub"]


@DIRECTIONS
def test_what_is_named_is_followed_when_it_is_a_link(server: Server, tmp_path: Path, copy: Copy) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real/file").write_text("content")
    (tmp_path / "folder").symlink_to("real")
    (tmp_path / "file").symlink_to("real/file")

    async def work(ssh: Ssh) -> None:
        await copy(ssh, tmp_path / "folder", tmp_path / "out")
        await copy(ssh, tmp_path / "file", tmp_path / "one")
        # and so is the target: its owner's other name for another place
        (tmp_path / "way").symlink_to("one")
        (tmp_path / "one").write_text("old")
        await copy(ssh, tmp_path / "file", tmp_path / "way")

    with_ssh(server, work)
    assert not (tmp_path / "out").is_symlink()
    assert (tmp_path / "out/file").read_text() == "content"
    assert not (tmp_path / "one").is_symlink()
    assert (tmp_path / "one").read_text() == "content"
    assert (tmp_path / "way").is_symlink()


@DIRECTIONS
def test_a_folder_is_filled_and_keeps_its_own_mode(server: Server, tmp_path: Path, copy: Copy) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    for folder in (source / "sub", target / "sub"):
        folder.mkdir(parents=True)
    (source / "sub/new").write_text("new")
    (target / "sub/old").write_text("old")
    (source / "both").write_text("new")
    (target / "both").write_text("old")
    target.chmod(0o750)
    (target / "sub").chmod(0o710)

    async def work(ssh: Ssh) -> None:
        await copy(ssh, source, target)

    with_ssh(server, work)
    content = {path.name: path.read_text() for path in target.rglob("*") if path.is_file()}
    assert content == {"new": "new", "old": "old", "both": "new"}
    assert [oct(folder.stat().st_mode & 0o777) for folder in (target, target / "sub")] == ["0o750", "0o710"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root gives files away")
@DIRECTIONS
def test_a_file_that_is_replaced_keeps_its_owner(server: Server, tmp_path: Path, copy: Copy) -> None:
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    os.chown(tmp_path / "old", 12345, 54321)

    async def work(ssh: Ssh) -> None:
        await copy(ssh, tmp_path / "new", tmp_path / "old")

    with_ssh(server, work)
    info = (tmp_path / "old").stat()
    assert ((tmp_path / "old").read_text(), info.st_uid, info.st_gid) == ("new", 12345, 54321)


@DIRECTIONS
def test_a_file_of_the_kernel_has_its_content(server: Server, tmp_path: Path, copy: Copy) -> None:
    """Their size says 0, or 4096."""

    async def work(ssh: Ssh) -> None:
        for name in ("/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled"):
            await copy(ssh, Path(name), tmp_path / "copied")
            assert (tmp_path / "copied").read_text() == Path(name).read_text()

    with_ssh(server, work)


def test_a_file_of_a_tree_that_ends_meanwhile_is_said(server: Server, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("a", "b"):
        (source / name).write_bytes(b"x" * (6 << 20))

    def shorten(_: int) -> None:
        os.truncate(source / "a", 1 << 20)

    async def work(ssh: Ssh) -> None:
        tally = await put(ssh, source, str(tmp_path / "target"), deadline=soon(), tally=Tally(on_bytes=shorten))
        assert [name for name, _ in tally.left_out] == ["a"]
        assert "became shorter while it was read; zeros replace the last" in tally.left_out[0][1]

    with_ssh(server, work)
    assert (tmp_path / "target/a").stat().st_size == 6 << 20
    assert (tmp_path / "target/b").read_bytes() == b"x" * (6 << 20)


def test_the_size_of_what_will_be_copied(server: Server, tree: Path) -> None:
    async def work(ssh: Ssh) -> None:
        whole = await measure(await inspect(ssh, str(tree), deadline=soon()), deadline=soon())
        assert 4096 < whole < 4 << 20  # the holes are not counted
        assert await measure(await inspect(ssh, str(tree / "mode-600"), deadline=soon()), deadline=soon()) == 0o600

    with_ssh(server, work)


def test_a_tree_of_many_files_is_not_a_flood_of_packets(server: Server, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(3000):
        (source / f"{number}").write_bytes(b"x" * (number % 700))

    async def work(ssh: Ssh) -> None:
        tally = await put(ssh, source, str(tmp_path / "there"), deadline=soon())
        assert tally.files == 3000
        assert (await get(ssh, str(source), tmp_path / "here", deadline=soon())).files == 3000

    with_ssh(server, work)
    assert described(tmp_path / "here") == described(tmp_path / "there") == described(source)
