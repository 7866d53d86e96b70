"""``orchestrator exec``: one command in a machine, its streams apart and untouched, its exit code ours."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import paramiko

from orchestrator.cli.runtime import known_machine, living_state, say
from orchestrator.environment.attach import ssh_to
from orchestrator.errors import MachineError, UsageError
from orchestrator.guest.ssh import Ssh, command_line

END_GRACE = 5.0  # seconds a command that was killed has to close its streams
Read = Callable[[int], bytes]


def run(arguments: argparse.Namespace) -> int:
    command = arguments.argv[1:] if arguments.argv[:1] == ["--"] else arguments.argv
    if not command:
        raise UsageError("no command to run", hint=f"orchestrator exec {arguments.machine} -- uname -a")
    places, state = living_state(arguments)
    known_machine(state, arguments.machine)

    async def work() -> int:
        async with ssh_to(places, state, arguments.machine, limit=arguments.timeout) as ssh:
            return _stream(ssh, command_line(command, user=arguments.user), arguments.timeout)

    return asyncio.run(work())


def _stream(ssh: Ssh, line: str, timeout: float | None) -> int:
    """Run it with our own stdin, stdout and stderr. It blocks: nothing else is to be done."""
    late, over = threading.Event(), threading.Event()
    pid = b""

    def end() -> None:
        with suppress(Exception), ssh.open_session(timeout=5) as other:
            other.exec_command(f"kill -KILL -- -{int(pid)}")
            other.status_event.wait(5)

    def expire() -> None:
        late.set()
        if pid:
            end()
        if not over.wait(END_GRACE):
            ssh.cut()  # the machine stands still: its part of the connection never ends

    timer = threading.Timer(timeout, expire) if timeout else None
    if timer:
        timer.daemon = True
        timer.start()
    try:
        channel = ssh.open_session()
        channel.exec_command(line)
        pid = _first_line(channel.recv)
    except (MachineError, paramiko.SSHException, EOFError, OSError) as error:
        if late.is_set():
            return _too_late(timeout)
        raise ssh.lost(error) from error
    errors = threading.Thread(target=_copy, args=(channel.recv_stderr, sys.stderr.fileno()), daemon=True)
    errors.start()
    threading.Thread(target=_feed, args=(channel,), daemon=True).start()
    signals: list[int] = []

    def interrupted(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - signal's signature
        signals.append(number)
        raise KeyboardInterrupt

    # The event loop's own handler would only cancel its task, which never looks while this blocks.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupted)
    try:
        _copy(channel.recv, sys.stdout.fileno())
        errors.join()
        channel.status_event.wait(30)
    except (KeyboardInterrupt, BrokenPipeError):
        end()
        if signals:
            return 128 + signals[0]
        raise
    finally:
        over.set()
        if timer:
            timer.cancel()
    if late.is_set():
        return _too_late(timeout)
    if channel.exit_status < 0:
        raise ssh.lost(RuntimeError("the channel closed without an exit status"))
    return channel.exit_status


def _too_late(timeout: float | None) -> int:
    say(f"ended after {timeout:g} s, in the machine too")
    return 124


def _first_line(read: Read) -> bytes:
    """The pid that `command_line` prints first, and not one byte of what follows."""
    line = b""
    while not line.endswith(b"\n"):
        one = read(1)
        if not one:
            break
        line += one
    return line.strip() or b"0"


def _copy(read: Read, descriptor: int) -> None:
    while data := read(1 << 16):
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]


def _feed(channel: paramiko.Channel) -> None:
    with suppress(OSError):
        while data := os.read(sys.stdin.fileno(), 1 << 16):
            channel.sendall(data)
    with suppress(OSError):
        channel.shutdown_write()
