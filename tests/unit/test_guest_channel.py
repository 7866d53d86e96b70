"""The channel over SSH does what the guest agent does, against a real sshd."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from fake_qemu import run_async
from real_sshd import soon, sshd, with_ssh

from orchestrator.deadline import Deadline
from orchestrator.errors import GuestCommandError, MachineError
from orchestrator.events import wall_clock
from orchestrator.guest.channel import SshChannel
from orchestrator.guest.ssh import Ssh


def over_ssh(folder: Path, work: Callable[[SshChannel], Awaitable[None]]) -> None:
    async def with_channel(ssh: Ssh) -> None:
        async def current() -> Ssh:
            return ssh

        await work(SshChannel("server", current))

    with sshd(folder) as server:
        with_ssh(server, with_channel)


def test_it_runs_reads_writes_and_tells_the_time(tmp_path: Path) -> None:
    async def work(channel: SshChannel) -> None:
        await channel.connect(soon())
        assert channel.connected
        done = await channel.exec(["sh", "-s"], stdin=b"echo out; echo err >&2; exit 7\n", deadline=soon())
        assert (done.code, done.stdout, done.stderr) == (7, b"out\n", b"err\n")
        assert (await channel.exec(["cat"], deadline=soon())).stdout == b"", "a command without stdin finds its end"
        assert (await channel.exec(["no-such-program"], deadline=soon())).code == 127
        file = tmp_path / "it's a file"
        assert await channel.read_file(str(file), deadline=soon()) is None
        file.touch(mode=0o640)
        await channel.write_file(str(file), b"\x00\xffcontent", deadline=soon())
        assert await channel.read_file(str(file), deadline=soon()) == b"\x00\xffcontent"
        assert file.stat().st_mode & 0o777 == 0o640
        with pytest.raises(GuestCommandError, match="cannot be written"):
            await channel.write_file(f"{tmp_path}/none/x", b"", deadline=soon())
        assert abs(await channel.time(deadline=soon()) - wall_clock()) < 5
        assert await channel.addresses(deadline=soon()) is None
        await channel.close()

    over_ssh(tmp_path, work)


def test_a_script_that_takes_the_connection_with_it_is_no_error(tmp_path: Path) -> None:
    async def work(channel: SshChannel) -> None:
        await channel.begin(f"touch {tmp_path}/begun; kill -9 $PPID", deadline=soon())
        assert (tmp_path / "begun").exists()

    over_ssh(tmp_path, work)


def test_a_guest_that_cannot_be_reached_is_not_waited_for_beyond_the_limit() -> None:
    async def never() -> Ssh:
        await asyncio.Event().wait()
        raise AssertionError

    async def scenario() -> None:
        with pytest.raises(MachineError, match="machine server did not answer by SSH within"):
            await SshChannel("server", never).ping(deadline=Deadline.after(0.2))

    run_async(scenario())
