"""The entry point: parse, load the one module the command needs, turn errors into words and exit codes."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from orchestrator.cli.arguments import build_parser
from orchestrator.errors import Interrupted, OrchestratorError, as_error

# Command → module with ``run(arguments) -> int``; imported only when it is called.
MODULES = {
    "up": "orchestrator.cli.up",
    "run": "orchestrator.cli.run",
    "down": "orchestrator.cli.down",
    "restart": "orchestrator.cli.restart",
    "reset": "orchestrator.cli.reset",
    "snapshot": "orchestrator.cli.snapshot",
    "status": "orchestrator.cli.status",
    "shell": "orchestrator.cli.shell",
    "console": "orchestrator.cli.console",
    "exec": "orchestrator.cli.exec",
    "cp": "orchestrator.cli.cp",
    "logs": "orchestrator.cli.logs",
    "ssh-config": "orchestrator.cli.ssh_config",
    "validate": "orchestrator.cli.describe",
    "config": "orchestrator.cli.describe",
    "graph": "orchestrator.cli.describe",
    "images": "orchestrator.cli.images",
    "doctor": "orchestrator.cli.doctor",
    "report": "orchestrator.cli.report",
    "completion": "orchestrator.cli.completion",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the exit code."""
    try:
        arguments = build_parser().parse_args(argv)
    except KeyboardInterrupt:
        return 130
    try:
        module = importlib.import_module(MODULES[arguments.command])
        code = module.run(arguments)
        sys.stdout.flush()
        return int(code)
    except Interrupted as stop:
        return stop.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader of our output is gone (head, less): nothing to say, and nothing may be said.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (OrchestratorError, OSError) as cause:
        error = as_error(cause)
        if not error.shown:
            show_error(error, arguments)
        return error.exit_code


def show_error(error: OrchestratorError, arguments: argparse.Namespace) -> None:
    """The explanation of a failure, on stderr."""
    from orchestrator.cli.progress_failure import render_failure, use_color

    color = use_color(sys.stderr, False if arguments.no_color else None)
    sys.stderr.write(render_failure(error.as_dict(), color) + "\n")
