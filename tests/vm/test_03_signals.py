"""Ctrl-C, SIGTERM and SIGKILL while machines boot: told, in time, and nothing is left."""

from __future__ import annotations

import json
import os
import signal
import time

import pytest
from host import Host, Running, collected


def booting(host: Host, *words: str) -> Running:
    """A command that is in the middle of a boot."""
    running = host.start(*words, group=True)
    running.until_says("machine client: booting", 60)
    time.sleep(1)
    assert host.processes(), "nothing runs?"
    return running


def outcome(host: Host) -> tuple[str, int]:
    data = json.loads((host.latest / "summary.json").read_text())
    return data["outcome"], data["exit_code"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_one_signal_takes_everything_down(bare: Host, number: signal.Signals, code: int) -> None:
    running = booting(bare, "up")
    with collected(running):
        running.send(number)
        at = time.monotonic()
        running.wait(15).expect(code, "interrupted", "machine server: stopped", "!Traceback")
    assert time.monotonic() - at < 8
    bare.assert_nothing_left()
    assert outcome(bare) == ("interrupted", code)
    assert (bare.latest / "report/index.html").is_file()


def test_ctrl_c_twice_ends_at_once(bare: Host) -> None:
    running = booting(bare, "run")
    with collected(running):
        # A stopped QEMU does not answer: the orderly way takes a while, and the second Ctrl-C comes into it.
        for pid, line in bare.processes().items():
            if line.startswith("qemu-system"):
                os.kill(pid, signal.SIGSTOP)
        running.send(signal.SIGINT)
        running.until_says("interrupted", 5)
        running.send(signal.SIGINT)  # the same once more, as from a wrapper that hands it on
        time.sleep(0.4)
        assert running.process.poll() is None
        running.send(signal.SIGINT)
        at = time.monotonic()
        assert running.wait(10).code == 130
    assert time.monotonic() - at < 8
    bare.assert_nothing_left(within=1)


def test_a_killed_run_leaves_no_machine_and_the_next_command_reclaims(bare: Host) -> None:
    running = booting(bare, "run")
    with collected(running):
        running.send(signal.SIGKILL)
        running.process.wait()
    end = time.monotonic() + 5
    while left := bare.processes():
        assert time.monotonic() < end, f"still there after 5 s: {left}"
        time.sleep(0.1)
    killed = bare.latest
    assert bare.run("status").code == 3
    again = booting(bare, "up")
    with collected(again):
        assert "leftovers of environment vm-tests (orchestrator run" in again.stderr
        again.send(signal.SIGINT)
        again.wait(15).expect(130)
    assert bare.latest != killed
    # The report of the killed run is complete after the next command.
    assert json.loads((killed / "summary.json").read_text())["outcome"] in ("interrupted", "error")
    bare.assert_nothing_left()


def test_after_a_killed_run_down_is_enough(bare: Host) -> None:
    running = booting(bare, "up")
    with collected(running):
        running.send(signal.SIGKILL)
        running.process.wait()
    bare.run("down").expect(0, "environment vm-tests is down")
    assert outcome(bare)[0] == "interrupted"
    bare.assert_nothing_left()


def test_machines_of_a_failed_start_can_be_taken_down_by_down_alone(bare: Host) -> None:
    """The limit of the whole command comes first: 124, and the machines stay to be looked at."""
    done = bare.run("up", "--wait-timeout", "6s").expect(124, "time limit", "keep running", within=20)
    assert bare.processes()
    assert "orchestrator -n vm-tests down" in done.stderr
    bare.run("--file", "/nonexistent/orchestrator.toml", "-n", "vm-tests", "down").expect(0, within=10)
    bare.assert_nothing_left()
