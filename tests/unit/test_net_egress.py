"""The egress filter of a machine: which frames pass, names and their addresses, and the process itself."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from fake_qemu import run_async
from topology_parts import machine

from orchestrator.deadline import Deadline
from orchestrator.errors import HostError
from orchestrator.net import egress, egress_filter
from orchestrator.net.egress import addresses_of, names_script, rules_of, start_filter
from orchestrator.net.egress_filter import ACK, SYN, Frames, parse_rule, permitted
from orchestrator.process import exit_code
from orchestrator.process_id import ProcessId, watch_end
from orchestrator.topology.model import Destination, Machine
from orchestrator.vm.arguments import MachinePaths

RST = 0x04
RULES = frozenset({parse_rule("tcp:192.0.2.7:443"), parse_rule("udp:192.0.2.7:3478")})


def packet(
    address: str, port: int, *, protocol: int = 6, flags: int = SYN, fragment: int = 0, options: int = 0
) -> bytes:
    """An Ethernet frame as a guest sends it."""
    head = bytes([0x40 | (5 + options), 0]) + struct.pack(">HHHBBH", 60, 1, fragment, 64, protocol, 0)
    head += socket.inet_aton("10.0.2.15") + socket.inet_aton(address) + bytes(4 * options)
    body = struct.pack(">HH", 40000, port) + (bytes(9) + bytes([flags]) + bytes(6) if protocol == 6 else bytes(4))
    return bytes(12) + b"\x08\x00" + head + body


@pytest.mark.parametrize(
    ("frame", "wanted"),
    [
        (packet("192.0.2.7", 443), True),
        (packet("192.0.2.7", 443, flags=ACK), True),
        (packet("192.0.2.7", 443, options=3), True),
        (packet("192.0.2.7", 3478, protocol=17), True),
        (packet("192.0.2.7", 444), False),
        (packet("192.0.2.8", 443), False),
        (packet("192.0.2.7", 443, protocol=17), False),
        (packet("192.0.2.7", 3478), False),
        (packet("192.0.2.7", 443, protocol=1), False),
        (packet("192.0.2.7", 443, protocol=41), False),
        # fragments: the first, a later one
        (packet("192.0.2.7", 443, fragment=0x2000), False),
        (packet("192.0.2.7", 443, fragment=5), False),
        (packet("192.0.2.7", 443, fragment=0x4000), True),  # "do not fragment" is none
        # the host: answers on forwarded ports pass, new connections do not
        (packet("10.0.2.2", 50000, flags=SYN | ACK), True),
        (packet("10.0.2.2", 50000, flags=ACK), True),
        (packet("10.0.2.2", 22, flags=SYN), False),
        (packet("10.0.2.2", 50000, flags=RST), True),  # a service that is gone
        (packet("10.0.2.2", 22, flags=SYN | RST), False),
        (packet("10.0.2.2", 22, protocol=17), False),
        # name servers, DHCP
        (packet("10.0.2.3", 53, protocol=17), False),
        (packet("10.0.2.3", 53), False),
        (packet("255.255.255.255", 67, protocol=17), True),
        (packet("10.0.2.2", 67, protocol=17), True),
        (packet("255.255.255.255", 68, protocol=17), False),
        # not IPv4
        (bytes(12) + b"\x08\x06" + bytes(28), True),
        (bytes(12) + b"\x86\xdd" + bytes(60), False),
        (bytes(12) + b"\x81\x00\x00\x01" + packet("192.0.2.7", 443)[12:], False),
    ],
)
def test_what_passes(frame: bytes, wanted: bool) -> None:
    assert permitted(frame, RULES) is wanted


def test_no_cut_off_frame_passes() -> None:
    whole = packet("192.0.2.7", 443)
    assert not any(permitted(whole[:length], RULES) for length in range(len(whole) - 2))
    wrong = bytearray(whole)
    wrong[14] = 0x44  # a header shorter than its own fields
    assert not permitted(bytes(wrong), RULES)
    wrong[14] = 0x65  # another version
    assert not permitted(bytes(wrong), RULES)


def test_frames_come_in_any_pieces() -> None:
    sent = [b"a" * 60, b"", b"b" * 1514]
    stream = b"".join(len(one).to_bytes(4, "big") + one for one in sent)
    for size in (1, 3, 64, 10_000):
        found = Frames()
        pieces = [stream[n : n + size] for n in range(0, len(stream), size)]
        assert [frame for piece in pieces for frame in found.feed(piece)] == sent
    with pytest.raises(ValueError, match="a frame of"):
        list(Frames().feed(b"\xff\xff\xff\xff"))


OPEN = Machine(
    "server",
    "image",
    1,
    512,
    destinations=(
        Destination("api.example.org", 443),
        Destination("api.example.org", 3478, "udp"),
        Destination("192.0.2.9", 80),
    ),
)
ADDRESSES = {"api.example.org": ("192.0.2.7", "192.0.2.8"), "192.0.2.9": ("192.0.2.9",)}


def test_rules_are_of_addresses() -> None:
    assert rules_of(OPEN.destinations, ADDRESSES) == [
        "tcp:192.0.2.7:443",
        "tcp:192.0.2.8:443",
        "tcp:192.0.2.9:80",
        "udp:192.0.2.7:3478",
        "udp:192.0.2.8:3478",
    ]


def test_names_replace_those_of_an_earlier_start(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n192.168.1.2 server\n")

    def play(addresses: dict[str, tuple[str, ...]]) -> str:
        script = names_script(addresses).replace("/etc/hosts", str(hosts))
        subprocess.run(["sh", "-s"], input=script, text=True, check=True)
        return hosts.read_text()

    kept = "127.0.0.1 localhost\n192.168.1.2 server\n"
    assert play(ADDRESSES) == kept + "192.0.2.7 api.example.org # egress\n192.0.2.8 api.example.org # egress\n"
    assert play({"other": ("192.0.2.1",)}) == kept + "192.0.2.1 other # egress\n"
    assert play({}) == kept


def test_addresses_come_from_the_hosts_resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"api.example.org": ["192.0.2.8", "192.0.2.7", "192.0.2.7"], "192.0.2.9": ["192.0.2.9"]}
    known["me"] = ["127.0.1.1"]

    def answer(name: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        if name not in known:
            raise socket.gaierror(-2, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0)) for one in known[name]]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    assert run_async(addresses_of(OPEN, Deadline.after(5))) == ADDRESSES
    here = Machine("server", "image", 1, 512, destinations=(Destination("me", 1),))
    assert run_async(addresses_of(here, Deadline.after(5))) == {"me": ("10.0.2.2",)}
    missing = Machine("server", "image", 1, 512, destinations=(Destination("none.example.org", 443),))
    with pytest.raises(HostError, match=r"none\.example\.org has no address, and machine server needs it"):
        run_async(addresses_of(missing, Deadline.after(5)))
    assert run_async(addresses_of(machine("server"), Deadline.after(5))) == {}


def test_a_resolver_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress, "RESOLVE_LIMIT", 0.1)
    given_up = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: given_up.wait(30))
    with pytest.raises(HostError) as caught:
        run_async(addresses_of(OPEN, Deadline.after(5)))
    given_up.set()
    assert "did not answer within" in caught.value.why


def test_the_process_lets_pass_what_may_and_tells_the_rest_once(tmp_path: Path) -> None:
    paths = MachinePaths(tmp_path, tmp_path, tmp_path)
    log = tmp_path / "egress.log"
    with socket.socket(socket.AF_UNIX) as outgoing, socket.socket(socket.AF_UNIX) as returned:
        user = "60599:60599" if os.geteuid() == 0 else ""
        # Before QEMU has made its sockets.
        process = start_filter(OPEN, paths, ADDRESSES, log, {"LANG": "C", "TOKEN": "secret"}, user)
        for listener, path in ((outgoing, paths.egress_out), (returned, paths.egress_in)):
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(10)
        limit = Deadline.after(5)
        while not (found := Path(f"/proc/{process.pid}/environ").read_bytes()) and not limit.expired:
            time.sleep(0.01)  # while it changes its user the kernel shows nothing
        assert found == b"LANG=C\0"
        out, back = outgoing.accept()[0], returned.accept()[0]
        passing = [packet("192.0.2.7", 443), packet("192.0.2.9", 80)]
        for frame in (passing[0], packet("192.0.2.1", 25), packet("192.0.2.1", 25), bytes(60), passing[1]):
            out.sendall(len(frame).to_bytes(4, "big") + frame)
        back.settimeout(10)
        received = b""
        while len(received) < sum(4 + len(frame) for frame in passing):
            received += back.recv(1 << 16)
        assert list(Frames().feed(received)) == passing
        if user:
            status = Path(f"/proc/{process.pid}/status").read_text()
            assert status.partition("Uid:")[2].partition("\n")[0].split() == ["60599"] * 4
        out.close()
        back.close()
    run_async(ended(process))
    assert [line.partition(" ")[2] for line in log.read_text().splitlines()] == [
        "5 destinations are open",
        "refused tcp 192.0.2.1:25",
        "refused a frame of type 0000",
    ]
    assert exit_code(process) == 0


async def ended(process: ProcessId) -> None:
    async with Deadline.after(10).enforce():
        await watch_end(process)


def test_a_qemu_that_does_not_read_is_never_waited_for() -> None:
    """It writes all it has before it reads again; two that wait for each other would wait for ever."""
    qemu_out, outgoing = socket.socketpair()
    qemu_in, returned = socket.socketpair()
    with qemu_out, outgoing, qemu_in, returned:
        filtering = threading.Thread(target=egress_filter.relay, args=(outgoing, returned, RULES, egress_filter.Log()))
        filtering.start()
        frame = packet("192.0.2.7", 3478, protocol=17) + bytes(1400)
        qemu_out.settimeout(20)
        for _ in range(20_000):  # 29 MB, more than it keeps
            qemu_out.sendall(len(frame).to_bytes(4, "big") + frame)
        qemu_in.settimeout(1)
        found, passed = Frames(), 0
        with suppress(TimeoutError):
            while piece := qemu_in.recv(1 << 20):
                for one in found.feed(piece):
                    assert one == frame, "whole frames are dropped, never a part"
                    passed += 1
        qemu_out.shutdown(socket.SHUT_WR)
        filtering.join(10)
        assert not filtering.is_alive()
        assert 1000 < passed < 20_000


def test_a_full_disk_does_not_stop_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    log = egress_filter.Log()
    monkeypatch.setattr(log, "_write", full)
    log.refused(packet("192.0.2.1", 25))


def test_what_is_told_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    log = egress_filter.Log()
    for number in range(2 * egress_filter.REMEMBERED):
        log.refused(packet("192.0.2.1", number + 1))
    assert len(capsys.readouterr().out.splitlines()) == egress_filter.REMEMBERED


def test_a_filter_without_qemu_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(egress_filter, "CONNECT_LIMIT", 0.1)
    assert egress_filter.main([str(tmp_path / "a"), str(tmp_path / "b"), ""]) == 1
