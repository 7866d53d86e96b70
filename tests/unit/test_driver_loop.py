"""The driver's loop: calls from any thread and any event loop, interrupted in order."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from orchestrator.driver.loop import DriverLoop
from orchestrator.errors import HostError, UsageError
from orchestrator.threads import next_of


async def answer(value: int) -> int:
    await asyncio.sleep(0)
    return value


class Work:
    """Work that lasts until it is cancelled, and takes its time to end."""

    def __init__(self) -> None:
        self.began = threading.Event()
        self.ended = threading.Event()

    async def run(self) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            self.ended.set()


def test_a_call_returns_what_the_work_returns_in_any_thread() -> None:
    loop = DriverLoop()
    assert loop.wait(answer(3)) == 3
    found: list[int] = []
    threads = [threading.Thread(target=lambda n=n: found.append(loop.wait(answer(n)))) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(20))


def test_an_error_comes_as_it_is() -> None:
    async def fail() -> None:
        raise HostError("no room")

    with pytest.raises(HostError, match="no room"):
        DriverLoop().wait(fail())


def test_it_is_awaited_on_any_loop_one_after_the_other() -> None:
    loop = DriverLoop()

    async def both() -> list[int]:
        return list(await asyncio.gather(*(loop.awaited(answer(n)) for n in range(5))))

    assert asyncio.run(both()) == asyncio.run(both()) == list(range(5))


def test_a_plain_call_works_where_a_loop_runs() -> None:
    """As in Jupyter."""
    loop = DriverLoop()

    async def cell() -> int:
        return loop.wait(answer(7))

    assert asyncio.run(cell()) == 7


def test_ctrl_c_cancels_the_work_and_comes_when_it_has_ended() -> None:
    loop, work = DriverLoop(), Work()

    def press() -> None:
        work.began.wait()
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(KeyboardInterrupt):
        loop.wait(work.run())
    assert work.ended.is_set()
    assert loop.wait(answer(1)) == 1


def test_ctrl_c_is_seen_when_it_came_as_the_wait_began() -> None:
    """Python notes such a signal and wakes nobody: as one that another thread takes."""
    loop, work = DriverLoop(), Work()
    main = threading.get_ident()

    def press() -> None:
        while sys._current_frames()[main].f_code is not next_of.__code__ or not work.began.is_set():
            time.sleep(0.001)
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    threading.Thread(target=press).start()
    with pytest.raises(KeyboardInterrupt):
        loop.wait(work.run())
    assert work.ended.is_set()


HAMMER = """
import asyncio, os, random, signal, threading, time
from orchestrator.driver.loop import DriverLoop

loop, source, seen = DriverLoop(), random.Random(1), 0

async def work():
    await asyncio.Event().wait()

async def answer():
    return 1

def press(spins):
    for _ in range(spins):
        pass
    os.kill(os.getpid(), signal.SIGINT)

for _ in range(400):
    pressing = threading.Thread(target=press, args=(source.randrange(20_000),))
    try:
        pressing.start()
        loop.wait(work())
    except KeyboardInterrupt:
        seen += 1
    pressing.join()
print(seen, loop.wait(answer()))
"""


@pytest.mark.slow
def test_ctrl_c_at_any_moment_of_a_call_ends_it_and_leaves_the_loop_whole() -> None:
    done = subprocess.run([sys.executable, "-c", HAMMER], timeout=240, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("400 1\n", "")


def test_a_cancelled_task_cancels_the_work_and_ends_after_it() -> None:
    loop, work = DriverLoop(), Work()

    async def cancelled() -> bool:
        task = asyncio.create_task(loop.awaited(work.run()))
        await asyncio.to_thread(work.began.wait)
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled() and work.ended.is_set()

    assert asyncio.run(cancelled())


def test_a_callback_that_calls_is_told_and_does_not_hang() -> None:
    loop = DriverLoop()

    async def callback() -> None:
        loop.wait(answer(1))

    with pytest.raises(UsageError, match="a callback cannot call an environment"):
        loop.wait(callback())


def test_a_forked_process_is_told_and_does_not_hang() -> None:
    loop = DriverLoop()
    loop.wait(answer(1))
    pid = os.fork()
    if pid == 0:
        try:
            loop.wait(answer(1))
        except UsageError as error:
            os._exit(42 if "forked" in error.what else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42
