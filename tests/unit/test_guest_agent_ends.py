"""Commands of the guest agent that are cancelled, begin late, or give too much."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from fake_qemu import FakeGuest, FakeServer
from simulated_time import run_simulated

from orchestrator.deadline import Deadline
from orchestrator.errors import MachineError
from orchestrator.guest import agent as module
from orchestrator.guest.agent import Agent


async def connected(guest: FakeServer) -> Agent:
    agent = Agent("server", guest.path)
    await agent.connect(Deadline.after(10))
    return agent


class SlowGuest(FakeGuest):
    """Starts every command only when it is told to, as a guest that hangs for a moment."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.go = asyncio.Event()
        self.asked = asyncio.Event()
        self.handlers["guest-exec"] = self._slowly

    async def _slowly(self, arguments: dict[str, Any]) -> object:
        self.asked.set()
        await self.go.wait()
        return await self._exec(arguments)


async def ended(guest: FakeGuest, word: str) -> bool:
    """Whether every command of the guest with this word was begun and is gone."""
    limit = Deadline.after(20)
    while not limit.expired:
        found = [process for process, _ in guest.running.values() if word in guest.lines[process.pid]]
        if found and all(process.returncode is not None for process in found):
            return True
        await asyncio.sleep(0.02)
    return False


def test_a_command_that_is_cancelled_before_its_pid_is_known_is_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        guest = SlowGuest(tmp_path / "agent")
        async with guest.serving():
            agent = await connected(guest)
            async with asyncio.TaskGroup() as group:
                task = group.create_task(agent.exec(["sleep", "600"], deadline=Deadline.after(60)))
                await guest.asked.wait()
                task.cancel()
                await asyncio.sleep(0)
                guest.go.set()
            assert task.cancelled()
            assert await ended(guest, "sleep 600")
            assert (await agent.exec(["echo", "on"], deadline=Deadline.after(5))).text == "on"
            await agent.close()

    run_simulated(scenario())


def test_a_command_that_the_guest_begins_late_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not waited for longer than a moment, and ended when the guest comes back to its senses."""
    monkeypatch.setattr(module, "END_GRACE", 0.2)

    async def scenario() -> None:
        guest = SlowGuest(tmp_path / "agent")
        async with guest.serving():
            agent = await connected(guest)
            limit = Deadline.after(0.2)
            with pytest.raises(MachineError, match=r"did not answer guest-exec within 0\.2 s"):
                await agent.exec(["sleep", "600"], deadline=limit)
            assert not guest.running
            guest.go.set()
            assert await ended(guest, "sleep 600")
            await agent.close()

    run_simulated(scenario())


def test_a_command_that_is_cancelled_while_it_runs_is_ended(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with FakeGuest(tmp_path / "agent").serving() as guest:
            agent = await connected(guest)
            async with asyncio.TaskGroup() as group:
                script = f"touch {tmp_path}/begun; exec sleep 600"
                task = group.create_task(agent.exec(["sh", "-c", script], deadline=Deadline.after(60)))
                while not (tmp_path / "begun").exists():  # noqa: ASYNC110 - a file, for milliseconds
                    await asyncio.sleep(0.01)
                task.cancel()
            assert task.cancelled()
            assert await ended(guest, "sleep 600")
            await agent.close()

    run_simulated(scenario())


def test_output_beyond_what_the_agent_keeps_is_said_to_be_cut(tmp_path: Path) -> None:
    """16 MiB of each output, in one reply of 43 MiB."""
    kept = base64.b64encode(b"x" * (16 << 20)).decode()

    async def scenario() -> None:
        guest = FakeGuest(tmp_path / "agent")
        guest.handlers["guest-exec-status"] = lambda _: {
            "exited": True,
            "exitcode": 0,
            "out-data": kept,
            "err-data": kept,
            "out-truncated": True,
        }
        async with guest.serving():
            agent = await connected(guest)
            done = await agent.exec(["true"], deadline=Deadline.after(30))
            assert (len(done.stdout), len(done.stderr), done.cut) == (16 << 20, 16 << 20, True)
            guest.handlers["guest-exec-status"] = lambda _: {"exited": True, "exitcode": 0}
            assert not (await agent.exec(["true"], deadline=Deadline.after(30))).cut
            await agent.close()

    run_simulated(scenario())


def test_a_reply_without_end_is_an_explained_error(tmp_path: Path) -> None:
    async def scenario() -> None:
        guest = FakeGuest(tmp_path / "agent")
        guest.handlers["guest-info"] = lambda _: {"text": "x" * (50 << 20)}
        async with guest.serving():
            agent = await connected(guest)
            for _ in range(2):  # the second finds the connection gone
                with pytest.raises(MachineError, match="connection to the guest agent of machine server is lost"):
                    await agent.call("guest-info", deadline=Deadline.after(30))
            await agent.close()

    run_simulated(scenario())
