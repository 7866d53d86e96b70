"""An SSH connection: how it begins, is lost, and carries TCP and HTTP; against a real sshd of this host."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import paramiko
import pytest
from fake_qemu import run_async
from processes import descendants
from real_sshd import Server, free_port, soon, sshd, with_ssh

from orchestrator.deadline import Deadline
from orchestrator.errors import GuestCommandError, MachineError
from orchestrator.guest.keys import host_key_blob, make_user_key
from orchestrator.guest.ssh import Ssh, connect
from orchestrator.guest.tunnel import get, open_tcp
from orchestrator.topology.urls import parse_url


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


def test_a_server_that_stops_answering_cannot_hold_us(server: Server, tmp_path: Path) -> None:
    """A command that was given up must not run later, when the guest comes back to its senses."""

    async def work(ssh: Ssh) -> None:
        stopped = descendants(server.process.pid)
        for pid in stopped:
            with suppress(ProcessLookupError):  # sshd's part before the login may just be ending
                os.kill(pid, signal.SIGSTOP)
        try:
            deadline = Deadline.after(0.4)
            with pytest.raises(MachineError, match="did not end"):
                await ssh.exec(["touch", str(tmp_path / "late")], deadline=deadline)
            assert deadline.elapsed < 20
        finally:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        for _ in range(3):  # sshd serves in order: what was given up would have run by then
            assert (await ssh.exec(["sleep", "0.05"], deadline=soon())).code == 0
        assert not (tmp_path / "late").exists()

    with_ssh(server, work)


def test_a_machine_that_stands_still_is_left_and_named(server: Server) -> None:
    """Its connections stay open: nothing but the missing answer tells."""

    async def work(ssh: Ssh) -> None:
        ssh.keep_alive(seconds=0.05, patience=0.6)
        await asyncio.sleep(1.0)
        assert ssh.alive, "it answers"
        channel = await asyncio.to_thread(ssh.open_session)
        channel.exec_command("echo on >&2; exec sleep 60")
        assert await asyncio.to_thread(channel.recv_stderr, 3) == b"on\n"  # what is stopped below is all there
        stopped = descendants(server.process.pid)
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            begun = Deadline.after(50)
            assert await asyncio.to_thread(channel.recv, 1) == b""
            assert begun.elapsed < 30
            assert not ssh.alive
            assert ssh.lost(EOFError()).why == "the machine did not answer for 0.6 s"
        finally:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    with_ssh(server, work)


def test_a_connection_cut_in_the_middle(server: Server) -> None:
    async def work(ssh: Ssh) -> None:
        async def cut() -> None:
            await asyncio.to_thread(started.wait, 5)
            server.cut()

        started, printed = threading.Event(), bytearray()

        def begun(data: bytes) -> None:
            printed.extend(data)
            started.set()

        deadline = Deadline.after(50)
        async with asyncio.TaskGroup() as group:
            group.create_task(cut())
            with pytest.raises(MachineError, match="SSH connection to machine server is lost"):
                await ssh.exec(["sh", "-c", "echo $$; exec sleep 60"], deadline=deadline, on_stdout=begun)
        os.kill(int(printed), signal.SIGKILL)  # nobody on the other side ends it
        assert deadline.elapsed < 30
        assert not ssh.alive
        with pytest.raises(MachineError, match="is lost"):
            await ssh.exec(["true"], deadline=soon())
        with pytest.raises(ConnectionError):
            open_tcp(ssh, "127.0.0.1", 1, 1)

    with_ssh(server, work)


def test_another_host_key_is_refused(server: Server, tmp_path: Path) -> None:
    other = host_key_blob("server", make_user_key(tmp_path / "other", ""))
    deadline = Deadline.after(60)
    with pytest.raises(MachineError, match="another host key than the one pinned"):
        run_async(connect(replace(server.target, host_key=other), deadline))
    assert deadline.elapsed < 30, "it is no use to try again"


def test_another_user_key_is_refused_with_a_reason(server: Server, tmp_path: Path) -> None:
    make_user_key(tmp_path / "other", "")
    deadline = Deadline.after(60)
    with pytest.raises(GuestCommandError, match="refuses this environment's key") as caught:
        run_async(connect(replace(server.target, key_file=tmp_path / "other"), deadline))
    assert caught.value.why
    assert deadline.elapsed < 30


def test_a_connection_lost_during_the_login_is_no_refusal(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """paramiko has one error for both; a machine that is killed just then refuses nothing."""
    login, cuts = paramiko.Transport.auth_publickey, []

    def cut_once(transport: paramiko.Transport, *words: Any) -> Any:
        if not cuts:
            server.cut()
            cuts.append(transport)
        return login(transport, *words)

    monkeypatch.setattr(paramiko.Transport, "auth_publickey", cut_once)

    async def work() -> None:
        ssh = await connect(server.target, Deadline.after(20))
        assert (await ssh.exec(["echo", "in"], deadline=Deadline.after(10))).text == "in"
        await ssh.close()

    run_async(work())
    assert len(cuts) == 1


def test_nobody_listening_and_somebody_silent(server: Server) -> None:
    deadline = Deadline.after(0.4)
    with pytest.raises(MachineError, match=r"does not accept SSH within 0\.4 s") as caught:
        run_async(connect(replace(server.target, port=free_port()), deadline))
    assert "refused" in caught.value.why
    assert deadline.elapsed < 20
    with socket.create_server(("127.0.0.1", 0)) as silent:  # as QEMU's forward, before sshd is up
        deadline = Deadline.after(0.4)
        with pytest.raises(MachineError, match="does not accept SSH") as caught:
            run_async(connect(replace(server.target, port=silent.getsockname()[1]), deadline))
        assert deadline.elapsed < 20
        assert "timed out" in caught.value.why


def test_an_sshd_that_comes_later_is_found(server: Server) -> None:
    """The first connections are accepted and dropped, as QEMU does while nothing listens in the guest."""
    with socket.create_server(("127.0.0.1", 0)) as front:

        def forward() -> None:
            for _ in range(2):
                front.accept()[0].close()
            near = front.accept()[0]
            far = socket.create_connection(("127.0.0.1", server.target.port))
            back = threading.Thread(target=pump, args=(far, near), daemon=True)
            back.start()
            pump(near, far)
            back.join(5)
            for end in (near, far):
                end.close()

        thread = threading.Thread(target=forward, daemon=True)
        thread.start()
        target = replace(server.target, port=front.getsockname()[1])

        async def scenario() -> None:
            ssh = await connect(target, Deadline.after(10))
            assert (await ssh.exec(["echo", "late"], deadline=soon())).text == "late"
            await ssh.close()

        run_async(scenario())
        thread.join(5)
        assert not thread.is_alive()


def pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


def test_tcp_through_the_guest(server: Server) -> None:
    async def work(ssh: Ssh) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            await asyncio.to_thread(open_tcp, ssh, "localhost", listening.getsockname()[1], 5)
        with pytest.raises(ConnectionError, match=r"[Cc]onnect"):
            await asyncio.to_thread(open_tcp, ssh, "127.0.0.1", free_port(), 5)
        with pytest.raises(ConnectionError):
            await asyncio.to_thread(open_tcp, ssh, "no-such-host.invalid", 80, 5)
        assert ssh.alive

    with_ssh(server, work)


def test_a_connection_that_the_guest_makes_too_late_is_closed(server: Server) -> None:
    """Nobody here waits for it any more; the service must not keep it."""

    async def work(ssh: Ssh) -> None:
        stopped = descendants(server.process.pid)
        with socket.create_server(("127.0.0.1", 0)) as listening:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGSTOP)
            try:
                with pytest.raises(ConnectionError, match="Timeout"):
                    await asyncio.to_thread(open_tcp, ssh, "127.0.0.1", listening.getsockname()[1], 0.3)
            finally:
                for pid in stopped:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
            listening.settimeout(20)
            connection, _ = await asyncio.to_thread(listening.accept)
            with connection:
                connection.settimeout(20)
                assert await asyncio.to_thread(connection.recv, 1) == b""
        assert (await ssh.exec(["echo", "on"], deadline=soon())).text == "on"

    with_ssh(server, work)


def test_http_through_the_guest(server: Server) -> None:
    body = b'{"status": "ok"}'

    def answer(listening: socket.socket) -> None:
        for _ in range(2):
            with listening.accept()[0] as connection:
                assert b"Host: localhost" in connection.recv(65536)
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                connection.sendall(head.encode() + body)

    async def work(ssh: Ssh) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            thread = threading.Thread(target=answer, args=(listening,), daemon=True)
            thread.start()

            url = parse_url(f"http://localhost:{listening.getsockname()[1]}/health")
            for _ in range(2):
                got = await asyncio.to_thread(get, ssh, url, Deadline.after(5), lambda _: True, None)
                assert got.body == '{"status": "ok"}'
            thread.join(5)

    with_ssh(server, work)
