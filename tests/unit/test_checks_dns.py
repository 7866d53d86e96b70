"""The check `dns`: the guest's resolver, and a name server that is asked by the guest's own shell."""

from __future__ import annotations

import asyncio
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from topology_samples import completed, one, write

from orchestrator.guest.agent import GuestResult
from orchestrator.services.checks.dns import DnsCheck, DnsError, address_and_port, decode, encode
from orchestrator.topology.check_kind import CheckResult, Guest
from orchestrator.topology.effective import from_dict, to_dict, to_toml
from orchestrator.topology.load import load_topology

NXDOMAIN = 3


class ThisHost:
    """A guest whose commands are run here."""

    async def run(self, command: Sequence[str], *, user: str = "root") -> GuestResult:
        done = await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=20, check=False)
        return GuestResult(done.returncode, done.stdout, done.stderr)


def result_of(check: DnsCheck) -> CheckResult:
    return asyncio.run(check.run(cast("Guest", ThisHost())))


def answer(question: bytes, addresses: Sequence[str] = (), code: int = 0) -> bytes:
    """What a name server says, with names as pointers; only the addresses of the type that was asked for."""
    kind = struct.unpack("!H", question[-4:-2])[0]
    wanted = [ip_address(a).packed for a in addresses if (":" in a) == (kind == 28)]
    alias = b"\xc0\x0c" + struct.pack("!HHIH", 5, 1, 60, 2) + b"\xc0\x0c"
    records = [alias, *(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data for data in wanted)]
    header = question[:2] + struct.pack("!5H", 0x8180 | code, 1, len(records), 0, 0)
    return header + question[12:] + b"".join(records)


@contextmanager
def name_server(talk: Callable[[bytes], bytes]) -> Iterator[str]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def serve() -> None:
            while True:
                question, peer = server.recvfrom(4096)
                if question == b"end":
                    return
                server.sendto(talk(question), peer)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
                other.sendto(b"end", server.getsockname())
            thread.join(10)


def test_the_resolver_of_the_guest() -> None:
    assert result_of(DnsCheck("localhost")).ok
    assert result_of(DnsCheck("nobody.invalid")) == CheckResult(False, "DNS nobody.invalid: does not resolve")
    wrong = result_of(DnsCheck("localhost", ("192.0.2.7",)))
    assert not wrong.ok
    assert wrong.text.endswith("; expected 192.0.2.7")


def test_a_name_server_is_asked() -> None:
    known = ("192.0.2.7", "192.0.2.8", "2001:db8::1")
    with name_server(lambda question: answer(question, known)) as server:
        plain = result_of(DnsCheck("shop.example", nameserver=server))
        assert plain == CheckResult(True, f"DNS shop.example from {server}: 192.0.2.7, 192.0.2.8")
        assert result_of(DnsCheck("shop.example", ("192.0.2.8", "2001:db8::1"), server)).ok
        six = result_of(DnsCheck("shop.example", ("2001:db8::2",), server))
        assert six == CheckResult(False, f"DNS shop.example from {server}: 2001:db8::1; expected 2001:db8::2")


@pytest.mark.parametrize(
    ("talk", "text"),
    [
        (lambda question: answer(question, code=NXDOMAIN), "NXDOMAIN"),
        (lambda question: answer(question), "does not resolve"),
        (lambda question: b"x", "an answer that is none"),
        (lambda question: answer(b"xx" + question[2:]), "an answer to another question"),
    ],
)
def test_answers_without_an_address(talk: Callable[[bytes], bytes], text: str) -> None:
    with name_server(talk) as server:
        found = result_of(DnsCheck("shop.example", nameserver=server))
    assert found == CheckResult(False, f"DNS shop.example from {server}: {text}")


def test_nobody_listens() -> None:
    with name_server(lambda question: b"") as server:
        pass
    found = result_of(DnsCheck("shop.example", nameserver=server))
    assert not found.ok
    assert found.text.startswith(f"DNS shop.example from {server}: ")


@given(st.binary(max_size=100))
def test_no_message_ends_the_program(rest: bytes) -> None:
    message = encode("a.b", 1)[:2] + b"\x81\x80" + rest
    try:
        decode(message)
    except DnsError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("server", "place"),
    [
        ("10.0.0.1", ("10.0.0.1", 53)),
        ("10.0.0.1:5353", ("10.0.0.1", 5353)),
        ("fd00::1", ("fd00::1", 53)),
        ("[fd00::1]:5353", ("fd00::1", 5353)),
    ],
)
def test_where_a_name_server_is(server: str, place: tuple[str, int]) -> None:
    assert address_and_port(server) == place


CHECK = '[services.web]\nmachine = "server"\nunit = "a.service"\n[services.web.checks.it]\n'


def test_it_is_read_written_and_recorded(tmp_path: Path) -> None:
    written = 'dns = "shop.example"\naddresses = ["192.0.2.7", "2001:DB8::1"]\nnameserver = "10.0.0.1:5353"\n'
    topology = load_topology(write(tmp_path, completed(CHECK + written)))
    check = topology.services["web"].checks[0]
    assert check.spec == DnsCheck("shop.example", ("192.0.2.7", "2001:db8::1"), "10.0.0.1:5353")
    assert 'addresses = ["192.0.2.7", "2001:db8::1"]\nnameserver = "10.0.0.1:5353"\n' in to_toml(topology)
    assert from_dict(to_dict(topology)) == topology


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('dns = "a b"', '"dns" in check "it" in service "web": expected the name of a host like "server", found'),
        (
            'dns = "a"\naddresses = ["b"]',
            'item 1 of "addresses" in check "it" in service "web": expected an IP address',
        ),
        ('dns = "a"\nnameserver = "dns.example"', '"nameserver" in check "it" in service "web": expected an address'),
        ('tcp = "a:1"\nnameserver = "10.0.0.1"', '"nameserver" belongs to dns checks, but check "it" in service "web"'),
    ],
)
def test_what_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    assert one(tmp_path, CHECK + text + "\n").startswith(problem)
