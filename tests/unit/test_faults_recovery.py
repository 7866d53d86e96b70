"""A fault begins on what is healthy only, and what it was on is proven after its end, within its time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from event_records import of
from fault_scene import FakeMonitor, topology
from simulated_time import run_simulated

from orchestrator.deadline import Deadline
from orchestrator.environment.live_faults import LiveFaults
from orchestrator.environment.silences import Silences
from orchestrator.errors import FaultError
from orchestrator.events import Event, EventBus
from orchestrator.events.faults import FaultEnded, FaultRecovered
from orchestrator.process_id import ProcessId
from orchestrator.services.graph import ServiceGraph
from orchestrator.timescale import TimeScale

TEXT = (
    '[faults.sleeps]\nkind = "pause"\non = "server"\nrecovers_within = "2s"\n'
    '[faults.other]\nkind = "disconnect"\non = "client.lan"\n'
    '[faults.cut]\nkind = "power-cut"\non = "server"\n'
    '[services.page]\nmachine = "client"\nunit = "page.service"\ndepends_on = ["web"]\n'
)


@dataclass
class Services:
    """Services that take some seconds to be healthy again."""

    graph: ServiceGraph
    takes: float = 1.0
    calls: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    async def verify_again(self, names: tuple[str, ...], deadline: Deadline) -> None:
        del deadline
        self.calls.append(("verify", tuple(sorted(names))))
        await asyncio.sleep(self.takes)

    def mark_pending(self, names: tuple[str, ...]) -> None:
        self.calls.append(("pending", tuple(sorted(names))))


class Scene:
    def __init__(self, folder: Path, states: dict[str, str], takes: float = 1.0) -> None:
        found = topology(folder, TEXT)
        self.events: list[Event] = []
        bus = EventBus()
        bus.subscribe(self.events.append)
        self.services = Services(ServiceGraph.remembered(found.services, states), takes)
        self.monitors = {name: FakeMonitor() for name in found.machines}
        self.booted: list[str] = []
        self.topology = found
        machine = SimpleNamespace(process=ProcessId.own())
        self.session: Any = SimpleNamespace(
            topology=found,
            bus=bus,
            scale=TimeScale(10),
            run_folder=folder,
            paths=SimpleNamespace(faults=folder / "faults.json", name="shop"),
            services=self.services,
            record=SimpleNamespace(state=SimpleNamespace(machines=dict.fromkeys(found.machines, machine))),
            machines={
                name: SimpleNamespace(
                    monitor=monitor,
                    qemu=SimpleNamespace(watcher=SimpleNamespace(silences=Silences(), was_reset=asyncio.Event())),
                )
                for name, monitor in self.monitors.items()
            },
            verify_still_healthy=self._verify,
            start_services=self._start,
        )
        self.live = LiveFaults(self.session)
        self.live.come_back = self._boot

    async def _verify(self, deadline: Deadline) -> None:
        self.services.calls.append(("still healthy", ()))

    async def _start(self, deadline: Deadline, names: tuple[str, ...]) -> None:
        self.services.calls.append(("start", tuple(sorted(names))))

    async def _boot(self, machine: str, deadline: Deadline) -> None:
        self.booted.append(machine)

    async def on_and_off(self, name: str, seconds: float = 3.0) -> None:
        limit = Deadline.after(1000)
        await self.live.begin(self.topology.faults[name], limit)
        await asyncio.sleep(seconds)
        await self.live.end(self.topology.faults[name], "phase", limit)


HEALTHY = {"web": "healthy", "page": "healthy"}


def test_what_a_fault_was_on_and_what_needs_it_is_checked_and_the_time_is_told(tmp_path: Path) -> None:
    scene = Scene(tmp_path, HEALTHY)
    run_simulated(scene.on_and_off("sleeps"))
    assert scene.services.calls == [("still healthy", ()), ("verify", ("page", "web"))]
    [recovered] = of(scene.events, FaultRecovered)
    assert (recovered.seconds, recovered.within) == (pytest.approx(1.0, abs=0.01), 20.0)


def test_a_recovery_that_takes_longer_than_it_may_is_an_error(tmp_path: Path) -> None:
    scene = Scene(tmp_path, HEALTHY, takes=21.0)
    with pytest.raises(FaultError, match="server did not recover within 20 s after the end of fault sleeps"):
        run_simulated(scene.on_and_off("sleeps"))
    assert of(scene.events, FaultRecovered) == []
    assert len(of(scene.events, FaultEnded)) == 1


def test_nothing_that_is_ill_is_broken(tmp_path: Path) -> None:
    scene = Scene(tmp_path, {"page": "healthy"})
    with pytest.raises(FaultError, match="cannot begin") as caught:
        run_simulated(scene.on_and_off("sleeps"))
    assert "web is pending" in caught.value.why
    assert scene.monitors["server"].commands == []


def test_a_machine_that_was_reset_is_handed_over_and_its_services_are_started(tmp_path: Path) -> None:
    scene = Scene(tmp_path, HEALTHY)
    scene.monitors["server"].status = "prelaunch"
    run_simulated(scene.on_and_off("cut"))
    assert scene.booted == ["server"]
    assert scene.services.calls[1:] == [("pending", ("page", "web")), ("start", ("page", "web"))]


def test_what_another_fault_is_still_on_has_not_to_recover_yet(tmp_path: Path) -> None:
    scene = Scene(tmp_path, HEALTHY)

    async def play() -> None:
        await scene.live.control.begin(scene.topology.faults["sleeps"], owner=ProcessId.own())
        assert scene.live._concerned(scene.topology.faults["other"]) == ()
        await scene.live.interrupt()
        assert set(scene.live._concerned(scene.topology.faults["other"])) == {"page"}

    run_simulated(play())
    assert [event.reason for event in of(scene.events, FaultEnded)] == ["interrupted"]
    assert scene.services.calls == [], "an interrupt proves nothing"
