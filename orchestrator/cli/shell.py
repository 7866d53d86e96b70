"""``orchestrator shell``: a real terminal in a machine."""

from __future__ import annotations

import argparse
import asyncio
import os
import shlex
import sys
from contextlib import suppress

from orchestrator.cli.runtime import known_machine, living_state, say
from orchestrator.environment.attach import ssh_to, what_became_of
from orchestrator.guest.ssh import Ssh
from orchestrator.guest.terminal import join, on_resize, raw_mode, window_size


def run(arguments: argparse.Namespace) -> int:
    paths, state = living_state(arguments)
    known_machine(state, arguments.machine)

    async def work() -> int:
        async with ssh_to(paths, state, arguments.machine) as ssh:
            if sys.stdin.isatty():
                say(f"{arguments.machine}: `exit` or Ctrl-D leaves the shell, the machine keeps running")
            code = _terminal(ssh, arguments.user)
            if not ssh.alive and (why := what_became_of(paths, state, arguments.machine)):
                say(f"{arguments.machine}: {why}")
            return code

    return asyncio.run(work())


def _terminal(ssh: Ssh, user: str) -> int:
    """A login shell on a pseudo-terminal; returns its exit code. It blocks: nothing else is to be done."""
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
