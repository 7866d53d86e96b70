"""The entry point: parse, load the module of the command, turn errors into text and exit codes."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from orchestrator.cli.arguments import build_parser
from orchestrator.errors import Interrupted, OrchestratorError
from orchestrator.streams import ReaderGoneError, abandon_stdout

DESCRIBING = "orchestrator.cli.describe"  # runs nothing that a debug log could tell of
NOBODY_READS = 141  # as a shell reports SIGPIPE

# Command → module with ``run(arguments) -> int``; imported only when it is called.
MODULES = {
    "up": "orchestrator.cli.up",
    "run": "orchestrator.cli.run",
    "dev": "orchestrator.cli.dev",
    "matrix": "orchestrator.cli.matrix",
    "plan": "orchestrator.cli.plan",
    "test": "orchestrator.cli.test",
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
    "screen": "orchestrator.cli.screen",
    "keys": "orchestrator.cli.keys",
    "forward": "orchestrator.cli.forward",
    "power": "orchestrator.cli.power",
    "link": "orchestrator.cli.link",
    "fault": "orchestrator.cli.fault",
    "view": "orchestrator.cli.view",
    "repl": "orchestrator.cli.repl",
    "ssh-config": "orchestrator.cli.ssh_config",
    "validate": DESCRIBING,
    "config": DESCRIBING,
    "graph": DESCRIBING,
    "schema": DESCRIBING,
    "init": "orchestrator.cli.init",
    "add": "orchestrator.cli.add",
    "host-setup": "orchestrator.cli.host_setup",
    "nightly": "orchestrator.cli.nightly",
    "bisect": "orchestrator.cli.bisect",
    "history": "orchestrator.cli.history",
    "images": "orchestrator.cli.images",
    "doctor": "orchestrator.cli.doctor",
    "report": "orchestrator.cli.report",
    "why": "orchestrator.cli.why",
    "completion": "orchestrator.cli.completion",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the exit code."""
    arguments: argparse.Namespace | None = None
    try:
        arguments = build_parser().parse_args(argv)
        if MODULES[arguments.command] != DESCRIBING:
            _configure_logging(arguments.verbose)
        module = importlib.import_module(MODULES[arguments.command])
        code = int(module.run(arguments))
        sys.stdout.flush()
        return code
    except SystemExit as end:  # argparse, after --help or a wrong word; `shell`, after a signal
        return _ended(end)
    except Interrupted as stop:
        return stop.exit_code
    except KeyboardInterrupt:
        return 130
    except ReaderGoneError:
        # The reader of our output is gone (head, less): nothing to say, and nothing may be said.
        abandon_stdout()
        return NOBODY_READS
    except Exception as cause:  # noqa: BLE001 - no traceback is for people
        return _failed(cause, arguments)


def _configure_logging(verbose: int) -> None:
    """The debug log begins; libraries say what they have to say there, and not on stderr."""
    from orchestrator.debug import debug_log

    debug_log.configure((lambda line: sys.stderr.write(f"{line}\n")) if verbose > 1 else None)


def _ended(end: SystemExit) -> int:
    """The code of an exit, after the output before it was written."""
    try:
        sys.stdout.flush()
    except ReaderGoneError:
        abandon_stdout()
        return NOBODY_READS
    except OrchestratorError as error:
        return _failed(error, None)
    return end.code if isinstance(end.code, int) else 0 if end.code is None else 1


def _failed(cause: Exception, arguments: argparse.Namespace | None) -> int:
    """Explain a failure on stderr; its exit code."""
    error = cause if isinstance(cause, OrchestratorError) else _explained(cause)
    try:
        sys.stdout.flush()  # what there was to print before it
    except (OSError, OrchestratorError):
        abandon_stdout()
    if not error.shown:
        show_error(error, arguments)
    return error.exit_code


def _explained(cause: Exception) -> OrchestratorError:
    from orchestrator.cli.crash import explained

    return explained(cause)


def show_error(error: OrchestratorError, arguments: argparse.Namespace | None) -> None:
    """The explanation of a failure, on stderr."""
    from orchestrator.cli.progress_failure import render_failure, use_color

    color = use_color(sys.stderr, False if arguments is not None and arguments.no_color else None)
    sys.stderr.write(render_failure(error.as_dict(), color) + "\n")
