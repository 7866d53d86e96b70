"""Faults begin only where they may, are read back, end whatever happens, and are recorded before anything changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from event_records import of
from fault_scene import FakeMonitor, topology
from simulated_time import run_simulated

from orchestrator.errors import FaultError, MachineError
from orchestrator.events import Event, EventBus
from orchestrator.events.faults import FaultBegan, FaultEnded
from orchestrator.faults.book import ActiveFault, FaultBook, read_faults
from orchestrator.faults.control import FaultControl, chosen
from orchestrator.faults.place import Ground, Ways
from orchestrator.guest.channel import GuestChannel
from orchestrator.process_id import ProcessId
from orchestrator.timescale import TimeScale
from orchestrator.topology.fault_kind import Fault
from orchestrator.topology.model import Topology

PAUSES = (
    '[faults.first]\nkind = "pause"\non = "server"\n[faults.second]\nkind = "disconnect"\non = "server.lan"\n'
    '[faults.third]\nkind = "pause"\non = "client"\n'
)
GONE = ProcessId(1, 1, "of another boot")


@dataclass
class Scene:
    topology: Topology
    monitors: dict[str, FakeMonitor]
    events: list[Event]
    path: Path
    alive: bool = True
    hushed: list[tuple[str, bool]] = field(default_factory=list)
    control: FaultControl = field(init=False)

    def fault(self, name: str) -> Fault:
        return chosen(self.topology, name)


def scene(folder: Path) -> Scene:
    found = topology(folder, PAUSES)
    monitors = {name: FakeMonitor() for name in found.machines}
    events: list[Event] = []
    bus = EventBus()
    bus.subscribe(events.append)

    def ways(machine: str) -> Ways:
        async def monitor() -> FakeMonitor:
            return monitors[machine]

        async def channel() -> GuestChannel:
            raise MachineError(f"machine {machine} does not answer")

        return Ways(monitor, channel, ProcessId.own() if made.alive else GONE)  # type: ignore[arg-type]

    path = folder / "faults.json"
    made = Scene(found, monitors, events, path)
    hushed: list[tuple[str, bool]] = []
    ground = Ground(found, ways, bus, TimeScale(1), folder / "run")
    control = FaultControl(ground, FaultBook(path), lambda fault, _, begins: hushed.append((fault.name, begins)))
    made.control, made.hushed = control, hushed
    return made


def test_a_fault_begins_is_read_back_and_ends(tmp_path: Path) -> None:
    one = scene(tmp_path)
    own = ProcessId.own()

    async def play() -> None:
        await one.control.begin(one.fault("first"), owner=own)
        assert read_faults(one.path)["first"].owner == own
        await asyncio.sleep(3)
        await one.control.end("first", "asked")

    run_simulated(play())
    [began], [ended] = of(one.events, FaultBegan), of(one.events, FaultEnded)
    assert (began.subject, began.fault, began.on, began.machines) == ("first", "pause", "server", ("server",))
    assert began.told == "QEMU says paused"
    assert (ended.reason, ended.seconds) == ("asked", pytest.approx(3, abs=0.01))
    assert one.monitors["server"].commands == ["stop", "query-status", "cont"]
    assert one.hushed == [("first", True), ("first", False)]
    assert not one.path.exists()


def test_one_that_does_not_come_into_effect_is_ended_and_told(tmp_path: Path) -> None:
    one = scene(tmp_path)
    one.monitors["server"].deaf = True
    with pytest.raises(FaultError, match="not in effect"):
        run_simulated(one.control.begin(one.fault("first"), owner=None))
    assert one.monitors["server"].commands[-1] == "cont"
    assert of(one.events, FaultBegan) == []
    assert [event.reason for event in of(one.events, FaultEnded)] == ["failed"]
    assert not one.path.exists()


def test_a_machine_that_refuses_is_the_error_and_nothing_stays_recorded(tmp_path: Path) -> None:
    one = scene(tmp_path)
    one.monitors["server"].refuses = lambda command: command in ("stop", "cont")
    with pytest.raises(MachineError, match="refused"):
        run_simulated(one.control.begin(one.fault("first"), owner=None))
    assert not one.path.exists()


@pytest.mark.parametrize("other", ["first", "second"])
def test_nothing_begins_on_a_machine_that_a_fault_has_taken_away(tmp_path: Path, other: str) -> None:
    one = scene(tmp_path)

    async def play() -> None:
        await one.control.begin(one.fault("first"), owner=None)
        await one.control.begin(one.fault(other), owner=None)

    with pytest.raises(FaultError) as caught:
        run_simulated(play())
    assert "first" in caught.value.what + caught.value.why + caught.value.hint
    assert list(read_faults(one.path)) == ["first"]


def test_another_machine_may_have_the_same_fault(tmp_path: Path) -> None:
    one = scene(tmp_path)

    async def play() -> list[str]:
        for name in ("first", "third"):
            await one.control.begin(one.fault(name), owner=None)
        return await one.control.end_all("asked")

    assert run_simulated(play()) == ["third", "first"]
    assert {name: monitor.status for name, monitor in one.monitors.items()} == {
        "server": "running",
        "client": "running",
    }


def test_what_a_killed_command_left_is_ended_and_what_is_left_on_purpose_stays(tmp_path: Path) -> None:
    one = scene(tmp_path)

    async def play() -> list[str]:
        await one.control.begin(one.fault("first"), owner=None)
        await one.control.begin(one.fault("third"), owner=None)
        one.control.book.put(replace(one.control.book.active["third"], owner=GONE))
        return await one.control.end_all("left", left=True)

    assert run_simulated(play()) == ["third"]
    assert list(read_faults(one.path)) == ["first"]


def test_a_cancelled_end_is_done_first(tmp_path: Path) -> None:
    one = scene(tmp_path)

    async def play() -> None:
        await one.control.begin(one.fault("first"), owner=None)
        task = asyncio.create_task(one.control.end("first", "interrupted"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run_simulated(play())
    assert one.monitors["server"].status == "running"
    assert not one.path.exists()


def test_what_cannot_be_ended_stays_recorded(tmp_path: Path) -> None:
    one = scene(tmp_path)

    async def play() -> None:
        await one.control.begin(one.fault("first"), owner=None)
        one.monitors["server"].refuses = lambda command: command == "cont"
        await one.control.end("first", "asked")

    with pytest.raises(MachineError):
        run_simulated(play())
    assert list(read_faults(one.path)) == ["first"]


def test_a_machine_that_is_off_has_nothing_to_end(tmp_path: Path) -> None:
    one = scene(tmp_path)
    one.alive = False
    one.control.book.put(ActiveFault(one.fault("first"), GONE, 1.0, {"server": {}}))
    run_simulated(one.control.end_all("left", left=True))
    assert one.monitors["server"].commands == []
    assert not one.path.exists()


def test_an_unknown_fault_is_told_with_those_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(FaultError) as caught:
        chosen(topology(tmp_path, PAUSES), "fourth")
    assert "first, second, third" in caught.value.why


@pytest.mark.parametrize("damage", [lambda text: text[:-20], lambda text: "[]", lambda text: "{}"])
def test_a_damaged_record_is_no_record(tmp_path: Path, damage: Callable[[str], str]) -> None:
    book = FaultBook(tmp_path / "faults.json")
    book.put(ActiveFault(topology(tmp_path, PAUSES).faults["first"], GONE, 1.0))
    assert read_faults(tmp_path / "faults.json")["first"].left
    (tmp_path / "faults.json").write_text(damage((tmp_path / "faults.json").read_text()))
    assert read_faults(tmp_path / "faults.json") == {}
