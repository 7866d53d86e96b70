"""``orchestrator console``: the serial console; it works without network, agent and SSH."""

from __future__ import annotations

import argparse

from orchestrator.cli.runtime import known_machine, living_state, say
from orchestrator.guest.interact import console_on


def run(arguments: argparse.Namespace) -> int:
    env_paths, state = living_state(arguments)
    known_machine(state, arguments.machine)
    console_on(arguments.machine, env_paths.machine(arguments.machine, state.run_folder), say)
    return 0
