"""TCP and HTTP from inside a guest: httpcore over a connection that the guest's sshd makes.

The guest resolves the name and opens the connection, so a request proves its
resolver, its network and its firewall; no program has to be started there. TLS
is spoken on the host, where the certificates to trust lie.
"""

from __future__ import annotations

import codecs
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpcore

from orchestrator.deadline import Deadline
from orchestrator.guest.ssh import Ssh
from orchestrator.guest.transport import paramiko
from orchestrator.lean import without
from orchestrator.topology.urls import Url

with without("httpx._main"):  # the command of httpx, with all of rich and click
    import httpx

BODY_LIMIT = 1 << 20  # bytes, as sent and when unpacked
CHUNK = 1 << 16
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What a server answered.

    Attributes:
        body: its text; None where it was not read.
        fault: why the body is not whole, or empty.
    """

    status: int
    headers: httpx.Headers
    body: str | None
    fault: str = ""


class NoAnswerError(Exception):
    """No answer, and the text says why; ``late``: because the limit passed."""

    def __init__(self, text: str, *, late: bool = False) -> None:
        super().__init__(text)
        self.late = late


def get(ssh: Ssh, url: Url, limit: Deadline, wanted: Callable[[int], bool], tls: ssl.SSLContext | None) -> HttpAnswer:
    """One request from the guest (blocking); redirects are not followed.

    Args:
        wanted: whether the body is, given the status. One that nobody wants is not read: it may be long, or endless.
        tls: for https.

    Raises:
        NoAnswerError: there is none, with the guest's or the server's reason.
    """
    request = httpcore.Request(
        "GET",
        httpcore.URL(scheme=url.scheme.encode(), host=url.host.encode(), port=url.port, target=url.target.encode()),
        headers=[
            ("Host", url.authority),
            ("Accept", "*/*"),
            ("Accept-Encoding", "gzip, deflate"),
            ("Connection", "close"),
            ("User-Agent", "orchestrator"),
        ],
    )
    try:
        with httpcore.ConnectionPool(network_backend=_GuestBackend(ssh, limit), ssl_context=tls) as pool:
            answer = pool.handle_request(request)
            headers = httpx.Headers(answer.headers)
            if not wanted(answer.status):
                return HttpAnswer(answer.status, headers, None)
            body, fault = _read(httpx.Response(answer.status, headers=headers, stream=_Stream(answer)), limit)
            return HttpAnswer(answer.status, headers, body, fault)
    except httpcore.TimeoutException as error:
        raise NoAnswerError(str(error), late=True) from error
    except (*_BROKEN, ssl.SSLError) as error:
        raise NoAnswerError(str(error) or type(error).__name__) from error


_BROKEN = (httpcore.NetworkError, httpcore.ProtocolError, OSError, EOFError, paramiko.SSHException)


class _Stream(httpx.SyncByteStream):
    """A body as it comes, at most so much of it."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        taken = 0
        for chunk in self._answer.iter_stream():
            taken += len(chunk)
            if taken > BODY_LIMIT:
                raise _TooLongError
            yield chunk


class _TooLongError(Exception):
    pass


def _read(response: httpx.Response, limit: Deadline) -> tuple[str, str]:
    """The body as text, unpacked, and why it is not whole."""
    body, fault = bytearray(), ""
    try:
        for chunk in response.iter_bytes(CHUNK):
            body += chunk
            if len(body) > BODY_LIMIT:  # a small packed one may be huge
                raise _TooLongError
    except _TooLongError:
        fault = f"the answer is longer than {BODY_LIMIT} bytes"
    except httpcore.TimeoutException:
        fault = f"the body did not end within {limit}"
    except (*_BROKEN, httpx.DecodingError) as error:
        fault = str(error) or type(error).__name__
    encoding = response.charset_encoding or "utf-8"
    try:
        codecs.lookup(encoding)
        text = bytes(body[:BODY_LIMIT]).decode(encoding, "replace")
    except (LookupError, ValueError):  # a name nobody knows, or one of Python's that makes no text
        text = bytes(body[:BODY_LIMIT]).decode("utf-8", "replace")
    return text.removeprefix("\ufeff"), fault


def tls_context(ca: Path | None, *, verify: bool) -> ssl.SSLContext:
    """What https is spoken with: certificates of a file, of the host, or any.

    Raises:
        OSError: the file cannot be read, or holds none.
    """
    if verify:
        return ssl.create_default_context(cafile=None if ca is None else str(ca))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _ChannelStream(httpcore.NetworkStream):
    """httpcore limits each read; a server that sends a byte now and then must not hold us, so all share one limit."""

    def __init__(self, channel: paramiko.Channel, limit: Deadline) -> None:
        self._channel = channel
        self._limit = limit

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 - httpcore's signature
        if self._limit.expired:
            raise httpcore.ReadTimeout("no answer")
        self._channel.settimeout(self._limit.left)
        try:
            return self._channel.recv(max_bytes)
        except TimeoutError as error:
            raise httpcore.ReadTimeout("no answer") from error

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        if self._limit.expired:
            raise httpcore.WriteTimeout("the request was not taken")
        self._channel.settimeout(self._limit.left)
        try:
            self._channel.sendall(buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout("the request was not taken") from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._channel.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        return _TlsStream(self, ssl_context, server_hostname)


class _TlsStream(httpcore.NetworkStream):
    """TLS over another stream; a channel of SSH is no socket that OpenSSL could use itself."""

    def __init__(self, below: httpcore.NetworkStream, context: ssl.SSLContext, hostname: str | None) -> None:
        self._below = below
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=hostname)
        try:
            self._until_done(self._tls.do_handshake)
        except ssl.SSLCertVerificationError as error:
            raise httpcore.ConnectError(f"its certificate is not trusted: {error.verify_message}") from error

    def _until_done(self, step: Callable[[], T]) -> T:
        while True:
            try:
                done = step()
            except ssl.SSLWantReadError:
                self._send()
                data = self._below.read(CHUNK)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
                continue
            self._send()
            return done

    def _send(self) -> None:
        if data := self._outgoing.read():
            self._below.write(data)

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        try:
            return self._until_done(lambda: self._tls.read(max_bytes))
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b""

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        while buffer:
            rest = buffer
            buffer = rest[self._until_done(lambda: self._tls.write(rest)) :]  # noqa: B023 - called at once

    def close(self) -> None:
        self._below.close()

    def get_extra_info(self, info: str) -> ssl.SSLObject | None:
        return self._tls if info == "ssl_object" else None


class _GuestBackend(httpcore.NetworkBackend):
    def __init__(self, ssh: Ssh, limit: Deadline) -> None:
        self._ssh = ssh
        self._limit = limit

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - httpcore's signature
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[object] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        try:
            return _ChannelStream(self._ssh.open_direct(host, port, self._limit.left), self._limit)
        except ConnectionError as error:
            if self._limit.expired:
                raise httpcore.ConnectTimeout(str(error)) from error
            raise httpcore.ConnectError(str(error)) from error


def open_tcp(ssh: Ssh, host: str, port: int, timeout: float) -> None:
    """Connect from the guest and hang up.

    Raises:
        ConnectionError: with the guest's reason.
    """
    channel = ssh.open_direct(host, port, timeout)
    try:
        channel.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    finally:
        channel.close()
