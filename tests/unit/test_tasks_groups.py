"""Concurrent work: which error comes out, and that nothing goes on behind it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest
from simulated_time import run_simulated

from orchestrator.errors import MachineError, ServiceError
from orchestrator.tasks import finish_despite_cancel, root_cause, run_all, run_with_watchdogs


async def value(result: int, after: float = 0.0) -> int:
    await asyncio.sleep(after)
    return result


async def failing(error: BaseException, after: float = 0.0) -> int:
    await asyncio.sleep(after)
    raise error


async def for_ever(ended: list[str] | None = None) -> None:
    try:
        await asyncio.sleep(60)
    finally:
        if ended is not None:
            ended.append("ended")


def alone(work: Coroutine[Any, Any, Any]) -> Any:
    """Run, and see that no task is left, whatever the outcome."""

    async def scenario() -> Any:
        try:
            return await work
        finally:
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return run_simulated(scenario())


def test_together_gives_results_in_order() -> None:
    assert alone(run_all(value(1, 0.03), value(2), value(3, 0.01))) == [1, 2, 3]
    assert alone(run_all()) == []


def test_together_raises_the_first_failure_bare_and_ends_the_rest() -> None:
    ended: list[str] = []
    with pytest.raises(ServiceError, match="web"):
        alone(run_all(failing(ServiceError("web"), 0.01), for_ever(ended)))
    assert ended == ["ended"]


def test_an_explained_failure_beside_others_comes_out() -> None:
    async def late() -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise MachineError("died") from None
        return 0

    with pytest.raises(MachineError, match="died"):
        alone(run_all(failing(ServiceError("web")), late()))


@pytest.mark.parametrize(
    ("errors", "expected"),
    [
        ([ValueError("a")], 0),
        ([ValueError("a"), ServiceError("b")], 1),
        ([ServiceError("a"), MachineError("b")], 1),
        ([ValueError("a"), ExceptionGroup("", [KeyError("b"), ExceptionGroup("", [MachineError("c")])])], None),
    ],
)
def test_root_cause(errors: list[Exception], expected: int | None) -> None:
    cause = root_cause(ExceptionGroup("", errors))
    assert str(cause) == "c" if expected is None else cause is errors[expected]
    assert root_cause(errors[0]) is errors[0]


def test_guarded_work_ends_its_guards() -> None:
    ended: list[str] = []
    assert alone(run_with_watchdogs(value(7, 0.02), [lambda: for_ever(ended), lambda: for_ever(ended)])) == 7
    assert ended == ["ended", "ended"]
    assert alone(run_with_watchdogs(value(7), [])) == 7


def test_a_guard_that_raises_ends_the_work() -> None:
    ended: list[str] = []

    async def guard() -> None:
        await failing(MachineError("died"), 0.01)

    with pytest.raises(MachineError, match="died"):
        alone(run_with_watchdogs(for_ever(ended), [guard]))
    assert ended == ["ended"]


def test_a_guard_that_returns_is_no_end() -> None:
    async def guard() -> None:
        return

    assert alone(run_with_watchdogs(value(3, 0.03), [guard])) == 3


def test_failing_work_comes_out_bare() -> None:
    with pytest.raises(ServiceError, match="web"):
        alone(run_with_watchdogs(failing(ServiceError("web")), [for_ever]))


def test_a_cancellation_reaches_the_work() -> None:
    ended: list[str] = []

    async def scenario() -> None:
        task = asyncio.create_task(run_with_watchdogs(for_ever(ended), [lambda: for_ever(ended)]))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    alone(scenario())
    assert ended == ["ended", "ended"]


async def steps(did: list[str], begun: asyncio.Event | None = None) -> None:
    for step in ("one", "two", "three"):
        did.append(step)
        if begun is not None:
            begun.set()
        await asyncio.sleep(0.01)
    did.append("done")


def test_what_must_be_finished_is() -> None:
    did: list[str] = []
    alone(finish_despite_cancel(steps(did)))
    assert did == ["one", "two", "three", "done"]


def test_a_cancellation_comes_after_what_must_be_finished() -> None:
    did: list[str] = []

    async def scenario() -> None:
        begun = asyncio.Event()
        task = asyncio.create_task(finish_despite_cancel(steps(did, begun)))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        did.append("cancelled")

    alone(scenario())
    assert did == ["one", "two", "three", "done", "cancelled"]


def test_the_end_of_a_group_waits_for_what_must_be_finished() -> None:
    """As when one machine dies while the others are being let go on."""
    did: list[str] = []
    with pytest.raises(MachineError, match="died"):
        alone(run_all(finish_despite_cancel(steps(did)), failing(MachineError("died"), 0.005)))
    assert did == ["one", "two", "three", "done"]


def test_a_failure_of_what_must_be_finished_comes_out_bare() -> None:
    async def stuck() -> None:
        await failing(MachineError("does not go on"), 0.01)

    with pytest.raises(MachineError, match="does not go on"):
        alone(finish_despite_cancel(stuck()))


def test_a_cancellation_in_the_turn_in_which_the_work_ends_is_not_lost() -> None:
    """Ctrl-C just when a command of a guest ends: the next one must not run on as if nothing had been said."""

    async def scenario() -> None:
        done = asyncio.Event()

        async def caller() -> None:
            await run_with_watchdogs(done.wait(), [lambda: asyncio.sleep(60)])
            await asyncio.sleep(1000)

        for turns in range(10):
            done.clear()
            task = asyncio.ensure_future(caller())
            await asyncio.sleep(0.01)
            done.set()
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task], timeout=1)
            assert task.cancelled(), turns

    run_simulated(scenario())
