"""Blocking calls: each begins at once, however many wait, and none holds the program's end."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import signal
import subprocess
import sys
import threading
import time

import pytest

from orchestrator.deadline import Deadline
from orchestrator.errors import TimeLimit
from orchestrator.threads import in_thread, next_of


def test_results_and_errors_come_back() -> None:
    async def scenario() -> None:
        assert await in_thread(divmod, 7, 3) == (2, 1)
        with pytest.raises(ZeroDivisionError):
            await in_thread(divmod, 7, 0)
        with pytest.raises(RuntimeError, match="StopIteration"):
            await in_thread(next, iter(()))

    asyncio.run(scenario())


def test_a_call_sees_the_context_of_its_caller() -> None:
    variable = contextvars.ContextVar[str]("variable")

    async def scenario() -> None:
        variable.set("here")
        assert await in_thread(variable.get) == "here"

    asyncio.run(scenario())


def test_a_quick_call_does_not_wait_for_a_hundred_slow_ones() -> None:
    over = threading.Event()

    async def scenario() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(in_thread(over.wait, 60))
            await asyncio.sleep(0)  # they have begun
            async with Deadline.after(10).enforce():
                assert await in_thread(lambda: "quick") == "quick"
            over.set()

    asyncio.run(scenario())


def test_a_call_that_is_given_up_is_not_waited_for() -> None:
    over = threading.Event()

    async def scenario() -> None:
        with pytest.raises(TimeLimit):
            async with Deadline.after(0.05).enforce():
                await in_thread(over.wait, 60)

    began = time.monotonic()
    asyncio.run(scenario())
    assert time.monotonic() - began < 20
    over.set()


def test_a_call_that_never_returns_does_not_hold_the_programs_end() -> None:
    program = (
        "import asyncio, threading\n"
        "from orchestrator.threads import in_thread, next_of\n"
        "async def main():\n"
        "    task = asyncio.ensure_future(in_thread(threading.Event().wait))\n"
        "    await asyncio.sleep(0.1)\n"
        "    task.cancel()\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], timeout=30, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_signal_is_seen_that_another_thread_took() -> None:
    arrived: queue.SimpleQueue[int] = queue.SimpleQueue()
    before = signal.signal(signal.SIGUSR1, lambda number, _: arrived.put(number))
    try:
        pressing = threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1))
        pressing.start()
        assert next_of(arrived) == signal.SIGUSR1
        pressing.join()
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_queue_in_which_nothing_comes() -> None:
    with pytest.raises(queue.Empty):
        next_of(queue.SimpleQueue(), Deadline.after(0.01))
