"""What paramiko gets wrong and our transport puts right, with a real sshd."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import paramiko
import pytest
from copy_scene import soon, with_ssh
from real_sshd import Server, free_port, sshd

from orchestrator.guest.ssh import Ssh
from orchestrator.threads import in_thread


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


def test_a_command_that_ends_while_keys_are_renewed_keeps_the_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of the command is answered when the new keys are there; both come with the last of its output."""
    monkeypatch.setattr(paramiko.packet.Packetizer, "REKEY_BYTES", 64 << 10)

    async def work(ssh: Ssh) -> None:
        for _ in range(60):
            result = await ssh.exec(["head", "-c", str(80 << 10), "/dev/zero"], deadline=soon())
            assert len(result.stdout) == 80 << 10

    with_ssh(server, work)


def test_connections_that_are_refused_at_once_all_have_the_reason(server: Server) -> None:
    """paramiko tells only one of several threads why a channel was refused."""
    port = free_port()

    async def work(ssh: Ssh) -> None:
        def refusal() -> str:
            with pytest.raises(ConnectionError) as caught:
                ssh.open_direct("127.0.0.1", port, 10)
            return str(caught.value)

        for _ in range(20):
            assert set(await asyncio.gather(*(in_thread(refusal) for _ in range(8)))) == {"Connect failed"}

    with_ssh(server, work)


def test_commands_that_end_before_they_read_what_is_sent_keep_the_connection(server: Server) -> None:
    """What one thread sends of a channel must not follow the end that another thread sent."""

    async def work(ssh: Ssh) -> None:
        async def some() -> None:
            for _ in range(40):
                assert (await ssh.exec(["true"], deadline=soon(), stdin=b"x")).code == 0

        await asyncio.gather(*(some() for _ in range(4)))

    with_ssh(server, work)
