"""The part of LiveKit that Alicia's HTTP interface needs: rooms over Twirp, and ``/rtc``.

Twirp is spoken in JSON only. LiveKit's own client libraries send protobuf; they
are answered with Twirp's error for a content type that is not supported. On
``/rtc`` a client with a valid token is let in and its pings are answered; no
signalling and no media follow.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from io import BufferedIOBase
from threading import Lock

from alicia_mocks import tokens, websocket
from alicia_mocks.http import Request, Response, as_json
from alicia_mocks.websocket import Opcode

_SERVICE = "/twirp/livekit.RoomService/"
_STATUS = {"unauthenticated": 401, "permission_denied": 403, "bad_route": 404, "not_found": 404}


class TwirpError(Exception):
    """Answered as ``{"code", "msg"}`` with the HTTP status that Twirp assigns to the code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def response(self) -> Response:
        return as_json({"code": self.code, "msg": str(self)}, _STATUS.get(self.code, 400))


class MockLiveKit:
    """The application: rooms live in memory.

    Args:
        key, secret: the API key and the secret tokens are signed with.
        clock: seconds since the epoch.
    """

    def __init__(self, key: str, secret: str, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._secret = secret
        self._clock = clock
        self._lock = Lock()
        self._rooms: dict[str, dict[str, object]] = {}

    def __call__(self, request: Request) -> Response:
        if request.path == "/" and request.method in ("GET", "HEAD"):
            return Response(200, b"OK", "text/plain; charset=utf-8")
        if request.path in ("/rtc", "/rtc/validate"):
            return self._rtc(request)
        if request.path.startswith(_SERVICE):
            try:
                return as_json(self._call(request))
            except TwirpError as error:
                return error.response()
        return Response(404, b"404 page not found\n", "text/plain; charset=utf-8")

    def _call(self, request: Request) -> object:
        method = request.path.removeprefix(_SERVICE)
        methods = {
            "CreateRoom": ("roomCreate", self._create),
            "ListRooms": ("roomList", self._list),
            "DeleteRoom": ("roomCreate", self._delete),
        }
        if request.method != "POST" or method not in methods:
            raise TwirpError("bad_route", f"no handler for {request.method} {request.path}")
        if request.headers.get("content-type", "").split(";")[0].strip() != "application/json":
            raise TwirpError("bad_route", "this mock speaks Twirp in JSON only")
        grant, call = methods[method]
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        try:
            claims = tokens.verify(token if scheme.lower() == "bearer" else "", *self._credentials())
        except tokens.BadToken as error:
            raise TwirpError("unauthenticated", str(error)) from None
        video = claims.get("video")
        if not isinstance(video, dict) or video.get(grant) is not True:
            raise TwirpError("permission_denied", f"the token does not grant {grant}")
        try:
            data = json.loads(request.body or b"{}")
        except ValueError:
            raise TwirpError("malformed", "the body is not JSON") from None
        if not isinstance(data, dict):
            raise TwirpError("malformed", "the body must be a JSON object")
        return call(data)

    def _credentials(self) -> tuple[str, str, float]:
        return self._key, self._secret, self._clock()

    def _create(self, data: dict[str, object]) -> object:
        name = data.get("name")
        if not isinstance(name, str) or not name:
            raise TwirpError("invalid_argument", "a room needs a name")
        with self._lock:
            if name not in self._rooms:
                timeout = data.get("empty_timeout", data.get("emptyTimeout", 300))
                self._rooms[name] = {
                    "sid": f"RM_{len(self._rooms) + 1:012d}",
                    "name": name,
                    "empty_timeout": timeout,
                    "creation_time": str(int(self._clock())),
                    "num_participants": 0,
                }
            return dict(self._rooms[name])

    def _list(self, data: dict[str, object]) -> object:
        names = data.get("names") or []
        with self._lock:
            rooms = [dict(room) for room in self._rooms.values()]
        if isinstance(names, list) and names:
            rooms = [room for room in rooms if room["name"] in names]
        return {"rooms": rooms}

    def _delete(self, data: dict[str, object]) -> object:
        name = data.get("room")
        with self._lock:
            if not isinstance(name, str) or self._rooms.pop(name, None) is None:
                raise TwirpError("not_found", "requested room does not exist")
        return {}

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
    except ValueError:
        return False
    return isinstance(data, dict) and data.get("type") == "ping"
