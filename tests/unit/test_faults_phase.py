"""The faults of a phase: each at its time, all over with the phase. And what faults silence."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest
from simulated_time import run_simulated

from orchestrator.deadline import Deadline, monotonic
from orchestrator.environment.live_faults import PhaseFaults
from orchestrator.environment.silences import Silences
from orchestrator.faults.kinds.disk_error import DiskError
from orchestrator.faults.kinds.panic import Panic
from orchestrator.faults.kinds.pause import Pause
from orchestrator.tasks import run_with_watchdogs
from orchestrator.topology.fault_kind import Fault


@dataclass
class Live:
    """Remembers when what was begun and ended, seconds after the first."""

    calls: list[tuple[str, str, float]] = field(default_factory=list)
    on: set[str] = field(default_factory=set)
    start: float = field(default_factory=monotonic)
    takes: float = 0.0  # seconds of a recovery

    def _note(self, what: str, name: str) -> None:
        self.calls.append((what, name, round(monotonic() - self.start, 1)))

    async def begin(self, fault: Fault, deadline: Deadline) -> None:
        del deadline
        self.on.add(fault.name)
        self._note("begin", fault.name)

    async def end(self, fault: Fault, reason: str, deadline: Deadline) -> None:
        if fault.name in self.on:
            self.on.remove(fault.name)
            self._note(reason, fault.name)
            await self.recover(fault, deadline)

    async def recover(self, fault: Fault, deadline: Deadline) -> None:
        del deadline
        await asyncio.sleep(self.takes)
        self.calls += [("recovered", fault.name, round(monotonic() - self.start, 1))] if self.takes else []


def pause(name: str, **times: Any) -> Fault:
    return Fault(name, "server", Pause(), **times)


def played(faults: list[Fault], tests: float, takes: float = 0.0) -> list[tuple[str, str, float]]:
    """What becomes of the faults of a phase whose tests take so many seconds."""

    async def play() -> Live:
        live = Live(takes=takes)
        phase = PhaseFaults(live, faults, Deadline.after(600))  # type: ignore[arg-type]

        async def work() -> None:
            await phase.begin()
            await asyncio.sleep(tests)

        await run_with_watchdogs(work(), [phase.follow])
        await phase.end()
        return live

    return run_simulated(play()).calls


def test_faults_begin_before_the_first_test_and_end_in_reverse_after_the_last() -> None:
    assert played([pause("a"), pause("b")], 30) == [
        ("begin", "a", 0.0),
        ("begin", "b", 0.0),
        ("phase", "b", 30.0),
        ("phase", "a", 30.0),
    ]


def test_a_fault_has_its_own_time() -> None:
    assert played([pause("a", at=5.0, lasts=10.0), pause("b", lasts=2.0)], 30) == [
        ("begin", "b", 0.0),
        ("over", "b", 2.0),
        ("begin", "a", 5.0),
        ("over", "a", 15.0),
    ]


def test_one_whose_time_has_not_come_never_begins() -> None:
    assert played([pause("a", at=50.0)], 30) == []


def test_one_that_is_still_on_ends_with_the_phase() -> None:
    assert played([pause("a", at=5.0, lasts=100.0)], 30) == [("begin", "a", 5.0), ("phase", "a", 30.0)]


def test_a_recovery_that_the_end_of_the_tests_cuts_short_is_proven_after_them() -> None:
    assert played([pause("a", lasts=28.0)], 30, takes=5.0) == [
        ("begin", "a", 0.0),
        ("over", "a", 28.0),
        ("recovered", "a", 35.0),
    ]


def test_a_fault_silences_only_its_own_signs_and_for_a_while() -> None:
    async def play() -> None:
        silences, fault = Silences(), Fault("breaks", "server", DiskError())
        assert silences.of("disk-error") == ""
        silences.begin(fault)
        assert silences.of("disk-error") == "fault breaks"
        assert silences.of("oom-kill") == ""
        assert not silences.panic
        silences.end(fault, 5.0)
        await asyncio.sleep(4)
        assert silences.of("disk-error") == "fault breaks"
        await asyncio.sleep(2)
        assert silences.of("disk-error") == ""

    run_simulated(play())


@pytest.mark.parametrize(("kind", "panic", "reset"), [(Panic(), True, True), (Pause(), False, False)])
def test_only_a_panic_that_is_wanted_is_no_trouble(kind: Any, panic: bool, reset: bool) -> None:
    silences = Silences()
    silences.begin(Fault("it", "server", kind))
    assert (silences.panic, silences.reset) == (panic, reset)
