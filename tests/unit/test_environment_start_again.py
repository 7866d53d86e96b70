"""Machines that were switched off: which environments go on with them, and what keeps nobody waiting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from simulated_time import run_simulated
from topology_parts import machine, topology

from orchestrator.deadline import Deadline
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.reclaim import reclaim_previous
from orchestrator.environment.session import Session
from orchestrator.environment.start_again import services_on
from orchestrator.environment.state import EnvironmentState, MachineState, StateFile
from orchestrator.environment.switched_off import (
    can_go_on,
    ended_machines,
    machines_off,
    not_running,
    note_switched_off,
)
from orchestrator.errors import HostError
from orchestrator.events import EventBus
from orchestrator.process_id import ProcessId
from orchestrator.services.graph import ServiceGraph
from orchestrator.topology.model import Condition, Dependency, Service, ServiceKind

OWN = ProcessId.own()
ENDED = replace(OWN, start_ticks=OWN.start_ticks + 1)
OTHER_BOOT = replace(ENDED, boot_id="another boot")


def service(name: str, machine: str, *needs: str) -> Service:
    depends = tuple(Dependency(other, Condition.HEALTHY) for other in needs)
    return Service(name, machine, ServiceKind.DAEMON, f"{name}.service", depends_on=depends)


SERVICES = {
    one.name: one
    for one in (service("db", "server"), service("web", "server", "db"), service("browser", "client", "web"))
}


@pytest.fixture
def paths(own_places: None) -> EnvironmentPaths:
    found = EnvironmentPaths.of("shop")
    found.make()
    return found


def a_state(tmp_path: Path, server: ProcessId, client: ProcessId, **changes: object) -> EnvironmentState:
    state = EnvironmentState(
        name="shop",
        topology=topology(tmp_path, machine("server"), machine("client"), services=SERVICES),
        run_folder=tmp_path / "runs/r1",
        phase="ready",
        owner=OWN,
        command="orchestrator up",
        started=1.0,
        provider="debian",
        accelerator="tcg",
        factor=1.0,
        services=dict.fromkeys(SERVICES, "healthy"),
        machines={
            name: MachineState(process, "image", {22: 1}, "ssh-ed25519 A")
            for name, process in (("server", server), ("client", client))
        },
    )
    return replace(state, **changes)  # type: ignore[arg-type]


def switch_off(paths: EnvironmentPaths, state: EnvironmentState, name: str) -> None:
    place = paths.machine(name, state.run_folder)
    place.work.mkdir(parents=True, exist_ok=True)
    note_switched_off(place, state.machines[name].process, "shut down")


def test_an_environment_goes_on_when_all_that_is_missing_was_switched_off(
    paths: EnvironmentPaths, tmp_path: Path
) -> None:
    state = a_state(tmp_path, OWN, ENDED)
    assert not can_go_on(paths, state), "it ended by itself"
    switch_off(paths, state, "client")
    assert can_go_on(paths, state)
    note_switched_off(paths.machine("client", state.run_folder), ENDED, "switched off")
    assert machines_off(paths, state) == {"client": "shut down"}, "what was noted first"
    assert ended_machines(state) == ["client"]
    assert not can_go_on(paths, replace(state, networks={"lan": ENDED})), "nothing connects to a new switch"
    booted = a_state(tmp_path, OWN, OTHER_BOOT)
    switch_off(paths, booted, "client")
    assert not can_go_on(paths, booted), "the host was booted since"


def test_up_keeps_it(paths: EnvironmentPaths, tmp_path: Path) -> None:
    state = a_state(tmp_path, OWN, ENDED)
    switch_off(paths, state, "client")
    StateFile(paths.state, state)
    found = run_simulated(reclaim_previous(paths, EventBus()))
    assert found is not None
    assert found.machines == state.machines


def test_a_command_that_needs_it_says_so(paths: EnvironmentPaths, tmp_path: Path) -> None:
    state = a_state(tmp_path, OWN, ENDED)
    switch_off(paths, state, "client")
    error = not_running(paths, state, "client")
    assert (error.what, error.why) == ("machine client is off", "it was shut down")
    assert error.hint == "orchestrator -n shop power on client"
    session = Session(paths, StateFile(paths.state, state), EventBus())
    with pytest.raises(HostError, match="machine client is off"):
        run_simulated(session.reattach(Deadline.after(5)))


def test_what_runs_or_is_checked_on_a_machine_and_what_depends_on_it() -> None:
    graph = ServiceGraph.fresh(SERVICES)
    assert services_on(graph, ["client"]) == ("browser",)
    assert services_on(graph, ["server"]) == ("db", "web", "browser")
    assert services_on(graph, []) == ()


def test_services_of_a_machine_that_is_off_keep_nobody_waiting(paths: EnvironmentPaths, tmp_path: Path) -> None:
    state = a_state(tmp_path, ENDED, OWN, services={"db": "healthy", "browser": "healthy"})
    session = Session(paths, StateFile(paths.state, state), EventBus())
    session.services.set_aside(services_on(session.services.graph, ["server"]))
    assert session.record.state.services == {"db": "stopped", "web": "skipped", "browser": "stopped"}
    run_simulated(session.services.bring_up(Deadline.after(5)))
