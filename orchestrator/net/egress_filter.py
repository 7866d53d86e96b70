"""The egress filter between a machine and QEMU's NAT: only listed destinations pass.

QEMU's filter-redirector gives this process every frame the guest sends to its
user network, and takes back those that may go on. Without this process none
does. It looks at frames one by one and keeps no state: who is listed is
reached with the given protocol and port, the host's side of a forwarded
connection is answered, and nothing else leaves, names (DNS) and IPv6 included.

This file is also the process's program; it imports nothing but the standard
library and is run with ``python -I -S``.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

GATEWAY = bytes([10, 0, 2, 2])  # the host, as QEMU's user network shows it: its loopback
BROADCAST = b"\xff\xff\xff\xff"
ARP, IPV4 = b"\x08\x06", b"\x08\x00"
TCP, UDP = 6, 17
PROTOCOLS = {"tcp": TCP, "udp": UDP}
SYN, ACK = 0x02, 0x10
DHCP_SERVER = 67
CONNECT_LIMIT = 60.0  # seconds until QEMU has made its sockets, on the slowest host
REMEMBERED = 500  # destinations that were refused and told; a guest may try any number
LONGEST_FRAME = 1 << 20
QUEUE_LIMIT = 4 << 20  # bytes that wait for QEMU

Rule = tuple[int, bytes, int]  # protocol, address, port


def permitted(frame: bytes, rules: frozenset[Rule]) -> bool:
    """Whether an Ethernet frame of the guest may go on. Pure."""
    kind = frame[12:14]
    if kind == ARP:
        return True
    found = destination(frame)
    if found is None:
        return False
    protocol, address, port, flags = found
    if protocol == UDP and port == DHCP_SERVER and address in (BROADCAST, GATEWAY):
        return True
    # Of connections that the host made to a forwarded port; a SYN alone would open one to the host.
    if protocol == TCP and address == GATEWAY and flags & (SYN | ACK) != SYN:
        return True
    return (protocol, address, port) in rules


def destination(frame: bytes) -> tuple[int, bytes, int, int] | None:
    """Protocol, address, port and TCP flags of a whole IPv4 packet; None for anything else. Pure."""
    packet = frame[14:]
    if frame[12:14] != IPV4 or len(packet) < 20 or packet[0] >> 4 != 4:
        return None
    start = (packet[0] & 15) * 4
    protocol = packet[9]
    # A fragment hides its port, or replaces that of the one before it.
    fragment = int.from_bytes(packet[6:8], "big") & 0x3FFF
    if start < 20 or fragment or protocol not in (TCP, UDP) or len(packet) < start + (20 if protocol == TCP else 8):
        return None
    port = int.from_bytes(packet[start + 2 : start + 4], "big")
    return protocol, packet[16:20], port, packet[start + 13] if protocol == TCP else 0


def parse_rule(word: str) -> Rule:
    """``tcp:192.0.2.1:443``."""
    protocol, address, port = word.split(":")
    return PROTOCOLS[protocol], socket.inet_aton(address), int(port)


class Frames:
    """Takes apart what QEMU sends: each frame comes after its length, four bytes."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """The frames that are whole now.

        Raises:
            ValueError: no frame is so long; this is no stream of frames.
        """
        data, at = self._rest + piece, 0
        while len(data) - at >= 4:
            length = int.from_bytes(data[at : at + 4], "big")
            if length > LONGEST_FRAME:
                raise ValueError(f"a frame of {length} bytes")
            if len(data) - at < 4 + length:
                break
            yield data[at + 4 : at + 4 + length]
            at += 4 + length
        self._rest = data[at:]


class Log:
    """Each refused destination once, into the log; a limited number of them."""

    def __init__(self) -> None:
        self._told: set[str] = set()

    def refused(self, frame: bytes) -> None:
        found = destination(frame)
        if found is None:
            word = f"a frame of type {frame[12:14].hex()}"
        else:
            names = {number: name for name, number in PROTOCOLS.items()}
            word = f"{names[found[0]]} {socket.inet_ntoa(found[1])}:{found[2]}"
        if word not in self._told and len(self._told) < REMEMBERED:
            self._told.add(word)
            self.say(f"refused {word}")

    def say(self, text: str) -> None:
        """A line with its time; a disk that is full does not stop the filter."""
        with suppress(OSError):
            self._write(text)

    def _write(self, text: str) -> None:
        sys.stdout.write(f"{time.strftime('%FT%TZ', time.gmtime())} {text}\n")
        sys.stdout.flush()


def main(argv: list[str]) -> int:
    """Run until QEMU ends.

    Args:
        argv: sockets of frames from the guest and of those that go on, ``uid:gid`` to become or nothing, rules.
    """
    log = Log()
    outgoing, returned = _connect(argv[0]), _connect(argv[1])
    if outgoing is None or returned is None:
        log.say("QEMU did not open its sockets")
        return 1
    if argv[2]:
        user, group = argv[2].split(":")
        os.setgroups([])
        os.setgid(int(group))
        os.setuid(int(user))
    rules = frozenset(parse_rule(word) for word in argv[3:])
    log.say(f"{len(rules)} destinations are open")
    with suppress(ConnectionError):  # QEMU ended
        relay(outgoing, returned, rules, log)
    return 0


def relay(outgoing: socket.socket, returned: socket.socket, rules: frozenset[Rule], log: Log) -> None:
    """Take frames from one socket and put those that may go on into the other, until the first one's end.

    QEMU waits with everything until it got rid of a frame, and does not read meanwhile: so this always reads, and
    drops what QEMU does not take, as a full network does.
    """
    frames = Frames()
    queue = bytearray()
    for one in (outgoing, returned):
        one.setblocking(False)
    while True:
        readable, writable, _ = select.select([outgoing], [returned] if queue else [], [])
        if readable:
            piece = outgoing.recv(1 << 18)
            if not piece:
                return
            for frame in frames.feed(piece):
                if not permitted(frame, rules):
                    log.refused(frame)
                elif len(queue) < QUEUE_LIMIT:
                    queue += len(frame).to_bytes(4, "big") + frame
        if writable:
            with suppress(BlockingIOError):
                del queue[: returned.send(queue)]


def _connect(path: str) -> socket.socket | None:
    end = time.monotonic() + CONNECT_LIMIT
    while time.monotonic() < end:
        found = socket.socket(socket.AF_UNIX)
        try:
            found.connect(path)
        except OSError:
            found.close()
            time.sleep(0.02)
            continue
        return found
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
