"""``orchestrator console``: the serial console; it works without network, agent and SSH."""

from __future__ import annotations

import argparse
import socket
import sys

from orchestrator.cli.runtime import known_machine, living_state, say
from orchestrator.errors import HostError
from orchestrator.guest.terminal import join, raw_mode
from orchestrator.process import tail

LEAVE = b"\x1d"  # Ctrl-]
SHOWN = 10  # last lines that are on the screen already


def run(arguments: argparse.Namespace) -> int:
    env_paths, state = living_state(arguments)
    known_machine(state, arguments.machine)
    paths = env_paths.machine(arguments.machine, state.run_folder)
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(paths.console))
        except OSError as error:
            raise HostError(
                f"the console of machine {arguments.machine} cannot be opened",
                why=f"{error}; only one console can be open at a time",
                where=[str(paths.console), str(paths.serial_log)],
            ) from error
        for line in tail(paths.serial_log, SHOWN):
            say("  " + "".join(c for c in line if c.isprintable()))
        say(f"console of {arguments.machine}: Ctrl-] leaves; Enter shows the prompt")
        with raw_mode(sys.stdin.fileno()):
            try:
                join(connection, escape=LEAVE)
            except ConnectionResetError:
                say(f"the console of {arguments.machine} is gone: its machine ended")
    say("")
    return 0
