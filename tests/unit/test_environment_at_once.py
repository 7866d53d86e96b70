"""What a command does with every machine is done with all at once: the slowest one counts, not the sum."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from event_records import notes
from simulated_time import run_simulated
from topology_parts import machine

from orchestrator.deadline import Deadline
from orchestrator.environment import launch
from orchestrator.environment.session import Session
from orchestrator.errors import HostError, MachineError
from orchestrator.events import Event, EventBus
from orchestrator.net.egress import Addresses
from orchestrator.topology.model import Machine

NAMES = ("server", "client", "third")
TIME = 2.0  # seconds each takes


class Live:
    """Stands in for a `LiveMachine` that an earlier command started."""

    def __init__(self, name: str, failure: Exception | None = None) -> None:
        self.name = name
        self.machine = machine(name)
        self.guest = SimpleNamespace(addresses={})
        self.calls: list[str] = []
        self._failure = failure

    def recall(self, known: object) -> None:
        self.calls.append("recall")

    async def reattach(self, process: object, user_key: str, deadline: Deadline, *, boots: bool) -> None:
        assert not boots
        self.calls.append(user_key)
        await asyncio.sleep(TIME)
        if self._failure is not None:
            raise self._failure

    async def reattach_monitor(self, process: object, deadline: Deadline) -> None:
        self.calls.append("monitor")
        await asyncio.sleep(TIME)


def session(*lives: Live, addresses: Addresses | None = None) -> tuple[Session, list[Event]]:
    bus, events = EventBus(), list[Event]()
    bus.subscribe(events.append)
    known = SimpleNamespace(process=SimpleNamespace(alive=True), addresses=addresses or {}, layers={})
    state = SimpleNamespace(networks={}, machines={live.name: known for live in lives}, topology=None)
    made = SimpleNamespace(
        machines={live.name: live for live in lives},
        record=SimpleNamespace(state=state),
        public_key=lambda: "ssh-ed25519 MINE",
        bus=bus,
        paths=SimpleNamespace(faults=Path("/nowhere/faults.json")),
    )
    return cast("Session", made), events


def test_all_machines_are_joined_at_once() -> None:
    lives = [Live(name) for name in NAMES]

    async def scenario() -> None:
        begun = Deadline.after(60)
        await Session.reattach(session(*lives)[0], begun, rebooting=["third"])
        assert begun.elapsed == pytest.approx(TIME)

    run_simulated(scenario())
    assert [live.calls for live in lives] == [["recall", "ssh-ed25519 MINE"]] * 2 + [["recall", "monitor"]]


def test_a_machine_that_does_not_answer_is_told_as_itself() -> None:
    lives = [Live("server"), Live("client", MachineError("machine client does not answer"))]
    with pytest.raises(MachineError, match="machine client does not answer"):
        run_simulated(Session.reattach(session(*lives)[0], Deadline.after(60)))


def test_names_outside_are_resolved_for_all_machines_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def addresses_of(one: Machine, deadline: Deadline) -> dict[str, tuple[str, ...]]:
        await asyncio.sleep(TIME)
        if one.name == "client":
            raise HostError("example.org has no address")
        return {"example.org": ("192.0.2.7",)}

    monkeypatch.setattr(launch, "addresses_of", addresses_of)
    lives = [Live(name) for name in NAMES]
    before = {"example.org": ("192.0.2.1",)}
    made, events = session(*lives, addresses=before)

    async def scenario() -> None:
        begun = Deadline.after(60)
        await launch.resolve_destinations(made, begun)
        assert begun.elapsed == pytest.approx(TIME)

    run_simulated(scenario())
    new = {"example.org": ("192.0.2.7",)}
    assert [live.guest.addresses for live in lives] == [new, before, new]
    assert notes(events, "warning") == ["example.org has no address; the addresses it had are kept"]
