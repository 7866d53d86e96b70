"""Deadlines: expiry in time, and nobody else's time-out taken for it."""

from __future__ import annotations

import asyncio
import time

import pytest
from simulated_time import run_simulated

from orchestrator.deadline import Deadline, pause
from orchestrator.errors import HostError, MachineError, TimeLimit


def test_the_body_is_cancelled_in_time_and_the_callers_error_is_raised() -> None:
    cancelled = []

    async def scenario() -> None:
        deadline = Deadline.after(0.1)
        with pytest.raises(HostError, match="too late") as caught:
            async with deadline.enforce(lambda: HostError("too late")):
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    cancelled.append(deadline.elapsed)
                    raise
        assert isinstance(caught.value.__cause__, TimeoutError)
        # the task is of use afterwards
        await asyncio.sleep(0)

    run_simulated(scenario())
    assert 0.1 <= cancelled[0] < 0.3


def test_without_an_error_of_the_callers_it_is_the_time_limit() -> None:
    async def scenario() -> None:
        async with Deadline.after(0.02).enforce():
            await asyncio.sleep(60)

    with pytest.raises(TimeLimit, match=r"time limit of 0\.02 s reached") as caught:
        run_simulated(scenario())
    assert caught.value.exit_code == 124


def test_a_body_that_ends_in_time_is_left_alone() -> None:
    async def scenario() -> str:
        async with Deadline.after(5).enforce():
            await asyncio.sleep(0)
            return "done"

    assert run_simulated(scenario()) == "done"


def test_a_time_out_of_the_bodys_own_is_not_ours() -> None:
    async def early() -> None:
        async with Deadline.after(5).enforce(lambda: HostError("ours")):
            raise TimeoutError("its own")

    async def late() -> None:
        async with Deadline.after(0.02).enforce(lambda: HostError("ours")):
            time.sleep(0.05)  # noqa: ASYNC251 - the loop is held on purpose, past the deadline
            raise TimeoutError("its own")

    for body in (early, late):
        with pytest.raises(TimeoutError, match="its own"):
            run_simulated(body())


def test_the_earlier_of_two_nested_deadlines_speaks() -> None:
    async def nested(outer: float, inner: float) -> None:
        around = Deadline.after(outer).enforce(lambda: HostError("outer"))
        async with around, Deadline.after(inner).enforce(lambda: MachineError("inner")):
            await asyncio.sleep(60)

    with pytest.raises(HostError, match="outer"):
        run_simulated(nested(0.05, 5))
    with pytest.raises(MachineError, match="inner"):
        run_simulated(nested(5, 0.05))


def test_a_cancellation_from_outside_stays_one() -> None:
    async def scenario() -> None:
        async def body() -> None:
            async with Deadline.after(5).enforce(lambda: HostError("ours")):
                await asyncio.sleep(60)

        task = asyncio.create_task(body())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_simulated(scenario())


def test_an_expired_deadline_ends_the_body_at_its_first_wait() -> None:
    steps = []

    async def scenario() -> None:
        async with Deadline.after(-1).enforce():
            steps.append("before")
            await asyncio.sleep(0.5)
            steps.append("after")

    with pytest.raises(TimeLimit):
        run_simulated(scenario())
    assert steps == ["before"]


def test_earlier_never_extends() -> None:
    whole = Deadline.after(10)
    part = whole.earlier(1)
    assert part.timeout == pytest.approx(1, abs=0.05)
    assert part.at < whole.at
    rest = part.earlier(60)
    assert rest.at == part.at
    assert rest.timeout == pytest.approx(1, abs=0.05)
    over = Deadline.after(-5).earlier(3)
    assert over.expired
    assert over.left == 0
    assert f"{over.timeout:.0f}" == "0", "messages name no negative limit"


def test_clock_of_a_deadline() -> None:
    deadline = Deadline.after(0.05)
    assert 0 < deadline.left <= 0.05
    time.sleep(0.06)
    assert deadline.expired
    assert deadline.left == 0
    assert deadline.elapsed >= 0.06


def test_pause_does_not_pass_the_deadline() -> None:
    async def scenario() -> float:
        limit = Deadline.after(20)
        await pause(60, limit)
        return limit.elapsed

    assert run_simulated(scenario()) == pytest.approx(20, abs=0.001)
