"""``orchestrator shell``: a real terminal in a machine."""

from __future__ import annotations

import argparse
import asyncio
import sys

from orchestrator.cli.runtime import known_machine, living_state, say
from orchestrator.environment.attach import ssh_to, what_became_of
from orchestrator.guest.interact import shell_on


def run(arguments: argparse.Namespace) -> int:
    paths, state = living_state(arguments)
    known_machine(state, arguments.machine)

    async def work() -> int:
        async with ssh_to(paths, state, arguments.machine) as ssh:
            if sys.stdin.isatty():
                say(f"{arguments.machine}: `exit` or Ctrl-D leaves the shell, the machine keeps running")
            code = shell_on(ssh, arguments.user)
            if not ssh.alive and (why := what_became_of(paths, state, arguments.machine)):
                say(f"{arguments.machine}: {why}")
            return code

    return asyncio.run(work())
