"""A person in a machine: a login shell, and the serial console, on the terminal of this program. They block."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from collections.abc import Callable
from contextlib import suppress

from orchestrator.errors import HostError
from orchestrator.guest.ssh import Ssh
from orchestrator.guest.terminal import join, on_resize, raw_mode, window_size
from orchestrator.process import tail
from orchestrator.vm.arguments import MachinePaths

LEAVE = b"\x1d"  # Ctrl-]
SHOWN = 10  # last lines of the console that are on the screen already


def shell_on(ssh: Ssh, user: str) -> int:
    """A login shell on a pseudo-terminal; its exit code."""
    channel = ssh.open_session()
    columns, rows = window_size(sys.stdin.fileno())
    channel.get_pty(os.environ.get("TERM", "xterm"), columns, rows)
    if user == "root":
        channel.invoke_shell()
    else:
        channel.exec_command(f"exec su - {shlex.quote(user)}")

    def resize(new_columns: int, new_rows: int) -> None:
        with suppress(OSError):
            channel.resize_pty(new_columns, new_rows)

    with raw_mode(sys.stdin.fileno()), on_resize(resize):
        join(channel)
    channel.status_event.wait(10)
    return channel.exit_status if channel.exit_status >= 0 else 255


def console_on(machine: str, paths: MachinePaths, say: Callable[[str], None]) -> None:
    """The serial console, until Ctrl-] is typed or the machine ends.

    Args:
        say: shows a line.

    Raises:
        HostError: it cannot be opened.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(paths.console))
        except OSError as error:
            raise HostError(
                f"the console of machine {machine} cannot be opened",
                why=f"{error}; only one console can be open at a time",
                where=[str(paths.console), str(paths.serial_log)],
            ) from error
        for line in tail(paths.serial_log, SHOWN):
            say("  " + "".join(c for c in line if c.isprintable()))
        say(f"console of {machine}: Ctrl-] leaves; Enter shows the prompt")
        with raw_mode(sys.stdin.fileno()):
            try:
                join(connection, escape=LEAVE)
            except ConnectionResetError:
                say(f"the console of {machine} is gone: its machine ended")
    say("")
