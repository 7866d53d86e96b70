"""The user's terminal, joined to a channel or a socket: raw, resizable, binary-safe."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Protocol

from orchestrator.errors import HostError
from orchestrator.streams import STDIN, STDOUT, give


class Stream(Protocol):
    """What both a paramiko channel and a socket offer."""

    def fileno(self) -> int: ...
    def recv(self, size: int, /) -> bytes: ...
    def sendall(self, data: bytes, /) -> object: ...


def window_size(descriptor: int) -> tuple[int, int]:
    """Columns and rows of a terminal; 80×24 where it does not say."""
    try:
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(descriptor, termios.TIOCGWINSZ, b"\0" * 8))
    except OSError:
        return 80, 24
    return columns or 80, rows or 24


@contextmanager
def raw_mode(descriptor: int) -> Iterator[None]:
    """Every key goes to the other side; the terminal is as before afterwards."""
    if not os.isatty(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)

    def ended(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's signature
        sys.exit(128 + number)  # as an exception, so that the terminal is given back

    handlers = {
        number: signal.signal(number, ended)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN  # as nohup left it
    }
    try:
        tty.setraw(descriptor, termios.TCSADRAIN)  # not FLUSH: what is typed already is not lost
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        for number, handler in handlers.items():
            signal.signal(number, handler)


@contextmanager
def on_resize(action: Callable[[int, int], None]) -> Iterator[None]:
    """Call ``action(columns, rows)`` whenever the window changes."""

    def changed(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's signature
        action(*window_size(sys.stdin.fileno()))

    before = signal.signal(signal.SIGWINCH, changed)
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)


def join(stream: Stream, *, escape: bytes | None = None) -> None:
    """Copy stdin to the stream and the stream to stdout until the other side ends.

    Args:
        escape: one key that leaves; it is not sent.
    """
    watched: list[int] = [STDIN, stream.fileno()]
    while True:
        readable, _, _ = select.select(watched, [], [])
        if stream.fileno() in readable:
            data = stream.recv(1 << 16)
            if not data:
                return
            give(STDOUT, data)
        if STDIN in readable:
            try:
                keys = os.read(STDIN, 1 << 12)
            except BlockingIOError:
                continue  # who shares it with us was quicker
            except OSError as error:
                raise HostError("standard input could not be read", why=str(error)) from error
            if escape is not None and escape in keys:
                stream.sendall(keys.split(escape)[0])
                return
            if keys:
                with suppress(OSError):  # it has just ended: the next look at it tells
                    stream.sendall(keys)
            else:
                watched.remove(STDIN)
                end = getattr(stream, "shutdown_write", None)
                if end is not None:
                    end()
                elif escape is not None:
                    return
