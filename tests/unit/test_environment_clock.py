"""When a guest's clock is compared with the host's, and what a run on machines that were up before knows of times."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from event_records import of
from machine_stage import Stage, staged
from simulated_time import run_simulated

from orchestrator.deadline import Deadline
from orchestrator.environment import live_guest
from orchestrator.environment.joined import LogMarks
from orchestrator.events import wall_clock
from orchestrator.events.machines import MachineClock
from orchestrator.vm.arrivals import read_arrivals

BEHIND = 12.5


def ticking(stage: Stage) -> None:
    """The guest tells its time, which is behind."""
    stage.guest.handlers["guest-get-time"] = lambda _: int((wall_clock() - BEHIND) * 1e9)


@pytest.fixture(autouse=True)
def short_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_guest, "handover_script", lambda *_: "true\n")
    monkeypatch.setattr(live_guest, "journal_script", lambda: "true\n")


def test_a_guest_that_is_handed_over_has_its_clock_compared(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            ticking(stage)
            await stage.live._open_monitor(Deadline.after(5))
            await stage.live.agent.connect(Deadline.after(5))
            await stage.live.hand_over("key", Deadline.after(5))
            (clock,) = of(stage.events, MachineClock)
            assert (clock.subject, clock.reason) == ("server", "hand-over")
            assert abs(clock.offset - BEHIND) < 0.5 and 0 <= clock.uncertainty < 0.5
            assert clock.since == stage.live.qemu.started_at, "its clocks run so since it was started"
            assert stage.guest.log.count("guest-get-time") == 3

    run_simulated(scenario())


def test_a_guest_that_does_not_tell_its_time_is_handed_over_all_the_same(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            await stage.live._open_monitor(Deadline.after(5))
            await stage.live.agent.connect(Deadline.after(5))
            await stage.live.hand_over("key", Deadline.after(5))
            assert stage.live.handed_over and of(stage.events, MachineClock) == []

    run_simulated(scenario())


def test_a_pause_is_followed_by_a_comparison(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            ticking(stage)
            await stage.live._open_monitor(Deadline.after(5))
            watching = asyncio.ensure_future(stage.live.qemu.watcher.watch())
            await asyncio.sleep(0.1)
            stage.qmp.event("RESUME")  # of a restore: the guest is nobody's yet
            await asyncio.sleep(0.5)
            assert of(stage.events, MachineClock) == []
            await stage.live.agent.connect(Deadline.after(5))
            await stage.live.hand_over("key", Deadline.after(5))
            before = len(of(stage.events, MachineClock))
            stage.qmp.event("RESUME")
            limit = Deadline.after(5)
            while len(of(stage.events, MachineClock)) == before:
                assert not limit.expired
                await asyncio.sleep(0.05)
            watching.cancel()
            last = of(stage.events, MachineClock)[-1]
            assert last.reason == "cont" and last.since == stage.live.qemu.watcher.resumes.last is not None

    run_simulated(scenario())


def test_the_times_of_what_is_copied_fit_the_copy(tmp_path: Path) -> None:
    log = tmp_path / "old" / "machines" / "server" / "serial.log"
    log.parent.mkdir(parents=True)
    log.write_bytes(b"x" * 100)
    times = log.with_name("serial.log.times")
    times.write_text("10.0 60\n11.0 100\n")
    marks = LogMarks.of(tmp_path / "old")
    log.write_bytes(b"x" * 100 + b"y" * 50)
    times.write_text("10.0 60\n11.0 100\n11.5 100 .\n20.0 130\n21.0 150\n")
    marks.copy_since(tmp_path / "new")
    copy = tmp_path / "new" / "machines" / "server" / "serial.log"
    assert copy.read_bytes() == b"y" * 50
    assert read_arrivals(copy).at(30) == 20.0 and read_arrivals(copy).at(50) == 21.0
    assert {path.name for path in copy.parent.iterdir()} == {"serial.log", "serial.log.times"}
