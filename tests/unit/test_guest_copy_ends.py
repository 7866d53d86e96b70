"""How a copy ends that does not end well, and what it takes meanwhile."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from copy_scene import DIRECTIONS, Copy, large_file, soon, with_ssh
from processes import descendants
from real_sshd import Server, sshd

from orchestrator.deadline import Deadline
from orchestrator.errors import GuestCommandError, MachineError, UsageError
from orchestrator.guest.copy_unpack import PART
from orchestrator.guest.files import get, put
from orchestrator.guest.ssh import Ssh

pytestmark = pytest.mark.slow

LARGE = 256 << 20  # bytes, of which a copy holds a few at a time


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


def test_what_cannot_be_read_at_all(server: Server, tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")

    async def work(ssh: Ssh) -> None:
        for name, why in (("no", "does not exist"), ("dangling", "leads nowhere"), ("pipe", "pipe")):
            with pytest.raises(UsageError, match=why):
                await put(ssh, tmp_path / name, str(tmp_path / "there"), deadline=soon())
            with pytest.raises(GuestCommandError) as caught:
                await get(ssh, str(tmp_path / name), tmp_path / "here", deadline=soon())
            assert why in caught.value.why
        with pytest.raises(GuestCommandError) as caught:
            await get(ssh, "/proc/self", tmp_path / "here", deadline=soon())
        assert "a kernel file system" in caught.value.why

    with_ssh(server, work)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "pipe"]


@DIRECTIONS
@pytest.mark.parametrize("there", ["link", "file"])
def test_a_folder_takes_nothing_elses_place(server: Server, tmp_path: Path, copy: Copy, there: str) -> None:
    """A merged /usr has links where another tree has folders: tar would remove them."""
    (tmp_path / "source/a b/lib").mkdir(parents=True)
    (tmp_path / "source/a b/lib/file").write_text("new")
    (tmp_path / "target/a b").mkdir(parents=True)
    (tmp_path / "outside").mkdir()
    lib = tmp_path / "target/a b/lib"
    if there == "link":
        lib.symlink_to(tmp_path / "outside")
    else:
        lib.write_text("old")

    async def work(ssh: Ssh) -> None:
        with pytest.raises((UsageError, GuestCommandError)) as caught:
            await copy(ssh, tmp_path / "source", tmp_path / "target")
        assert "a b/lib" in str(caught.value) + caught.value.why

    with_ssh(server, work)
    assert lib.is_symlink() if there == "link" else lib.read_text() == "old"
    assert list((tmp_path / "outside").iterdir()) == []


def test_what_the_guest_cannot_write(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")

    async def work(ssh: Ssh) -> None:
        with pytest.raises(GuestCommandError, match="could not be copied") as caught:
            await put(ssh, tmp_path / "file", "/proc/no/such", deadline=soon())
        assert "/proc" in caught.value.why

    with_ssh(server, work)


def test_the_source_vanishing_reaches_the_caller(server: Server, tmp_path: Path) -> None:
    """What makes stdin fails: the command is not left waiting for the rest of it, nor taken to have got it all."""

    def pieces() -> Iterator[bytes]:
        yield bytes(1 << 20)
        raise GuestCommandError("the disk is gone")

    async def work(ssh: Ssh) -> None:
        with pytest.raises(GuestCommandError, match="the disk is gone"):
            await ssh.exec(["sh", "-c", f"cat > /dev/null; touch {tmp_path}/ended"], deadline=soon(), stdin=pieces())
        assert (await ssh.exec(["cat"], deadline=soon(), stdin=iter([b"one", b"", b"two"]))).stdout == b"onetwo"

    with_ssh(server, work)


async def until(server: Server, works: bool) -> None:
    """Wait until the guest's tar works, or none does."""
    async with asyncio.timeout(20):
        while tars(server) is not works:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def tars(server: Server) -> bool | None:
    """Whether a tar works; nobody knows while processes end."""
    try:
        pids = descendants(server.process.pid)
        return any(Path(f"/proc/{pid}/comm").read_text() == "tar\n" for pid in pids)
    except OSError:
        return None


@DIRECTIONS
def test_a_copy_that_is_ended_leaves_no_file_and_no_tar(server: Server, tmp_path: Path, copy: Copy) -> None:
    (tmp_path / "target").write_text("what was there")

    async def work(ssh: Ssh) -> None:
        task = asyncio.create_task(copy(ssh, tmp_path / "large", tmp_path / "target"))
        await until(server, works=True)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(server, works=False)
        async with asyncio.timeout(20):
            while list(tmp_path.glob(f"{PART}*")):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    with large_file(tmp_path / "large"):
        with_ssh(server, work)
    assert (tmp_path / "target").read_text() == "what was there"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


@DIRECTIONS
def test_a_connection_that_is_lost_ends_a_copy(server: Server, tmp_path: Path, copy: Copy) -> None:
    async def work(ssh: Ssh) -> None:
        task = asyncio.create_task(copy(ssh, tmp_path / "large", tmp_path / "target"))
        await until(server, works=True)
        server.cut()
        with pytest.raises(MachineError, match="is lost"):
            await task

    with large_file(tmp_path / "large"):
        with_ssh(server, work)
    assert not (tmp_path / "target").exists()


def test_a_pipe_of_this_host_that_nobody_reads_does_not_hold_a_copy(server: Server, tmp_path: Path) -> None:
    (tmp_path / "source").write_text("for a reader that never comes")
    os.mkfifo(tmp_path / "pipe")

    async def work(ssh: Ssh) -> None:
        limit = Deadline.after(1)
        with pytest.raises(GuestCommandError, match=r"was not written to .* within 1 s"):
            await get(ssh, str(tmp_path / "source"), tmp_path / "pipe", deadline=limit)
        assert limit.elapsed < 30

    with_ssh(server, work)


@DIRECTIONS
def test_keys_are_renewed_during_a_copy(
    server: Server, tmp_path: Path, copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After half a gigabyte both sides agree on new keys, while data is on its way."""
    monkeypatch.setattr(paramiko.packet.Packetizer, "REKEY_BYTES", 2 << 20)
    data = os.urandom(9 << 20)
    (tmp_path / "data").write_bytes(data)

    async def work(ssh: Ssh) -> None:
        await copy(ssh, tmp_path / "data", tmp_path / "target")

    with_ssh(server, work)
    assert (tmp_path / "target").read_bytes() == data


MEMORY = """
import asyncio, resource, sys
sys.path[:0] = [{tests!r}]
from pathlib import Path
import copy_scene as t
from orchestrator.guest.ssh import SshTarget, connect
from orchestrator.deadline import Deadline

async def main():
    target = SshTarget("server", {port}, bytes.fromhex({key!r}), Path({file!r}), {user!r})
    ssh = await connect(target, Deadline.after(30))
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await t.{copy}(ssh, Path({folder!r}) / "small", Path({folder!r}) / "small too")
    before = peak()
    await t.{copy}(ssh, Path({folder!r}) / "large", Path({folder!r}) / "large too")
    print((peak() - before) >> 10)
    await ssh.close()

asyncio.run(main())
"""


@pytest.mark.slow
@DIRECTIONS
def test_memory_does_not_grow_with_what_is_copied(server: Server, tmp_path: Path, copy: Copy) -> None:
    (tmp_path / "small").write_text("small")
    target = server.target
    text = MEMORY.format(
        tests=str(Path(__file__).parent),
        port=target.port,
        key=target.host_key.hex(),
        file=str(target.key_file),
        user=target.user,
        copy=copy.__name__,
        folder=str(tmp_path),
    )
    with large_file(tmp_path / "large", LARGE) as large:
        with large.open("r+b") as file:
            file.seek(-4, os.SEEK_END)
            file.write(b"last")
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 48, f"{done.stdout} MiB more for {LARGE >> 20} MiB"
    copied = tmp_path / "large too"
    assert copied.stat().st_size == LARGE
    with copied.open("rb") as file:
        file.seek(-4, os.SEEK_END)
        assert file.read() == b"last"
    copied.unlink()
