"""A small threaded HTTP/1.1 server around one function from request to response."""

from __future__ import annotations

import json
import signal
import socketserver
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from io import BufferedIOBase
from socket import socket
from types import FrameType
from urllib.parse import parse_qs, unquote, urlsplit

MAX_BODY = 32 * 1024 * 1024
IDLE_SECONDS = 120


@dataclass(frozen=True)
class Request:
    """What a client asked.

    Attributes:
        path: decoded, without the query.
        query: the first value of each parameter.
        headers: names in lower case.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Response:
    """What is sent back.

    Attributes:
        body: bytes, or an iterable of pieces that are sent as chunks as they come.
        takeover: called with the reading and writing side of the connection after a
            101 answer; when it returns, the connection ends.
    """

    status: int = 200
    body: bytes | Iterable[bytes] = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    takeover: Callable[[BufferedIOBase, BufferedIOBase], None] | None = None


Application = Callable[[Request], Response]


def as_json(data: object, status: int = 200) -> Response:
    """``data`` as a JSON answer."""
    return Response(status, json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode())


class BadBody(Exception):
    """The body cannot be read: ``status`` says what is answered."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def read_body(stream: BufferedIOBase, headers: Mapping[str, str]) -> bytes:
    """The request's body, of known length or chunked.

    Raises:
        BadBody: too long, or the framing is wrong.
    """
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return _read_chunks(stream)
    try:
        length = int(headers.get("content-length", "0"))
    except ValueError:
        raise BadBody(400, "Content-Length is not a number") from None
    if length > MAX_BODY:
        raise BadBody(413, "the body is too long")
    return stream.read(length) if length > 0 else b""


def _read_chunks(stream: BufferedIOBase) -> bytes:
    pieces: list[bytes] = []
    total = 0
    while True:
        line = stream.readline(128)
        try:
            size = int(line.split(b";")[0], 16)
        except ValueError:
            raise BadBody(400, "bad chunk size") from None
        if size <= 0:
            while stream.readline(8192).strip():
                pass  # trailers
            return b"".join(pieces)
        total += size
        if total > MAX_BODY:
            raise BadBody(413, "the body is too long")
        pieces.append(stream.read(size))
        stream.readline(8)


class Server(socketserver.ThreadingTCPServer):
    """Listens at once; `serve_forever` answers. Port 0 takes a free one (``server_address``)."""

    # Not http.server's server class: it asks the resolver for the host's full
    # name at start, which can hang on a machine without DNS.
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str, port: int, application: Application) -> None:
        self.application = application
        super().__init__((host, port), _Handler)

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: object) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, ConnectionError | TimeoutError):
            sys.stderr.write(f"error in a connection of {client_address}: {error!r}\n")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = IDLE_SECONDS
    server: Server

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        try:
            body = read_body(self.rfile, headers)
        except BadBody as error:
            self.close_connection = True
            self._send(as_json({"error": {"message": str(error)}}, error.status))
            return
        request = Request(self.command, unquote(parts.path), query, headers, body)
        try:
            response = self.server.application(request)
        except Exception as error:
            sys.stderr.write(f"error while answering {self.command} {parts.path}: {error!r}\n")
            response = as_json({"error": {"message": "internal error of the mock"}}, 500)
        self._send(response)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_OPTIONS = _answer

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        for name, value in response.headers.items():
            self.send_header(name, value)
        if response.takeover is not None:
            self.close_connection = True
            self.end_headers()
            self.wfile.flush()
            response.takeover(self.rfile, self.wfile)
            return
        self.send_header("Content-Type", response.content_type)
        if self.close_connection:
            self.send_header("Connection", "close")
        if isinstance(response.body, bytes):
            self.send_header("Content-Length", str(len(response.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)
        else:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in response.body:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        self.wfile.flush()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        # The query stays out of the journal: LiveKit clients put their token there.
        sys.stderr.write(f"{self.command} {urlsplit(self.path).path} {int(code)}\n")

    def log_message(self, format: str, *args: object) -> None:
        sys.stderr.write(format % args + "\n")


def run(name: str, host: str, port: int, application: Application) -> int:
    """Serve until SIGTERM or SIGINT; the exit code of the process."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise SystemExit(0)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        server = Server(host, port, application)
    except OSError as error:
        sys.stderr.write(f"{name}: cannot listen on {host}:{port}: {error.strerror}\n")
        return 1
    sys.stderr.write(f"{name}: listening on {host}:{server.server_address[1]}\n")
    try:
        server.serve_forever(poll_interval=5)
    except SystemExit:
        sys.stderr.write(f"{name}: stopped\n")
    finally:
        server.server_close()
    return 0
