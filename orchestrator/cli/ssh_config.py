"""``orchestrator ssh-config``: what plain ssh, scp, rsync and editors need to reach the machines."""

from __future__ import annotations

import argparse
import sys

from orchestrator.cli.runtime import living_state
from orchestrator.errors import HostError


def run(arguments: argparse.Namespace) -> int:
    paths, _ = living_state(arguments)
    path = paths.ssh_config
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError as error:
        raise HostError(
            f"environment {paths.name} has no ssh configuration yet",
            why="it is written when the first machine can be reached",
            where=[str(path)],
            hint="orchestrator status",
        ) from error
    except OSError as error:
        raise HostError("the ssh configuration cannot be read", why=str(error), where=[str(path)]) from error
    sys.stdout.write(f"{path}\n" if arguments.path else text)
    return 0
