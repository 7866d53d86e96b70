"""Checks: what counts as an answer, and that no server, however odd, holds one or ends the run."""

from __future__ import annotations

import gzip
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

import pytest
from fake_channels import HANGS, FakeMachine, LocalSsh, bad, ok
from fake_qemu import run_async
from real_sshd import free_port

from orchestrator.deadline import Deadline
from orchestrator.errors import MachineError
from orchestrator.guest.agent import GuestResult
from orchestrator.guest.ssh import Ssh
from orchestrator.services.checks import ANSWER_LIMIT, Answer, Channels, attempt, json_difference, judge_response
from orchestrator.topology.model import Check, CheckKind

HEALTH = "http://server/health"


def http(target: str = HEALTH, **fields: Any) -> Check:
    return Check("c", CheckKind.HTTP, "client", target=target, **fields)


# ------------------------------------------------------------------ judging


@pytest.mark.parametrize(
    ("fields", "status", "headers", "body", "answer"),
    [
        ({}, 200, {}, "", "GET http://server/health: HTTP 200"),
        ({"status": 404}, 404, {}, "gone", "GET http://server/health: HTTP 404"),
        ({"contains": "<div"}, 200, {}, "x<div>", "GET http://server/health: HTTP 200"),
        ({"json": {"a": {"b": 1}}}, 200, {}, '{"a": {"b": 1, "c": 2}, "d": []}', "GET http://server/health: HTTP 200"),
        ({"headers": {"X-A": "1"}}, 200, {"X-A": "1"}, "", "GET http://server/health: HTTP 200"),
    ],
)
def test_good_answers(fields: dict[str, Any], status: int, headers: dict[str, str], body: str, answer: str) -> None:
    assert judge_response(http(**fields), status, headers, body) == Answer(True, answer)


@pytest.mark.parametrize(
    ("fields", "status", "body", "part"),
    [
        ({}, 502, "<h1>Bad\n  Gateway</h1>", "HTTP 502, expected 200; <h1>Bad Gateway</h1>"),
        ({"contains": "root"}, 200, "nginx", "HTTP 200, but the body lacks 'root'; nginx"),
        ({"headers": {"X-A": "1"}}, 200, "", "HTTP 200, but header X-A is None, expected '1'"),
        ({"json": {}}, 200, "<html>", "HTTP 200, but the body is not JSON; <html>"),
        ({"json": {}}, 200, "[" * 100_000, "HTTP 200, but the body is not JSON"),
        ({"json": {"status": "ok"}}, 200, '{"status": "no"}', '$.status is "no", expected "ok"'),
        ({"json": {"status": "ok"}}, 200, "[]", "$ is [], expected a table"),
    ],
)
def test_bad_answers_say_why(fields: dict[str, Any], status: int, body: str, part: str) -> None:
    answer = judge_response(http(**fields), status, {}, body)
    assert not answer.ok
    assert part in answer.text
    assert len(answer.text) <= ANSWER_LIMIT
    assert "\n" not in answer.text


@pytest.mark.parametrize(
    ("wanted", "found", "difference"),
    [
        ({}, {"a": 1}, ""),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 2], "c": 3}}, ""),
        ({"a": None}, {"a": None}, ""),
        ({"a": 1}, {}, "$.a is missing"),
        ({"a": None}, {}, "$.a is missing"),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "$.a.b is 2, expected 1"),
        ({"a": 1}, {"a": True}, "$.a is true, expected 1"),  # Python thinks they are equal
        ({"a": 0}, {"a": False}, "$.a is false, expected 0"),
        ({"a": "1"}, {"a": 1}, '$.a is 1, expected "1"'),
        ({"a": [1]}, {"a": [1, 2]}, "$.a is [1, 2], expected [1]"),
        ({"a": 1}, {"a": "x" * 100}, '$.a is "' + "x" * 56 + "..., expected 1"),
    ],
)
def test_json_difference(wanted: object, found: object, difference: str) -> None:
    assert json_difference(wanted, found) == difference


# ------------------------------------------------------------------ over real sockets


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


def answer_of(check: Check, ssh: LocalSsh | None = None, limit: float = 10.0, factor: float = 1.0) -> Answer:
    async def channel() -> Ssh:
        return cast("Ssh", ssh or LocalSsh("client"))

    async def nobody() -> Any:
        raise AssertionError("not this way")

    return run_async(attempt(check, Channels(nobody, channel), factor=factor, deadline=Deadline.after(limit)))


def test_an_http_answer() -> None:
    with server(replies(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 16\r\n\r\n" + b'{"status": "ok"}')) as port:
        check = http(f"http://127.0.0.1:{port}/health", json={"status": "ok"}, headers={"x-a": "1"})
        assert answer_of(check) == Answer(True, f"GET http://127.0.0.1:{port}/health: HTTP 200")


@pytest.mark.parametrize(
    ("data", "part"),
    [
        (b"", "disconnected"),
        (b"SSH-2.0-OpenSSH_10.0\r\n", ""),
        (b"\x00\xff" * 100, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", "closed"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 2_000_000, "longer than 1048576 bytes"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * 300_000, ""),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope", ""),
        (b"HTTP/1.1 302 Found\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", "HTTP 302, expected 200"),
    ],
    ids=["closed", "ssh", "noise", "cut", "huge", "headers", "gzip", "redirect"],
)
def test_odd_servers_are_answers_not_errors(data: bytes, part: str) -> None:
    with server(replies(data)) as port:
        answer = answer_of(http(f"http://127.0.0.1:{port}/"))
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
    time.sleep(1)


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


@pytest.mark.parametrize("talk", [silent, trickle, trickle_headers])
@pytest.mark.parametrize(("timeout", "limit"), [(0.2, 10.0), (10.0, 0.2)])
def test_a_server_that_hangs_holds_no_longer_than_the_limit(
    talk: Callable[[socket.socket], object], timeout: float, limit: float
) -> None:
    with server(talk) as port:
        began = time.monotonic()
        answer = answer_of(http(f"http://127.0.0.1:{port}/", timeout=timeout), limit=limit)
        assert time.monotonic() - began < 0.8
    assert answer == Answer(False, f"GET http://127.0.0.1:{port}/: no answer within 0 s")


def test_nobody_listens() -> None:
    port = free_port()
    refused = answer_of(http(f"http://127.0.0.1:{port}/"))
    assert not refused.ok
    assert "Connection refused" in refused.text
    check = Check("c", CheckKind.TCP, "client", target=f"127.0.0.1:{port}")
    assert answer_of(check).text.startswith(f"TCP 127.0.0.1:{port}: Connect failed")


def test_tcp() -> None:
    with server(lambda _: None) as port:
        check = Check("c", CheckKind.TCP, "client", target=f"localhost:{port}")
        assert answer_of(check) == Answer(True, f"TCP localhost:{port}: connected")


@pytest.mark.parametrize("kind", [CheckKind.TCP, CheckKind.HTTP])
def test_a_dead_connection_to_the_machine_is_not_an_answer(kind: CheckKind) -> None:
    ssh = LocalSsh("client")
    ssh.alive = False
    port = free_port()
    target = f"127.0.0.1:{port}" if kind is CheckKind.TCP else f"http://127.0.0.1:{port}/"
    with pytest.raises(MachineError, match="SSH connection to machine client is lost"):
        answer_of(Check("c", kind, "client", target=target), ssh)


def test_https_is_an_answer_too() -> None:
    with server(replies(b"")) as port:
        answer = answer_of(http(f"https://127.0.0.1:{port}/"))
    assert not answer.ok
    assert "https" in answer.text


# ------------------------------------------------------------------ through the agent


def by_agent(tmp_path: Path, check: Check, result: GuestResult, limit: float = 5.0, *, lost: bool = False) -> Answer:
    async def scenario() -> Answer:
        machine = FakeMachine("server", tmp_path / "journal")
        machine.answers = dict.fromkeys(("psql", "test", "systemctl"), lambda: result)
        machine.lost = lost
        return await attempt(check, machine.channels(), factor=1.0, deadline=Deadline.after(limit))

    return run_async(scenario())


def psql(stdout: str | None = None) -> Check:
    return Check("c", CheckKind.EXEC, "server", command=("psql", "-c", "select 1"), stdout=stdout, timeout=1.0)


@pytest.mark.parametrize(
    ("stdout", "result", "answer"),
    [
        (None, ok("whatever"), Answer(True, "psql exited with 0")),
        ("^1$", ok("notice\n1\n"), Answer(True, "psql printed 'notice\\n1'")),
        ("^1$", ok("11\n"), Answer(False, "psql printed '11', expected /^1$/")),
        ("^1$", bad("psql: error:\n  the database system is starting up\n", 2),
         Answer(False, "psql exited with 2: psql: error: the database system is starting up")),
    ],
)  # fmt: skip
def test_exec(tmp_path: Path, stdout: str | None, result: GuestResult, answer: Answer) -> None:
    assert by_agent(tmp_path, psql(stdout), result) == answer


def test_file_and_unit(tmp_path: Path) -> None:
    there = Check("c", CheckKind.FILE, "server", target="/run/x")
    assert by_agent(tmp_path, there, ok()) == Answer(True, "/run/x exists")
    assert by_agent(tmp_path, there, bad("")) == Answer(False, "/run/x does not exist")
    unit = Check("c", CheckKind.UNIT, "server", target="x.service")
    assert by_agent(tmp_path, unit, ok("active\n")) == Answer(True, "x.service is active")
    activating = GuestResult(3, b"activating\n", b"")
    assert by_agent(tmp_path, unit, activating) == Answer(False, "x.service is activating")


CHECKS = [
    psql(),
    Check("c", CheckKind.FILE, "server", target="/run/x"),
    Check("c", CheckKind.UNIT, "server", target="x.service"),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.kind.value)
def test_a_command_that_hangs_is_an_answer_and_a_lost_machine_is_not(tmp_path: Path, check: Check) -> None:
    began = time.monotonic()
    answer = by_agent(tmp_path, check, GuestResult(HANGS, b"", b""), 0.1)
    assert not answer.ok
    assert answer.text.endswith("no end within 0 s")
    assert time.monotonic() - began < 0.5
    with pytest.raises(MachineError, match="guest agent of machine server is lost"):
        by_agent(tmp_path, check, ok(), lost=True)
