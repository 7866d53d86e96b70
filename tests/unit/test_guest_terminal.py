"""The user's own terminal: raw while a shell of a guest has it, and given back whatever ends that."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import time

import pytest

PROGRAM = "from orchestrator.guest.terminal import raw_mode\nimport time\nwith raw_mode(0):\n    time.sleep(60)\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(number: signal.Signals) -> None:
    controller, terminal = pty.openpty()
    try:
        before = termios.tcgetattr(terminal)
        process = subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=terminal)
        limit = time.monotonic() + 20
        while termios.tcgetattr(terminal) == before:
            assert time.monotonic() < limit, "it never became raw"
            time.sleep(0.01)
        process.send_signal(number)
        assert process.wait(10) == 128 + number
        assert termios.tcgetattr(terminal) == before
    finally:
        os.close(controller)
        os.close(terminal)
