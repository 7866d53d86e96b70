"""The mock of LiveKit: rooms, tokens and its WebSocket, also with LiveKit's own client library."""

# mypy: disable-error-code="import-not-found"
# The stand-in is a program of its own, outside the package that mypy is pointed at.
from __future__ import annotations

import asyncio
import socket
import struct
from io import BytesIO

import pytest
from mock_server import NOW, decoded, post, served  # puts the mocks on the path

# isort: split
from alicia_mocks import websocket
from alicia_mocks.http import Request
from alicia_mocks.livekit import MockLiveKit
from alicia_mocks.websocket import Opcode
from alicia_standin import tokens


def room_call(livekit: MockLiveKit, method: str, data: object, token: str | None = None) -> tuple[int, object]:
    given = tokens.room_service("key", "secret", NOW) if token is None else token
    headers = {"content-type": "application/json", "authorization": f"Bearer {given}"}
    answer = livekit(post(f"/twirp/livekit.RoomService/{method}", data, **headers))
    return answer.status, decoded(answer)


def test_rooms_are_created_once_listed_and_deleted() -> None:
    livekit = MockLiveKit("key", "secret", lambda: NOW)
    status, room = room_call(livekit, "CreateRoom", {"name": "a"})
    assert status == 200
    assert isinstance(room, dict)
    assert room["name"] == "a"
    assert room_call(livekit, "CreateRoom", {"name": "a"}) == (200, room)
    assert room_call(livekit, "ListRooms", {}) == (200, {"rooms": [room]})
    assert room_call(livekit, "ListRooms", {"names": ["b"]}) == (200, {"rooms": []})
    assert room_call(livekit, "DeleteRoom", {"room": "a"}) == (200, {})
    assert room_call(livekit, "DeleteRoom", {"room": "a"})[0] == 404
    assert room_call(livekit, "CreateRoom", {})[0] == 400


def test_the_room_service_wants_a_token_with_the_grant_and_json() -> None:
    livekit = MockLiveKit("key", "secret", lambda: NOW)
    assert room_call(livekit, "CreateRoom", {"name": "a"}, "")[0] == 401
    assert room_call(livekit, "CreateRoom", {"name": "a"}, tokens.room_service("key", "wrong", NOW))[0] == 401
    guest, _ = tokens.participant("key", "secret", "a", "p", "p", NOW)
    assert room_call(livekit, "CreateRoom", {"name": "a"}, guest)[0] == 403
    assert room_call(livekit, "MuteRoom", {})[0] == 404
    plain = {"content-type": "text/plain", "authorization": "Bearer x"}
    answer = livekit(post("/twirp/livekit.RoomService/ListRooms", {}, **plain))
    assert (answer.status, decoded(answer)["code"]) == (404, "bad_route")


def test_protobuf_that_is_none_is_malformed() -> None:
    token = tokens.room_service("key", "secret", NOW)
    headers = {"content-type": "application/protobuf", "authorization": f"Bearer {token}"}
    request = Request("POST", "/twirp/livekit.RoomService/CreateRoom", headers=headers, body=b"\xff\xff")
    answer = MockLiveKit("key", "secret", lambda: NOW)(request)
    assert (answer.status, decoded(answer)["code"]) == (400, "malformed")


def test_livekits_own_client_library_makes_rooms() -> None:
    """It sends protobuf, as the libraries for Go, Rust and Node.js do."""
    from livekit import api

    async def work(url: str) -> None:
        async with api.LiveKitAPI(url, "key", "a-secret-of-more-than-32-characters") as client:
            made = await client.room.create_room(api.CreateRoomRequest(name="conv_1", empty_timeout=60, metadata="ä"))
            assert (made.name, made.empty_timeout, made.metadata) == ("conv_1", 60, "ä")
            assert made.sid.startswith("RM_")
            rooms = (await client.room.list_rooms(api.ListRoomsRequest(names=["conv_1"]))).rooms
            assert [room.sid for room in rooms] == [made.sid]
            present = await client.room.list_participants(api.ListParticipantsRequest(room="conv_1"))
            assert list(present.participants) == []
            await client.room.delete_room(api.DeleteRoomRequest(room="conv_1"))
            with pytest.raises(api.TwirpError) as refused:
                await client.room.delete_room(api.DeleteRoomRequest(room="conv_1"))
            assert refused.value.code == "not_found"
            assert list((await client.room.list_rooms(api.ListRoomsRequest())).rooms) == []

    with served(MockLiveKit("key", "a-secret-of-more-than-32-characters")) as (host, port):
        asyncio.run(work(f"http://{host}:{port}"))


def test_rtc_wants_a_token_that_allows_to_join() -> None:
    livekit = MockLiveKit("key", "secret", lambda: NOW)
    guest, _ = tokens.participant("key", "secret", "a", "p", "p", NOW)
    operator = tokens.room_service("key", "secret", NOW)
    assert livekit(Request("GET", "/rtc", {"access_token": "bad"})).status == 401
    assert livekit(Request("GET", "/rtc", {"access_token": operator})).status == 401
    assert livekit(Request("GET", "/rtc", {"access_token": guest})).status == 400
    assert livekit(Request("GET", "/rtc/validate", {"access_token": guest})).status == 200


# ------------------------------------------------------------------ WebSocket frames


def client_frame(opcode: int, payload: bytes) -> bytes:
    mask = b"\x01\x02\x03\x04"
    assert len(payload) < 126
    masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
    return bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked


def test_handshake_of_the_standard() -> None:
    """The example of RFC 6455, section 1.3."""
    asked = {"upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
    answer = websocket.accept_headers(asked)
    assert answer is not None
    assert answer["Sec-WebSocket-Accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert websocket.accept_headers({}) is None


def test_frames_are_read_unmasked() -> None:
    stream = BytesIO(client_frame(1, b"hello") + b"\x89\x80\x01\x02\x03\x04")
    assert websocket.read_frame(stream) == websocket.Frame(Opcode.TEXT, b"hello")
    assert websocket.read_frame(stream) == websocket.Frame(Opcode.PING, b"")
    assert websocket.read_frame(stream) is None


@pytest.mark.parametrize("data", [b"\x81\x01x", b"\x83\x80", b"\x81\xff" + b"\x7f" * 8])
def test_frames_against_the_protocol(data: bytes) -> None:
    with pytest.raises(websocket.ProtocolError):
        websocket.read_frame(BytesIO(data))


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_lengths_of_frames(size: int) -> None:
    data = websocket.frame_bytes(Opcode.BINARY, b"x" * size)
    assert data.endswith(b"x" * size)
    assert len(data) == size + (2 if size < 126 else 4 if size < 65_536 else 10)


def test_rtc_answers_pings_and_the_closing_frame() -> None:
    guest, _ = tokens.participant("key", "secret", "a", "p", "p", NOW)
    with (
        served(MockLiveKit("key", "secret", lambda: NOW)) as address,
        socket.create_connection(address, timeout=5) as connection,
    ):
        connection.sendall(
            f"GET /rtc?access_token={guest} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        stream = connection.makefile("rb")
        assert stream.readline().startswith(b"HTTP/1.1 101")
        while stream.readline().strip():
            pass
        connection.sendall(client_frame(9, b"abc") + client_frame(1, b'{"type":"ping"}'))
        connection.sendall(client_frame(8, struct.pack("!H", 1000)))
        assert stream.read() == (
            websocket.frame_bytes(Opcode.PONG, b"abc")
            + websocket.frame_bytes(Opcode.TEXT, b'{"type":"pong"}')
            + websocket.close_bytes(1000)
        )
