"""The server of the page: HTTP on 127.0.0.1, below a path that only its owner was told.

A page of another site cannot guess the path, and a name that leads here (DNS rebinding) is refused. Files of a run come
from guests: they are shown, but what they contain cannot act for this page.
"""

from __future__ import annotations

import hmac
import mimetypes
import secrets
import time
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from orchestrator.errors import HostError
from orchestrator.report.html import LIVE_FILES
from orchestrator.view.content import Content
from orchestrator.view.screens import Screens

ADDRESS = "127.0.0.1"
LOOK = 0.2  # seconds between two looks at what was written
ALIVE = 15.0  # seconds after which a silent stream is told to be alive
CHUNK = 1 << 20
SCREENS = "screens/"
# Scripts of Playwright's report run, in an origin of their own.
SANDBOX = "sandbox allow-scripts allow-popups"


class Handler(BaseHTTPRequestHandler):
    """One connection; one thread."""

    protocol_version = "HTTP/1.1"
    server: PageServer

    def __init__(self, *args: object, content: Content, **keywords: object) -> None:
        self._content = content
        super().__init__(*args, **keywords)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        with suppress(ConnectionError):  # the reader is gone
            self._answer()

    def _answer(self) -> None:
        first, _, rest = unquote(urlsplit(self.path).path).removeprefix("/").partition("/")
        known = hmac.compare_digest(first.encode("utf-8", "replace"), self.server.token.encode())
        if not known or self.headers.get("Host") not in self.server.names:
            self._send(HTTPStatus.NOT_FOUND, b"not here\n", "text/plain")
            return
        try:
            if rest == "":
                self._send(HTTPStatus.OK, self._content.page().encode("utf-8", "replace"), "text/html; charset=utf-8")
            elif rest == "data.json":
                self._send(HTTPStatus.OK, self._content.data().encode("utf-8", "replace"), "application/json")
            elif rest == "changes":
                self._changes()
            elif rest.startswith(SCREENS):
                self._screen(rest.removeprefix(SCREENS))
            elif rest.startswith(LIVE_FILES):
                self._file(rest.removeprefix(LIVE_FILES))
            else:
                self._send(HTTPStatus.NOT_FOUND, b"not here\n", "text/plain")
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, f"{error}\n".encode("utf-8", "replace"), "text/plain")

    def _head(self, status: HTTPStatus, kind: str, length: int | None, policy: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        if policy:
            self.send_header("Content-Security-Policy", policy)
        self.end_headers()

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        self._head(status, kind, len(body))
        self.wfile.write(body)

    def _changes(self) -> None:
        """Server-sent events: one whenever something was written that the page does not have."""
        self._head(HTTPStatus.OK, "text/event-stream", None)
        self.close_connection = True
        told, silent = -1, 0.0
        while not self.server.ending:
            state = self._content.state()
            if state != told and not self._content.is_waiting():
                self.wfile.write(f"data: {state}\n\n".encode())
                told, silent = state, 0.0
            elif silent >= ALIVE:
                self.wfile.write(b": alive\n\n")
                silent = 0.0
            self.wfile.flush()
            time.sleep(LOOK)
            silent += LOOK

    def _screen(self, machine: str) -> None:
        picture = self.server.screens.picture(machine)
        if picture is None:
            self._send(HTTPStatus.NOT_FOUND, b"no picture\n", "text/plain")
        else:
            self._send(HTTPStatus.OK, picture, "image/png")

    def _file(self, name: str) -> None:
        """A regular file of the run folder; a link leads nowhere."""
        root = self._content.folder.resolve()
        path = root / name
        try:
            inside = "\0" not in name and path.resolve() == path and path.is_relative_to(root) and path.is_file()
        except (OSError, RuntimeError):
            inside = False
        if not inside:
            self._send(HTTPStatus.NOT_FOUND, b"not here\n", "text/plain")
            return
        kind = mimetypes.guess_type(path.name)[0] or "text/plain; charset=utf-8"
        with path.open("rb") as file:
            size = path.stat().st_size
            self._head(HTTPStatus.OK, kind, size, SANDBOX)
            while size > 0 and (piece := file.read(min(size, CHUNK))):
                self.wfile.write(piece)
                size -= len(piece)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the terminal is the user's."""


class PageServer(ThreadingHTTPServer):
    """Serves a run folder until it is closed.

    Args:
        logs: where the machines of the run write.
        screens: of the machines that run now.

    Raises:
        HostError: the port is in use.
    """

    daemon_threads = True

    def __init__(self, folder: Path, logs: Path, port: int = 0, screens: Screens | None = None) -> None:
        self.screens = screens or Screens({})
        self.token = secrets.token_urlsafe(24)
        self.ending = False
        try:
            super().__init__((ADDRESS, port), partial(Handler, content=Content(folder, logs, self.screens.machines)))
        except OSError as error:
            raise HostError(
                f"port {port} of this host is in use", why=str(error), hint="another --port, or none for a free one"
            ) from error
        self.names = {f"{name}:{self.server_port}" for name in (ADDRESS, "localhost")}

    @property
    def address(self) -> str:
        """Where the page is; whoever knows it may read it."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"
