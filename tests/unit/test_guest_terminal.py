"""The user's own terminal: raw while a shell of a guest has it, and given back whatever ends that."""

from __future__ import annotations

import fcntl
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import time

import pytest

from orchestrator.guest.terminal import raw_mode

PROGRAM = "from orchestrator.guest.terminal import raw_mode\nimport time\nwith raw_mode(0):\n    time.sleep(60)\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(number: signal.Signals) -> None:
    controller, terminal = pty.openpty()
    try:
        before = termios.tcgetattr(terminal)
        process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=terminal)
        limit = time.monotonic() + 20
        while termios.tcgetattr(terminal) == before:
            assert time.monotonic() < limit, "it never became raw"
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(10) == 128 + number
        assert termios.tcgetattr(terminal) == before
    finally:
        os.close(controller)
        os.close(terminal)


def test_what_was_typed_before_is_not_lost() -> None:
    controller, terminal = pty.openpty()
    try:
        os.write(controller, b"early\n")
        with raw_mode(terminal):
            assert os.read(terminal, 100).strip() == b"early"
    finally:
        os.close(controller)
        os.close(terminal)


JOIN = """
import socket, sys
from orchestrator import streams
streams.adopt()
from orchestrator.guest.terminal import join
with socket.socket(fileno=int(sys.argv[1])) as connection:
    join(connection)
print("the other side ended")
"""


def waiting(pipe: int) -> int:
    """The bytes in a pipe that nobody has read yet."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_streams_that_do_not_block_are_joined_whole() -> None:
    """A shared stdin that has nothing, and a stdout that is full, are neither an end nor an error."""
    ours, theirs = socket.socketpair()
    keys, typed = os.pipe()
    screen, shown = os.pipe()
    os.set_blocking(keys, False)
    os.set_blocking(shown, False)
    argv = [sys.executable, "-c", JOIN, str(theirs.fileno())]
    with subprocess.Popen(argv, stdin=keys, stdout=shown, pass_fds=[theirs.fileno()]) as process:
        for end in (keys, shown):
            os.close(end)
        theirs.close()
        ours.settimeout(60)
        for word in (b"one", b"two"):
            os.write(typed, word)
            assert ours.recv(100) == word
        ours.sendall(b"x" * 100_000)
        ours.shutdown(socket.SHUT_WR)
        limit = time.monotonic() + 20
        while waiting(screen) < 65536:  # its pipe holds no more: it is full before anything is read
            assert time.monotonic() < limit, "it does not write"
            time.sleep(0.01)
        seen = b""
        while data := os.read(screen, 1000):
            seen += data
        assert seen == b"x" * 100_000 + b"the other side ended\n"
        assert process.wait(20) == 0
    for end in (typed, screen):
        os.close(end)
    ours.close()
