"""Signals of a command: the first ends it in order, a second one at once; one that comes twice is one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

pytestmark = pytest.mark.slow

COMMAND = """
import argparse, asyncio
from orchestrator.cli.runtime import interrupt_code, run_command

async def work(bus):
    try:
        print("working", flush=True)
        await asyncio.sleep(60)
    finally:
        print("ending", flush=True)
        await asyncio.shield(asyncio.sleep(1.5))
        print("ended in order", flush=True)

arguments = argparse.Namespace(quiet=True, progress="plain", no_color=True, verbose=False)
try:
    run_command(arguments, work, force=lambda: print("at once", flush=True))
finally:
    raise SystemExit(interrupt_code())
"""


@pytest.fixture
def command() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen([sys.executable, "-c", COMMAND], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        yield process
        process.kill()


def rest(process: subprocess.Popen[str]) -> tuple[list[str], int]:
    out, _ = process.communicate(timeout=20)
    return out.split("\n")[:-1], process.returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_one_signal_that_comes_several_times(command: subprocess.Popen[str], number: signal.Signals) -> None:
    """From a wrapper that hands it on, or for each thread of a dying parent."""
    for _ in range(4):
        command.send_signal(number)
        time.sleep(0.02)
    assert rest(command) == (["ending", "ended in order"], 128 + number)


def test_a_second_one_ends_it_at_once(command: subprocess.Popen[str]) -> None:
    command.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    command.send_signal(signal.SIGINT)
    assert rest(command) == (["ending", "at once"], 128 + signal.SIGINT)


def test_a_terminal_that_closes_tells_it_more_than_once(command: subprocess.Popen[str]) -> None:
    """Through the shell, and by itself when the shell has ended: nobody insists with SIGHUP."""
    for _ in range(3):
        command.send_signal(signal.SIGHUP)
        time.sleep(0.4)
    assert rest(command) == (["ending", "ended in order"], 128 + signal.SIGHUP)


def test_nohup_is_respected() -> None:
    ignored = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    argv = [sys.executable, "-c", COMMAND]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, preexec_fn=ignored) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert rest(process) == (["ending", "ended in order"], 128 + signal.SIGTERM)
