"""What a host does by itself: real commands under leases, which end in order whoever has gone."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from fake_qemu import run_async

from orchestrator.deadline import Deadline, wait_until
from orchestrator.fleet.lease import Lease, all_leases, held, leases_folder
from orchestrator.fleet.needs import Needs
from orchestrator.fleet.orders import Contract, Ended, Order, Times
from orchestrator.fleet.session import Session, argv_of, environment_of
from orchestrator.process import child
from orchestrator.process_id import ProcessId

pytestmark = pytest.mark.usefixtures("own_places")
TIMES = Times(lease=30, ending=5, patience=0.1)
# Says that it runs, ends in order when told, and says that too.
PATIENT = "trap 'echo ended >> log; exit 0' TERM; echo $$ >> log; while :; do sleep 0.05; done"


def order(folder: Path, script: str = PATIENT, *, cell: str = "a", attempt: int = 1, memory: int = 0) -> Order:
    return Order(
        run="r1",
        cell=cell,
        attempt=attempt,
        name=f"t-{cell}",
        words=(),
        command=("sh", "-c", script),
        variables={"ORCH_CELL": cell},
        cwd=str(folder),
        folder=folder / "cells" / cell,
        needs=Needs(memory, 1, 0),
        limit=60,
    )


def soon() -> Deadline:
    return Deadline.after(10)


def log(folder: Path) -> list[str]:
    return (folder / "log").read_text().split() if (folder / "log").exists() else []


@contextmanager
def answered(times: Times = TIMES, memory: int = 8000) -> Iterator[tuple[Session, list[dict[str, object]]]]:
    """A session that is answered at once, and what it tells."""
    told: list[dict[str, object]] = []

    def tell(message: dict[str, object]) -> None:
        told.append(message)
        if message["kind"] == "asked":
            asyncio.get_running_loop().call_soon(session.answer, int(str(message["number"])))

    session = Session(Contract("r1", "here", times), tell, memory=lambda: memory)
    yield session, told


def with_session(work: Callable[[Session, list[dict[str, object]]], Awaitable[None]], times: Times = TIMES) -> None:
    async def scenario() -> None:
        with answered(times) as (session, told):
            async with asyncio.TaskGroup() as group:
                group.create_task(session.hold())
                assert await wait_until(lambda: any(one["kind"] == "opened" for one in told), soon())
                await work(session, told)
                await session.close()

    run_async(scenario(), 60)


def test_a_cell_is_a_process_of_its_own_with_the_cell_in_its_variables(tmp_path: Path) -> None:
    async def work(session: Session, told: list[dict[str, object]]) -> None:
        script = 'echo "$ORCH_CELL $ORCH_NAME $ORCH_RUNS"; exit 3'
        ended = await session.run(order(tmp_path, script))
        assert (ended.code, ended.refused, ended.left) == (3, "", "")
        assert {"kind": "line", "cell": "a", "text": f"a t-a {tmp_path}/cells/a"} in told
        (lease,) = all_leases(leases_folder("r1"))
        assert lease.ended and lease.process is None

    with_session(work)
    assert not leases_folder("r1").parent.exists(), "nothing of the run is left here"


def test_an_order_runs_our_own_command_in_a_session_that_outlives_nobody(tmp_path: Path) -> None:
    own = replace(order(tmp_path), command=(), words=("--file=t.toml", "--shard=1/2"))
    assert argv_of(own, tmp_path)[:8] == [
        *("setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "orchestrator", "--progress", "plain"),
    ]
    assert argv_of(own, tmp_path)[8:] == [
        *("run", "--name", "t-a", "--free-ports", "--runs", str(tmp_path), "--timeout", "60"),
        *("--file=t.toml", "--shard=1/2"),
    ]


def test_what_chooses_another_environment_is_not_inherited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_VARIANT", "another")
    monkeypatch.setenv("ORCH_NAME", "another")
    monkeypatch.setenv("ORCH_CACHE_DIR", "/cache")
    found = environment_of(order(tmp_path), tmp_path / "runs")
    assert "ORCH_VARIANT" not in found and found["ORCH_NAME"] == "t-a" and found["ORCH_CACHE_DIR"] == "/cache"


def test_an_attempt_is_started_once_however_often_it_is_ordered(tmp_path: Path) -> None:
    async def work(session: Session, told: list[dict[str, object]]) -> None:
        assert (await session.run(order(tmp_path, "echo ran >> log"))).code == 0
        again = await session.run(order(tmp_path, "echo ran >> log"))
        assert again == Ended(refused="attempt 1 was started here before")
        assert (await session.run(order(tmp_path, "echo ran >> log", attempt=2))).code == 0
        assert log(tmp_path) == ["ran", "ran"]

    with_session(work)


def test_a_cell_that_runs_is_not_started_a_second_time(tmp_path: Path) -> None:
    async def work(session: Session, told: list[dict[str, object]]) -> None:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(session.run(order(tmp_path)))
            await wait_until(lambda: log(tmp_path), soon())
            second = await session.run(order(tmp_path, attempt=2))
            assert second.refused == "this host runs the cell already"
            await session.end(["a"])
            assert (await first).stopped
        assert len(log(tmp_path)) == 2 and log(tmp_path)[1] == "ended"

    with_session(work)


def test_another_attempt_ends_what_a_worker_that_is_gone_left(tmp_path: Path) -> None:
    """The worker was killed, its cell did not notice: the next one finds it by its lease."""

    async def scenario() -> None:
        argv = ["sh", "-c", PATIENT]
        async with child(argv, cwd=tmp_path) as orphan:
            assert await wait_until(lambda: log(tmp_path), soon())
            async with held(leases_folder("r1"), "a", 1, "t-a", grace=5) as lease:
                lease.started(ProcessId.of(orphan.pid))
            with answered() as (session, told):
                async with asyncio.TaskGroup() as group:
                    group.create_task(session.hold())
                    assert await wait_until(lambda: any(one["kind"] == "opened" for one in told), soon())
                    opened = next(one for one in told if one["kind"] == "opened")
                    assert opened["ended"] == ["a"] and log(tmp_path)[1:] == ["ended"]
                    assert (await session.run(order(tmp_path, "echo second >> log", attempt=2))).code == 0
                    await session.close()
        assert log(tmp_path)[1:] == ["ended", "second"]

    run_async(scenario(), 60)


def test_two_workers_of_one_host_cannot_run_the_same_cell_at_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        with answered() as (old, before), answered() as (new, told):
            async with asyncio.TaskGroup() as group:
                group.create_task(old.hold())
                assert await wait_until(lambda: any(one["kind"] == "opened" for one in before), soon())
                first = group.create_task(old.run(order(tmp_path)))
                assert await wait_until(lambda: log(tmp_path), soon())
                group.create_task(new.hold())
                assert await wait_until(lambda: any(one["kind"] == "opened" for one in told), soon())
                assert (await new.run(order(tmp_path, "echo second >> log", attempt=2))).code == 0
                assert (await first).code == 0
                await old.close()
                await new.close()
        assert log(tmp_path)[1:] == ["ended", "second"], "the old one ended before the new one began"

    run_async(scenario(), 60)


def test_all_cells_end_in_order_when_a_run_is_closed(tmp_path: Path) -> None:
    async def work(session: Session, told: list[dict[str, object]]) -> None:
        async with asyncio.TaskGroup() as group:
            cells = [group.create_task(session.run(order(tmp_path, cell=name))) for name in "abc"]
            await wait_until(lambda: len(log(tmp_path)) == 3, soon())
            assert await session.close() == []
            assert all([(await cell).stopped for cell in cells])
        assert sorted(log(tmp_path))[3:] == ["ended"] * 3
        assert (await session.run(order(tmp_path, cell="d"))).refused

    with_session(work)


def test_one_cell_can_be_ended_alone(tmp_path: Path) -> None:
    async def work(session: Session, told: list[dict[str, object]]) -> None:
        async with asyncio.TaskGroup() as group:
            first = group.create_task(session.run(order(tmp_path, cell="a")))
            second = group.create_task(session.run(order(tmp_path, cell="b")))
            await wait_until(lambda: len(log(tmp_path)) == 2, soon())
            await session.end(["a"])
            assert (await first).stopped and not second.done()
            await session.end()

    with_session(work)


def test_a_host_that_nobody_answers_ends_its_cells_by_itself(tmp_path: Path) -> None:
    async def scenario() -> None:
        told: list[dict[str, object]] = []
        session = Session(Contract("r1", "here", Times(lease=0.6, ending=5)), told.append, memory=lambda: 8000)
        async with asyncio.TaskGroup() as group:
            holding = group.create_task(session.hold())
            await wait_until(lambda: bool(told), soon())
            session.answer(1)  # once, and never again
            running = group.create_task(session.run(order(tmp_path)))
            assert await wait_until(lambda: log(tmp_path)[1:] == ["ended"], soon())
            assert (await running).stopped
            assert await holding is False
        assert (await session.run(order(tmp_path, attempt=2))).refused == "the host waits for a sign of life"

    run_async(scenario(), 60)


def test_an_answer_counts_from_its_question_on_however_late_it_comes(tmp_path: Path) -> None:
    async def scenario() -> None:
        told: list[dict[str, object]] = []
        session = Session(Contract("r1", "here", Times(lease=0.5, ending=5)), told.append, memory=lambda: 8000)
        async with asyncio.TaskGroup() as group:
            holding = group.create_task(session.hold())
            await wait_until(lambda: len(told) > 4, soon())  # two thirds of the lease have passed
            session.answer(1)
            assert await holding is False, "it did not prolong the lease to its own time"
            session.answer(1)
            assert (await session.run(order(tmp_path))).refused

    run_async(scenario(), 60)


def test_a_cell_that_finds_too_little_memory_is_refused_with_the_numbers(tmp_path: Path) -> None:
    async def work(session: Session, told: list[dict[str, object]]) -> None:
        ended = await session.run(order(tmp_path, "echo ran >> log", memory=9000))
        assert ended.refused == "here has 8000 MiB of memory available now, 9000 MiB are needed"
        assert {"kind": "waits", "cell": "a", "reason": ended.refused} in told and log(tmp_path) == []

    with_session(work)


def test_a_cell_beyond_its_limit_is_ended(tmp_path: Path) -> None:
    async def work(session: Session, told: list[dict[str, object]]) -> None:
        short = replace(order(tmp_path), limit=0.1)
        ended = await session.run(short)
        assert ended.code == 124 and log(tmp_path)[1:] == ["ended"]

    with_session(work, replace(TIMES, ending=0.5))


def test_a_lease_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    folder = leases_folder("r1")
    folder.mkdir(parents=True)
    (folder / "a.json").write_text("{")
    assert all_leases(folder) == []
    me = ProcessId.of(os.getpid())
    assert Lease("a", 1, "t", me).alive and not Lease("a", 1, "t").alive
