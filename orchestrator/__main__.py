"""``python -m orchestrator``, and the program ``orchestrator``."""

import signal
import sys

# Whoever interrupts us while Python still reads our modules shall see no traceback; `main` has its own answer.
signal.signal(signal.SIGINT, signal.SIG_DFL)


def run() -> int:
    """The command of this process; its exit code."""
    from orchestrator import streams

    streams.adopt()  # before any file is opened: a closed stream's number would be given to it

    from orchestrator.cli.main import main

    signal.signal(signal.SIGINT, signal.default_int_handler)
    return main()


if __name__ == "__main__":
    sys.exit(run())
