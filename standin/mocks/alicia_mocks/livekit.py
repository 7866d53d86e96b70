"""The part of LiveKit that Alicia's HTTP interface needs: rooms over Twirp, and ``/rtc``.

Twirp is spoken in JSON and in protobuf, which LiveKit's own client libraries
use. On ``/rtc`` a client with a valid token is let in and its pings are
answered; no signalling and no media follow, so a browser stays connecting.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BufferedIOBase
from threading import Lock
from typing import Any

from alicia_mocks import messages, tokens, websocket
from alicia_mocks.http import Request, Response, as_json
from alicia_mocks.websocket import Opcode

_SERVICE = "/twirp/livekit.RoomService/"
_STATUS = {
    "unauthenticated": 401,
    "permission_denied": 403,
    "bad_route": 404,
    "not_found": 404,
    "internal": 500,
    "unimplemented": 501,
}
_JSON, _PROTOBUF = "application/json", "application/protobuf"
Table = dict[str, Any]


@dataclass(frozen=True)
class _Method:
    """One call of the room service: the grant it needs, and its messages' names in the published .proto files."""

    grant: str
    asks: str
    answers: str
    call: Callable[[Table], Table]


class TwirpError(Exception):
    """Answered as ``{"code", "msg"}`` with the HTTP status that Twirp assigns to the code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def response(self) -> Response:
        """Twirp's errors are JSON, whatever the request was."""
        return as_json({"code": self.code, "msg": str(self)}, _STATUS.get(self.code, 400))


class MockLiveKit:
    """The application: rooms live in memory.

    Args:
        key, secret: the API key and the secret tokens are signed with.
        clock: seconds since the epoch.
        delay: seconds before each answer of the room service.
    """

    def __init__(self, key: str, secret: str, clock: Callable[[], float] = time.time, delay: float = 0.0) -> None:
        self._key = key
        self._secret = secret
        self._clock = clock
        self._delay = delay
        self._lock = Lock()
        self._rooms: dict[str, Table] = {}
        self._methods = {
            "CreateRoom": _Method("roomCreate", "CreateRoomRequest", "Room", self._create),
            "ListRooms": _Method("roomList", "ListRoomsRequest", "ListRoomsResponse", self._list),
            "DeleteRoom": _Method("roomCreate", "DeleteRoomRequest", "DeleteRoomResponse", self._delete),
            "UpdateRoomMetadata": _Method("roomAdmin", "UpdateRoomMetadataRequest", "Room", self._describe),
            "ListParticipants": _Method(
                "roomAdmin", "ListParticipantsRequest", "ListParticipantsResponse", self._participants
            ),
            "GetParticipant": _Method("roomAdmin", "RoomParticipantIdentity", "ParticipantInfo", self._participant),
            "RemoveParticipant": _Method(
                "roomAdmin", "RoomParticipantIdentity", "RemoveParticipantResponse", self._participant
            ),
            "SendData": _Method("roomAdmin", "SendDataRequest", "SendDataResponse", self._send_data),
        }

    def __call__(self, request: Request) -> Response:
        if request.path == "/" and request.method in ("GET", "HEAD"):
            return Response(200, b"OK", "text/plain; charset=utf-8")
        if request.path in ("/rtc", "/rtc/validate"):
            return self._rtc(request)
        if request.path.startswith(_SERVICE):
            if self._delay > 0:
                time.sleep(self._delay)
            try:
                return self._call(request)
            except TwirpError as error:
                return error.response()
        return Response(404, b"404 page not found\n", "text/plain; charset=utf-8")

    def _call(self, request: Request) -> Response:
        name = request.path.removeprefix(_SERVICE)
        if request.method != "POST" or name not in self._methods:
            raise TwirpError("bad_route", f"no handler for {request.method} {request.path}")
        form = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if form not in (_JSON, _PROTOBUF):
            raise TwirpError("bad_route", f"unexpected Content-Type: {form!r}")
        method = self._methods[name]
        self._allow(request, method.grant)
        if form == _JSON:
            return as_json(method.call(_json_object(request.body)))
        try:
            answer = method.call(messages.decode(method.asks, request.body))
            return Response(200, messages.encode(method.answers, answer), _PROTOBUF)
        except messages.Malformed as error:
            raise TwirpError("malformed", f"the body is no {method.asks}: {error}") from None
        except messages.Unavailable as error:
            raise TwirpError("internal", str(error)) from None

    def _allow(self, request: Request, grant: str) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            claims = tokens.verify(token if scheme.lower() == "bearer" else "", *self._credentials())
        except tokens.BadToken as error:
            raise TwirpError("unauthenticated", str(error)) from None
        video = claims.get("video")
        if not isinstance(video, dict) or video.get(grant) is not True:
            raise TwirpError("permission_denied", f"the token does not grant {grant}")

    def _credentials(self) -> tuple[str, str, float]:
        return self._key, self._secret, self._clock()

    def _create(self, data: Table) -> Table:
        name = data.get("name")
        if not isinstance(name, str) or not name:
            raise TwirpError("invalid_argument", "a room needs a name")
        with self._lock:
            if name not in self._rooms:
                self._rooms[name] = {
                    "sid": f"RM_{len(self._rooms) + 1:012d}",
                    "name": name,
                    "empty_timeout": data.get("empty_timeout", data.get("emptyTimeout", 300)),
                    "metadata": str(data.get("metadata", "")),
                    "creation_time": str(int(self._clock())),
                    "num_participants": 0,
                }
            return dict(self._rooms[name])

    def _list(self, data: Table) -> Table:
        names = data.get("names") or []
        with self._lock:
            rooms = [dict(room) for room in self._rooms.values()]
        if isinstance(names, list) and names:
            rooms = [room for room in rooms if room["name"] in names]
        return {"rooms": rooms}

    def _delete(self, data: Table) -> Table:
        with self._lock:
            del self._rooms[self._known(data)]
        return {}

    def _describe(self, data: Table) -> Table:
        with self._lock:
            room = self._rooms[self._known(data)]
            room["metadata"] = str(data.get("metadata", ""))
            return dict(room)

    def _participants(self, data: Table) -> Table:
        with self._lock:
            self._known(data)
        return {"participants": []}

    def _participant(self, data: Table) -> Table:
        """Nobody is ever in a room."""
        with self._lock:
            self._known(data)
        raise TwirpError("not_found", "participant does not exist")

    def _send_data(self, data: Table) -> Table:
        with self._lock:
            self._known(data)
        return {}

    def _known(self, data: Mapping[str, object]) -> str:
        """The name of the room that is asked for; the lock is held."""
        name = data.get("room")
        if not isinstance(name, str) or name not in self._rooms:
            raise TwirpError("not_found", "requested room does not exist")
        return name

    def _rtc(self, request: Request) -> Response:
        token = request.query.get("access_token") or request.headers.get("authorization", "").removeprefix("Bearer ")
        try:
            claims = tokens.verify(token, *self._credentials())
        except tokens.BadToken as error:
            return Response(401, f"{error}\n".encode(), "text/plain; charset=utf-8")
        video = claims.get("video")
        if not isinstance(video, dict) or video.get("roomJoin") is not True:
            return Response(401, b"the token does not allow to join a room\n", "text/plain; charset=utf-8")
        if request.path == "/rtc/validate":
            return Response(200, b"success", "text/plain; charset=utf-8")
        headers = websocket.accept_headers(request.headers)
        if headers is None:
            return Response(400, b"a WebSocket is expected here\n", "text/plain; charset=utf-8")
        return Response(101, headers=headers, takeover=serve_signal)


def _json_object(body: bytes) -> Table:
    try:
        data = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise TwirpError("malformed", "the body is not JSON") from None
    if not isinstance(data, dict):
        raise TwirpError("malformed", "the body must be a JSON object")
    return data


def serve_signal(reader: BufferedIOBase, writer: BufferedIOBase) -> None:
    """Answer pings, of the protocol and as ``{"type":"ping"}``, until the peer closes."""

    def send(data: bytes) -> None:
        writer.write(data)
        writer.flush()

    while True:
        try:
            frame = websocket.read_frame(reader)
        except websocket.ProtocolError as error:
            send(websocket.close_bytes(1002, str(error)))
            return
        if frame is None:
            return
        if frame.opcode is Opcode.CLOSE:
            send(websocket.frame_bytes(Opcode.CLOSE, frame.payload[:2]))
            return
        if frame.opcode is Opcode.PING:
            send(websocket.frame_bytes(Opcode.PONG, frame.payload))
        elif frame.opcode is Opcode.TEXT and _is_ping(frame.payload):
            send(websocket.frame_bytes(Opcode.TEXT, b'{"type":"pong"}'))


def _is_ping(payload: bytes) -> bool:
    try:
        data = json.loads(payload)
    except (ValueError, RecursionError):
        return False
    return isinstance(data, dict) and data.get("type") == "ping"
