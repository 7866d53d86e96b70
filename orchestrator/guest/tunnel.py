"""HTTP from inside a guest: httpx over a TCP connection that the guest's sshd makes.

The guest resolves the name and opens the connection, so a request proves its
resolver, its network and its firewall; no program has to be started there.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from types import TracebackType

import httpcore
import httpx
import paramiko

from orchestrator.deadline import Deadline
from orchestrator.guest.ssh import Ssh

BODY_LIMIT = 1 << 20


class _ChannelStream(httpcore.NetworkStream):
    """httpx limits each read; a server that sends a byte now and then must not hold us, so all of them share one."""

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

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._channel.settimeout(timeout)
        try:
            self._channel.sendall(buffer)
        except TimeoutError as error:
            raise httpcore.WriteTimeout("the request was not taken") from error
        except OSError as error:
            raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._channel.close()


class _GuestBackend(httpcore.NetworkBackend):
    def __init__(self, ssh: Ssh) -> None:
        self._ssh = ssh

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,  # noqa: ARG002 - httpcore's signature
        socket_options: Iterable[object] | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        try:
            limit = Deadline.after(timeout or 5.0)  # one connection serves one request
            return _ChannelStream(self._ssh.open_direct(host, port, limit.left), limit)
        except ConnectionError as error:
            raise httpcore.ConnectError(str(error)) from error


class GuestTransport(httpx.BaseTransport):
    """An httpx transport whose connections begin in the guest. Plain HTTP only."""

    def __init__(self, ssh: Ssh) -> None:
        self._pool = httpcore.ConnectionPool(network_backend=_GuestBackend(ssh), max_keepalive_connections=0)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme != "http":
            raise httpx.UnsupportedProtocol(f"{request.url.scheme} is not spoken from inside a guest")
        inner = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        try:
            answer = self._pool.handle_request(inner)
            body = b"".join(_bounded(answer.iter_stream()))
        except httpcore.TimeoutException as error:
            raise httpx.TimeoutException(str(error) or "no answer in time") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
            raise httpx.TransportError(str(error) or type(error).__name__) from error
        return httpx.Response(answer.status, headers=answer.headers, content=body, request=request)

    def close(self) -> None:
        self._pool.close()


def _bounded(chunks: Iterable[bytes]) -> Iterator[bytes]:
    taken = 0
    for chunk in chunks:
        taken += len(chunk)
        if taken > BODY_LIMIT:
            raise httpcore.RemoteProtocolError(f"the answer is longer than {BODY_LIMIT} bytes")
        yield chunk


class GuestClient:
    """``with GuestClient(ssh) as http: http.get("http://server/health")``, blocking."""

    def __init__(self, ssh: Ssh, timeout: float) -> None:
        self._client = httpx.Client(transport=GuestTransport(ssh), timeout=timeout, follow_redirects=False)

    def __enter__(self) -> httpx.Client:
        return self._client

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()


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
