"""Visits to machines: who reaches for one that ends is told at once."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_qemu import FakeGuest, run_async
from real_sshd import sshd

from orchestrator.deadline import Deadline
from orchestrator.environment.attach import channel_to, while_it_runs
from orchestrator.environment.state import MachineState
from orchestrator.errors import MachineError
from orchestrator.guest.ssh import SshTarget
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


@pytest.mark.parametrize("ssh_only", [False, True])
def test_a_visitor_asks_the_agent_or_by_ssh_where_there_is_none(tmp_path: Path, ssh_only: bool) -> None:
    agent_socket = tmp_path / "agent"
    visited = FakeGuest(agent_socket)

    async def scenario(target: SshTarget) -> None:
        own = ProcessId.own()
        known = MachineState(own, "", {22: target.port}, (tmp_path / "host_key.pub").read_text(), ssh_only=ssh_only)
        state: Any = SimpleNamespace(machines={"server": known}, run_folder=tmp_path, factor=1.0)
        machine = SimpleNamespace(agent=agent_socket, serial_log=tmp_path / "serial.log")
        paths: Any = SimpleNamespace(name="one", user_key=target.key_file, machine=lambda *_: machine)
        async with visited.serving(), channel_to(paths, state, "server", Deadline.after(10)) as channel:
            assert (await channel.exec(["echo", "hello"], deadline=Deadline.after(10))).text == "hello"
        assert bool(visited.log) is not ssh_only

    with sshd(tmp_path) as server:
        run_async(scenario(server.target), 60)
