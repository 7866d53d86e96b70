"""Checks over real sockets: no server, however odd, holds one or ends the run."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest
from fake_channels import LocalSsh
from fake_qemu import run_async
from real_sshd import free_port

from orchestrator.deadline import Deadline
from orchestrator.errors import MachineError
from orchestrator.guest.ssh import Ssh
from orchestrator.services.channels import Channels, run_check
from orchestrator.services.checks.http import HttpCheck
from orchestrator.services.checks.tcp import TcpCheck
from orchestrator.timescale import TimeScale
from orchestrator.topology.check_kind import ANSWER_LIMIT, CheckResult
from orchestrator.topology.model import Check


def http(target: str, *, timeout: float = 5.0, **fields: Any) -> Check:
    return Check("c", "client", HttpCheck(target, **fields), timeout)


@contextmanager
def server(talk: Callable[[socket.socket], object]) -> Iterator[int]:
    """A TCP server on a free port; each connection is handled by ``talk`` and closed."""
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection = listening.accept()[0]
            except OSError:
                return
            with connection, suppress(OSError):
                talk(connection)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def replies(data: bytes) -> Callable[[socket.socket], object]:
    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(data)

    return talk


def answer_of(check: Check, ssh: LocalSsh | None = None, limit: float = 10.0, factor: float = 1.0) -> CheckResult:
    async def channel() -> Ssh:
        return cast("Ssh", ssh or LocalSsh("client"))

    async def nobody() -> Any:
        raise AssertionError("not this way")

    return run_async(
        run_check(check, Channels(nobody, channel), scale=TimeScale(factor), deadline=Deadline.after(limit))
    )


def test_an_http_answer() -> None:
    with server(replies(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 16\r\n\r\n" + b'{"status": "ok"}')) as port:
        check = http(f"http://127.0.0.1:{port}/health", json={"status": "ok"}, headers={"x-a": "1"})
        assert answer_of(check) == CheckResult(True, f"GET http://127.0.0.1:{port}/health: HTTP 200")


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "disconnected"),
        (b"SSH-2.0-OpenSSH_10.0\r\n", ""),
        (b"\x00\xff" * 100, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 2_000_000, "longer than 1048576 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(bytes(300 << 20), 1), "longer than"),
        (b"HTTP/1.1 301 Moved\r\nLocation: /x\r\nContent-Length: 2\r\n\r\nno", "HTTP 301, expected 200; no"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 300_000, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", "HTTP 302, expected 200"),
    ],
    ids=["closed", "ssh", "noise", "cut", "huge", "packed", "moved", "headers", "gzip", "redirect"],
)
def test_odd_servers_are_answers_not_errors(data: bytes, part: str) -> None:
    with server(replies(data)) as port:
        answer = answer_of(http(f"http://127.0.0.1:{port}/", contains="root"))
    assert not answer.ok
    assert answer.text.startswith(f"GET http://127.0.0.1:{port}/: ")
    assert part in answer.text
    assert len(answer.text) <= ANSWER_LIMIT


def test_compressed_answers_are_read() -> None:
    body = gzip.compress(b"hello root")
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    with server(replies(head.encode() + body)) as port:
        assert answer_of(http(f"http://127.0.0.1:{port}/", contains="root")).ok


def silent(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.recv(1)  # until the client gives up


def trickle(connection: socket.socket) -> None:
    """An answer that never ends, a byte at a time: no single read is slow."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        connection.sendall(b".")
        time.sleep(0.02)


def trickle_headers(connection: socket.socket) -> None:
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-A: ")
    while True:
        connection.sendall(b"a")
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("talk", "why"),
    [
        (silent, "no answer within 0.2 s"),
        (trickle, "HTTP 200, but the body did not end within 0.2 s"),
        (trickle_headers, "no answer within 0.2 s"),
    ],
)
@pytest.mark.parametrize(("timeout", "limit"), [(0.2, 10.0), (10.0, 0.2)])
def test_a_server_that_hangs_holds_no_longer_than_the_limit(
    talk: Callable[[socket.socket], object], why: str, timeout: float, limit: float
) -> None:
    with server(talk) as port:
        began = time.monotonic()
        answer = answer_of(http(f"http://127.0.0.1:{port}/", contains="x", timeout=timeout), limit=limit)
        assert time.monotonic() - began < 8
    assert not answer.ok
    assert answer.text.startswith(f"GET http://127.0.0.1:{port}/: {why}")


def endless(connection: socket.socket) -> None:
    """An event stream: it begins, and stays open as long as it is listened to."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    connection.recv(1)


@pytest.mark.parametrize(
    "talk",
    [
        endless,
        trickle,
        replies(b"HTTP/1.1 200 OK\r\nContent-Length: 3145728\r\n\r\n" + b"x" * 3145728),
    ],
    ids=["events", "slow", "3 MiB"],
)
def test_a_body_that_nobody_asked_for_is_not_read(talk: Callable[[socket.socket], object]) -> None:
    with server(talk) as port:
        began = time.monotonic()
        assert answer_of(http(f"http://127.0.0.1:{port}/")) == CheckResult(
            True, f"GET http://127.0.0.1:{port}/: HTTP 200"
        )
        assert time.monotonic() - began < 8


@pytest.mark.parametrize("mark", [b"\xef\xbb\xbf", b""])
@pytest.mark.parametrize("charset", [b"", b"; charset=utf-8", b"; charset=nonsense", b"; charset=base64"])
def test_json_may_begin_with_a_byte_order_mark(mark: bytes, charset: bytes) -> None:
    body = mark + b'{"status": "gr\xc3\xbcn"}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json%s\r\nContent-Length: %d\r\n\r\n"
    with server(replies(head % (charset, len(body)) + body)) as port:
        assert answer_of(http(f"http://127.0.0.1:{port}/", json={"status": "grün"})).ok


def test_a_quick_check_does_not_wait_for_a_hundred_slow_ones() -> None:
    async def scenario(slow: int, quick: int) -> None:
        async def channel() -> Ssh:
            return cast("Ssh", LocalSsh("client"))

        channels = Channels(cast("Any", None), channel)

        async def made(port: int, timeout: float) -> tuple[CheckResult, float]:
            check = http(f"http://127.0.0.1:{port}/", timeout=timeout)
            limit = Deadline.after(30)
            return await run_check(check, channels, scale=TimeScale(), deadline=limit), limit.elapsed

        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(made(slow, 4)) for _ in range(100)]
            await asyncio.sleep(0)  # all have begun
            answer, elapsed = await made(quick, 3)
            assert answer.ok, answer
            assert elapsed < 3
        for task in waiting:
            answer, elapsed = task.result()
            assert answer.text.endswith("no answer within 4 s")
            assert 3.9 <= elapsed < 15, "each has its own time"

    answering = replies(b"HTTP/1.1 200 OK\r\n\r\n")
    with socket.create_server(("127.0.0.1", 0), backlog=200) as silent_one, server(answering) as quick:
        run_async(scenario(silent_one.getsockname()[1], quick))


def test_nobody_listens() -> None:
    port = free_port()
    refused = answer_of(http(f"http://127.0.0.1:{port}/"))
    assert not refused.ok
    assert "Connection refused" in refused.text
    check = Check("c", "client", TcpCheck(f"127.0.0.1:{port}"))
    assert answer_of(check).text.startswith(f"TCP 127.0.0.1:{port}: Connect failed")


def test_tcp() -> None:
    with server(lambda _: None) as port:
        check = Check("c", "client", TcpCheck(f"localhost:{port}"))
        assert answer_of(check) == CheckResult(True, f"TCP localhost:{port}: connected")


@pytest.mark.parametrize("kind", ["tcp", "http"])
def test_a_dead_connection_to_the_machine_is_not_an_answer(kind: str) -> None:
    ssh = LocalSsh("client")
    ssh.alive = False
    port = free_port()
    spec = TcpCheck(f"127.0.0.1:{port}") if kind == "tcp" else HttpCheck(f"http://127.0.0.1:{port}/")
    with pytest.raises(MachineError, match="SSH connection to machine client is lost"):
        answer_of(Check("c", "client", spec), ssh)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a key and the certificate of localhost that nobody but itself vouches for."""
    folder = tmp_path_factory.mktemp("tls")
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    files = ["-keyout", str(folder / "key"), "-out", str(folder / "cert")]
    subprocess.run([*new, *names, *files], check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "key").read_bytes() + (folder / "cert").read_bytes())
    return both


@contextmanager
def tls_server(certificate: Path, body: bytes = b"hello root") -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def talk(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            replies(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))(secure)

    with server(talk) as port:
        yield port


def test_https_with_an_authority_of_its_own(certificate: Path) -> None:
    with tls_server(certificate, b"x" * 500_000 + b"root") as port:
        url = f"https://localhost:{port}/"
        assert answer_of(http(url, contains="root", ca=certificate)) == CheckResult(True, f"GET {url}: HTTP 200")
        assert answer_of(http(url, contains="root", verify=False)) == CheckResult(True, f"GET {url}: HTTP 200")
        assert answer_of(http(f"https://127.0.0.1:{port}/", ca=certificate)).ok


def test_https_with_a_certificate_that_nobody_vouches_for(certificate: Path) -> None:
    with tls_server(certificate) as port:
        answer = answer_of(http(f"https://localhost:{port}/"))
        assert not answer.ok
        assert "its certificate is not trusted: self-signed certificate" in answer.text
        other = answer_of(http(f"https://localhost:{port}/", ca=certificate.with_name("gone")))
        assert f"{certificate.with_name('gone')} cannot be used: " in other.text


def test_https_with_somebody_who_speaks_none() -> None:
    with server(replies(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as port:
        answer = answer_of(http(f"https://127.0.0.1:{port}/", verify=False))
    assert not answer.ok
    assert "SSL" in answer.text
