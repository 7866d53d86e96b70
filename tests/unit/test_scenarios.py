"""`[[scenarios]]`: read with every mistake, written again, and run step by step."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from event_records import of
from fault_scene import topology
from simulated_time import run_simulated
from topology_samples import one

from orchestrator.deadline import Deadline
from orchestrator.environment.scenario import ScenarioRun, scenario_of
from orchestrator.errors import ServiceError, SuiteFailed, UsageError
from orchestrator.events import Event, EventBus
from orchestrator.events.suite import SuiteStateChanged, TestEnded
from orchestrator.guest.agent import GuestResult
from orchestrator.timescale import TimeScale
from orchestrator.topology.effective import from_dict, to_dict, to_toml
from orchestrator.topology.fault_kind import Fault
from orchestrator.topology.load import load_topology
from orchestrator.topology.model import Topology

DIES = '[faults.dies]\nkind = "kill"\non = "web"\n'
OUTAGE = (
    DIES
    + """
[[scenarios]]
name = "outage"
steps = [
    { fault = "dies" },
    { check = "web", passes = false, within = "5s" },
    { command = ["curl"], machine = "client", code = 7 },
    { wait = "3s" },
    { end = "dies" },
    { check = "web" },
]
"""
)


def steps(text: str) -> str:
    return DIES + f'[[scenarios]]\nname = "it"\nsteps = [{text}]\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (steps('{ fault = "die" }'), 'fault "die" in step 1 of scenario "it" is not defined (did you mean "dies"?)'),
        (steps('{ check = "wbe" }'), 'service "wbe"'),
        (steps('{ command = ["true"] }'), 'has no "machine"'),
        (steps('{ command = ["true"], machine = "srever" }'), 'machine "srever"'),
        (steps('{ wait = 1, fault = "dies" }'), "has fault and wait; it needs exactly one of"),
        (steps("{ }"), "has nothing to do"),
        (steps("{ wait = 1, code = 3 }"), "it belongs to steps with command"),
        (steps('{ tests = "" }'), "the topology has no [suite]"),
        (DIES + '[[scenarios]]\nname = "it"\n', 'has no "steps"'),
        (steps("{ wait = 1 }") + '[[scenarios]]\nname = "it"\nsteps = [{ wait = 1 }]\n', "another scenario is named"),
    ],
)
def test_a_mistake_is_told(text: str, told: str, tmp_path: Path) -> None:
    assert told in one(tmp_path, text)


def test_scenarios_are_written_and_recorded_as_they_are(tmp_path: Path) -> None:
    found = topology(tmp_path, OUTAGE)
    again = tmp_path / "again.toml"
    again.write_text(to_toml(found))
    assert load_topology(again).scenarios == found.scenarios
    assert from_dict(to_dict(found)).scenarios == found.scenarios


def test_an_unknown_scenario_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        scenario_of(topology(tmp_path, OUTAGE), "outtage")
    assert "outage" in caught.value.why


class Scene:
    """A session on which services follow the fault, and commands exit with ``code``."""

    def __init__(self, found: Topology, code: int = 7, heals: bool = True) -> None:
        self.found, self.code, self.heals = found, code, heals
        self.events: list[Event] = []
        self.active: dict[str, object] = {}
        self.calls: list[str] = []
        bus = EventBus()
        bus.subscribe(self.events.append)
        self.session: Any = SimpleNamespace(
            topology=found,
            bus=bus,
            scale=TimeScale(1),
            faults=SimpleNamespace(
                begin=self._begin,
                end=self._end,
                interrupt=self._interrupt,
                control=SimpleNamespace(book=SimpleNamespace(active=self.active)),
            ),
            services=SimpleNamespace(passes=self._passes),
            machines=dict.fromkeys(found.machines, SimpleNamespace(ready_agent=self._agent)),
        )

    async def _begin(self, fault: Fault, deadline: Deadline) -> None:
        self.active[fault.name] = fault

    async def _end(self, fault: Fault, reason: str, deadline: Deadline) -> None:
        self.active.pop(fault.name, None)
        self.calls.append(f"end {fault.name} {reason}")
        if not self.heals:
            raise ServiceError("web is not up")

    async def _interrupt(self) -> None:
        self.active.clear()
        self.calls.append("interrupt")

    async def _passes(self, name: str, deadline: Deadline) -> bool:
        await asyncio.sleep(0.1)
        return not self.active

    async def _agent(self) -> Any:
        async def execute(command: object, **_: object) -> object:
            return GuestResult(self.code, b"", b"")

        return SimpleNamespace(exec=execute)

    def run(self, name: str) -> None:
        run_simulated(ScenarioRun(self.session, scenario_of(self.found, name), Deadline.after(1000)).run())

    @property
    def ended(self) -> list[tuple[str, str]]:
        return [(event.subject, event.status) for event in of(self.events, TestEnded)]


def test_each_step_is_told_as_a_test(tmp_path: Path) -> None:
    scene = Scene(topology(tmp_path, OUTAGE))
    scene.run("outage")
    assert scene.ended == [
        ("1 fault dies", "passed"),
        ("2 web is not healthy", "passed"),
        ("3 curl in client", "passed"),
        ("4 wait 3 s", "passed"),
        ("5 end dies", "passed"),
        ("6 web is healthy", "passed"),
    ]
    last = of(scene.events, SuiteStateChanged)[-1]
    assert (last.subject, last.exit_code, last.passed, last.did_not_run) == ("scenario outage", 0, 6, 0)
    assert last.elapsed == pytest.approx(3.2, abs=0.1)


def test_a_step_that_fails_ends_everything_and_the_rest_does_not_run(tmp_path: Path) -> None:
    scene = Scene(topology(tmp_path, OUTAGE), code=0)
    with pytest.raises(SuiteFailed, match="scenario outage failed in step 3: curl in client") as caught:
        scene.run("outage")
    assert "it exited with 0, not 7" in caught.value.why
    assert scene.ended[-1] == ("3 curl in client", "failed")
    assert scene.calls == ["interrupt"]
    last = of(scene.events, SuiteStateChanged)[-1]
    assert (last.passed, last.failed, last.did_not_run, last.exit_code) == (2, 1, 3, 1)


def test_what_does_not_recover_fails_its_step(tmp_path: Path) -> None:
    scene = Scene(topology(tmp_path, OUTAGE), heals=False)
    with pytest.raises(SuiteFailed, match="step 5: end dies"):
        scene.run("outage")


def test_a_fault_that_is_still_on_ends_with_the_last_step(tmp_path: Path) -> None:
    scene = Scene(topology(tmp_path, steps('{ fault = "dies" }, { wait = 1 }')))
    scene.run("it")
    assert scene.calls == ["end dies phase"]
