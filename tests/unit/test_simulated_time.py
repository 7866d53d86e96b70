"""The simulated clock of other tests: exact, and honest about sockets and threads."""

from __future__ import annotations

import asyncio
import socket
import threading
import time

import pytest
from simulated_time import run_simulated

from orchestrator.deadline import Deadline, pause
from orchestrator.errors import TimeLimit
from orchestrator.threads import in_thread

REAL = time.monotonic


def test_waits_take_exactly_what_they_say_and_no_real_time() -> None:
    async def scenario() -> float:
        limit = Deadline.after(500)
        async with asyncio.TaskGroup() as group:
            group.create_task(pause(300, limit))
            group.create_task(pause(200, limit))
        return limit.elapsed

    began = REAL()
    assert run_simulated(scenario()) == pytest.approx(300, abs=0.001)
    assert REAL() - began < 30


def test_a_deadline_ends_what_never_comes() -> None:
    async def scenario() -> None:
        limit = Deadline.after(120)
        with pytest.raises(TimeLimit):
            async with limit.enforce():
                await asyncio.Event().wait()
        assert limit.elapsed == pytest.approx(120, abs=0.001)

    run_simulated(scenario())


def test_what_a_socket_brings_comes_before_the_clock_moves() -> None:
    async def scenario() -> None:
        ours, theirs = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=ours)
        theirs.sendall(b"line\n")
        limit = Deadline.after(1)
        async with limit.enforce():
            assert await reader.readline() == b"line\n"
        assert limit.elapsed == 0
        theirs.close()
        writer.close()
        await writer.wait_closed()

    run_simulated(scenario())


def test_a_thread_is_given_the_time_it_needs() -> None:
    async def scenario() -> None:
        opened = threading.Event()
        async with Deadline.after(60).enforce(), asyncio.TaskGroup() as group:
            group.create_task(in_thread(opened.wait, 50))
            opened.set()

    run_simulated(scenario())


def test_the_clock_is_the_real_one_again_afterwards() -> None:
    run_simulated(asyncio.sleep(5))
    assert time.monotonic is REAL
