"""A run of a matrix with hosts that are lost, cut off, too small or of another version: each cell once, or given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fleet_scene import Fleet, boot_clock, fleet, lasts, small
from simulated_time import run_simulated

from orchestrator.errors import UsageError
from orchestrator.fleet.journal import JOURNAL, Journal
from orchestrator.fleet.orders import Order


@pytest.fixture(autouse=True)
def places(own_places: None) -> Iterator[None]:
    with boot_clock():
        yield


async def until(condition: object, limit: float = 600) -> None:
    end = time.monotonic() + limit
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        await asyncio.sleep(0.1)


async def with_fault(found: Fleet, when: object, fault: object) -> None:
    """Run; as soon as a condition holds, do something to it."""
    async with asyncio.TaskGroup() as group:
        work = group.create_task(found.run.run())
        await until(when)
        fault()  # type: ignore[operator]
        await work


def test_all_cells_run_once_and_the_longest_begin_first(tmp_path: Path) -> None:
    async def scenario() -> None:
        known = {"a": 10.0, "b": 30.0, "c": 20.0, "d": 5.0}
        found = fleet(
            tmp_path,
            small(*known, processors=4),
            {"one": {"processors": 8}},
            behaviour=lambda order: lasts(known[order.cell], int(order.cell == "c")),
            seconds=known,
        )
        began = time.monotonic()
        await found.run.run()
        assert [cell for cell, _ in found.began] == ["b", "c", "a", "d"]
        assert time.monotonic() - began == pytest.approx(35, abs=2)
        assert found.results == {"a": "passed", "b": "passed", "c": "failed", "d": "passed"}
        assert found.states("a") == ["starting one", "running one", "passed one"]
        assert found.engine.closed and found.run.left == []
        assert [name for name, _ in found.told("one")] == ["joining", "up", "left"]

    run_simulated(scenario())


def test_two_hosts_take_half_the_time(tmp_path: Path) -> None:
    async def seconds(folder: Path, *hosts: str) -> float:
        folder.mkdir()
        cells = small(*(f"c{number}" for number in range(12)), processors=8)
        found = fleet(folder, cells, {host: {} for host in hosts}, behaviour=lambda order: lasts(60))
        began = time.monotonic()
        await found.run.run()
        assert set(found.results.values()) == {"passed"}
        return time.monotonic() - began

    async def scenario() -> None:
        alone, both = await seconds(tmp_path / "1", "one"), await seconds(tmp_path / "2", "one", "two")
        assert alone / both >= 1.8

    run_simulated(scenario())


def test_a_killed_worker_joins_again_and_its_cells_begin_again_there_or_elsewhere(tmp_path: Path) -> None:
    async def scenario() -> None:
        found = fleet(tmp_path, small("a", "b", processors=8), {"one": {}, "two": {}})
        one = found.hosts["one"]
        await with_fault(found, lambda: one.running, one.kill)
        assert found.results == {"a": "passed", "b": "passed"}
        (lost,) = [cell for cell, attempt in found.began if attempt == 2]
        assert found.began.count((lost, 1)) == found.began.count((lost, 2)) == 1
        assert "lost one" in found.states(lost)
        assert ("lost", "its worker was ended by SIGKILL") in found.told("one")
        assert one.joins == 2

    run_simulated(scenario())


def test_a_host_that_is_cut_off_ends_its_cells_before_they_begin_elsewhere(tmp_path: Path) -> None:
    """The network is gone, the host works on: nobody can ask it, and the cell must not run twice."""
    at_once: list[int] = []

    async def scenario() -> None:
        found = fleet(tmp_path, small("a"), {"one": {"memory": 9000}, "two": {}}, behaviour=lambda order: lasts(500))
        one, two = found.hosts["one"], found.hosts["two"]

        async def watch() -> None:
            while not found.results:
                at_once.append(len(one.running) + len(two.running))
                await asyncio.sleep(0.5)

        def cut() -> None:
            (one if one.running else two).cut = True

        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            group.create_task(with_fault(found, lambda: one.running or two.running, cut))
        assert max(at_once) == 1
        assert found.results == {"a": "passed"}
        assert {attempt for _, attempt in found.began} == {1, 2}
        first = "one" if one.cut else "two"
        assert ("gone" in dict(found.told(first))) and "cannot be reached" in dict(found.told(first))["gone"]

    run_simulated(scenario())


def test_a_cell_whose_hosts_are_lost_again_and_again_is_given_up(tmp_path: Path) -> None:
    async def scenario() -> None:
        found = fleet(tmp_path, small("a"), {"one": {}}, behaviour=lambda order: lasts(500))
        one = found.hosts["one"]

        async def kill_twice() -> None:
            for attempt in (1, 2):
                await until(lambda: ("a", attempt) in one.began)  # noqa: B023 - awaited in this turn
                one.kill()

        async with asyncio.TaskGroup() as group:
            group.create_task(found.run.run())
            group.create_task(kill_twice())
        result = found.run.journal.finished["a"]
        assert (result.outcome, result.code, result.ran) == ("error", 3, False)
        assert result.cause == "its host was lost 2 times, the last was one"
        assert len(found.began) == 2

    run_simulated(scenario())


def test_a_host_of_another_version_does_not_take_part(tmp_path: Path) -> None:
    async def scenario() -> None:
        found = fleet(tmp_path, small("a"), {"old": {"version": "0.1+aaaaaaaaaa"}, "new": {}})
        await found.run.run()
        assert found.results == {"a": "passed"} and not found.hosts["old"].began
        state, why = found.told("old")[-1]
        assert state == "refused" and why.startswith("old has version 0.1+aaaaaaaaaa of this program, here it is ")

    run_simulated(scenario())


def test_a_cell_that_no_host_carries_is_refused_at_once_and_the_others_run(tmp_path: Path) -> None:
    async def scenario() -> None:
        cells = {**small("large", memory=20_000), **small("a")}
        found = fleet(tmp_path, cells, {"one": {"memory": 8000}, "far": {"refuses_to_join": True}})
        await found.run.run()
        result = found.run.journal.finished["large"]
        assert result.cause == (
            "one has 8000 MiB of memory, 20000 MiB are needed; far does not take part: far cannot be reached"
        )
        assert found.results == {"large": "error", "a": "passed"} and ("large", 1) not in found.began
        assert found.states("large") == ["error "], "before the other one has ended"
        assert list(found.run.journal.finished) == ["large", "a"]

    run_simulated(scenario())


def test_memory_is_looked_at_again_before_a_cell_begins(tmp_path: Path) -> None:
    """Somebody else took it meanwhile: the cell waits, then goes to another host."""

    async def scenario() -> None:
        found = fleet(tmp_path, small("a"), {"one": {"memory": 9000, "memory_now": 500}, "two": {"memory": 4000}})
        await found.run.run()
        assert found.results == {"a": "passed"}
        assert found.began == [("a", 2)] and found.hosts["two"].began
        assert found.states("a") == [
            "starting one",
            "waiting one",
            "waiting one",
            "starting two",
            "running two",
            "passed two",
        ]
        reasons = [event.detail for event in found.events if getattr(event, "state", "") == "waiting"]  # type: ignore[attr-defined]
        assert reasons[0] == "one has 500 MiB of memory available now, 1000 MiB are needed"

    run_simulated(scenario())


def test_memory_that_comes_back_soon_is_waited_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        found = fleet(tmp_path, small("a"), {"one": {"memory_now": 500}})
        await with_fault(
            found, lambda: "waiting one" in found.states("a"), lambda: setattr(found.hosts["one"], "memory_now", 2000)
        )
        assert found.began == [("a", 1)] and found.results == {"a": "passed"}

    run_simulated(scenario())


def test_an_interrupt_ends_all_cells_and_only_what_did_not_end_runs_again(tmp_path: Path) -> None:
    async def behaviour(order: Order) -> int:
        return await lasts(5 if order.cell == "short" else 500)

    async def scenario() -> None:
        found = fleet(tmp_path, small("short", "b", "c"), {"one": {}, "two": {}}, behaviour=behaviour)
        work = asyncio.get_running_loop().create_task(found.run.run())
        await until(lambda: "short" in found.results)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert not any(host.running for host in found.hosts.values()) and found.engine.closed
        assert found.run.left == [] and found.results == {"short": "passed"}
        assert found.run.journal.unfinished() == []

        again = fleet(tmp_path, small("short", "b", "c"), {"one": {}, "two": {}}, behaviour=lambda order: lasts(1))
        await again.run.run()
        assert sorted(again.began) == [("b", 2), ("c", 2)], "a finished cell never runs again"
        assert again.results == {"short": "passed", "b": "passed", "c": "passed"}

    run_simulated(scenario())


def test_a_killed_command_goes_on_when_nothing_of_it_can_run_any_more(tmp_path: Path) -> None:
    """The host that had the cell does not take part this time: its lease has to run out first."""

    async def scenario() -> None:
        (tmp_path / "run").mkdir()
        journal = Journal(tmp_path / "run")
        journal.began("a", 1, "far")
        with (tmp_path / "run" / JOURNAL).open("a") as file:
            file.write('{"at": 1, "state": "fin')  # it was killed in the middle of a line
        found = fleet(tmp_path, small("a", "b"), {"one": {}})
        began = time.monotonic()
        await found.run.run()
        assert found.began == [("b", 1), ("a", 2)]
        assert time.monotonic() - began > found.run.times.given_up
        assert found.results == {"a": "passed", "b": "passed"}

    run_simulated(scenario())


def test_evidence_comes_home_with_the_result_and_all_of_it_after_a_failure(tmp_path: Path) -> None:
    async def scenario() -> None:
        found = fleet(tmp_path, small("a", "b"), {"one": {}}, behaviour=lambda order: lasts(1, int(order.cell == "b")))
        await found.run.run()
        assert sorted(found.hosts["one"].brought) == [("a", False), ("b", False), ("b", True)]
        assert sorted(found.hosts["one"].discarded) == ["a", "b"]

    run_simulated(scenario())


def test_a_result_counts_where_its_evidence_does_not_come_home(tmp_path: Path) -> None:
    async def scenario() -> None:
        found = fleet(tmp_path, small("a"), {"one": {}}, behaviour=lambda order: lasts(1, 1))
        one = found.hosts["one"]

        async def broken(folder: str, home: Path, *, whole: bool) -> None:
            from orchestrator.errors import HostError

            raise HostError("the disk here is full")

        one.bring = broken  # type: ignore[method-assign]
        await found.run.run()
        assert found.run.journal.finished["a"].cause == (
            "exit code 1; its evidence did not come home: the disk here is full"
        )

    run_simulated(scenario())


def test_a_folder_that_is_no_matrix_is_not_resumed(tmp_path: Path) -> None:
    from orchestrator.fleet.journal import read_plan

    with pytest.raises(UsageError, match="is not the run folder of a matrix"):
        read_plan(tmp_path)
