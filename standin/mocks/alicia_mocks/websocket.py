"""The server's side of a WebSocket (RFC 6455) over two byte streams, without extensions."""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha1
from io import BufferedIOBase

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MAX_PAYLOAD = 1024 * 1024


class Opcode(IntEnum):
    CONTINUATION = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class ProtocolError(Exception):
    """The peer does not speak WebSocket; the connection must end."""


@dataclass(frozen=True)
class Frame:
    opcode: Opcode
    payload: bytes
    final: bool = True


def accept_headers(headers: Mapping[str, str]) -> dict[str, str] | None:
    """The headers of the 101 answer, or None when no upgrade was asked for."""
    key = headers.get("sec-websocket-key", "")
    wanted = "websocket" in headers.get("upgrade", "").lower()
    if not wanted or not key or headers.get("sec-websocket-version") != "13":
        return None
    # SHA-1 is what the protocol prescribes; it guards nothing here.
    accept = b64encode(sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
    return {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": accept}


def read_frame(stream: BufferedIOBase) -> Frame | None:
    """The next frame of a client, None at the end of the stream.

    Raises:
        ProtocolError: unmasked, too long, or of an unknown kind.
    """
    head = stream.read(2)
    if len(head) < 2:
        return None
    try:
        opcode = Opcode(head[0] & 0x0F)
    except ValueError:
        raise ProtocolError(f"unknown opcode {head[0] & 0x0F}") from None
    if not head[1] & 0x80:
        raise ProtocolError("a client must mask its frames")
    length = head[1] & 0x7F
    if length == 126:
        (length,) = struct.unpack("!H", stream.read(2))
    elif length == 127:
        (length,) = struct.unpack("!Q", stream.read(8))
    if length > MAX_PAYLOAD:
        raise ProtocolError("the frame is too long")
    mask = stream.read(4)
    payload = stream.read(length)
    if len(mask) < 4 or len(payload) < length:
        return None
    plain = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return Frame(opcode, plain, bool(head[0] & 0x80))


def frame_bytes(opcode: Opcode, payload: bytes) -> bytes:
    """A whole frame as a server sends it."""
    head = bytes([0x80 | opcode])
    if len(payload) < 126:
        return head + bytes([len(payload)]) + payload
    if len(payload) < 65_536:
        return head + b"\x7e" + struct.pack("!H", len(payload)) + payload
    return head + b"\x7f" + struct.pack("!Q", len(payload)) + payload


def close_bytes(code: int, reason: str = "") -> bytes:
    """A closing frame."""
    return frame_bytes(Opcode.CLOSE, struct.pack("!H", code) + reason.encode()[:123])
