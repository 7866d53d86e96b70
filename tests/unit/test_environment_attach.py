"""Visits to machines: who reaches for one that ends is told at once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess

import pytest
from fake_qemu import run_async

from orchestrator.deadline import Deadline
from orchestrator.environment.attach import while_it_runs
from orchestrator.errors import MachineError
from orchestrator.process_id import ProcessId


def test_a_machine_that_ends_while_it_is_reached_is_named_at_once() -> None:
    with subprocess.Popen(["sleep", "600"]) as machine:
        process = ProcessId.of(machine.pid)
        assert process is not None

        async def reach() -> str:
            os.kill(machine.pid, signal.SIGKILL)
            await asyncio.sleep(600)  # what a dead machine takes to answer
            return "reached"

        limit = Deadline.after(60)
        with pytest.raises(MachineError, match="machine server is not running any more") as caught:
            run_async(while_it_runs("server", process, reach()))
        assert not limit.expired
        assert caught.value.subject == "server"


def test_one_that_runs_is_reached() -> None:
    process = ProcessId.of(os.getpid())
    assert process is not None

    async def reach() -> str:
        return "reached"

    assert run_async(while_it_runs("server", process, reach())) == "reached"
