"""What services need in their machines is there before they start: whoever starts them, and only once."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from simulated_time import run_simulated
from topology_parts import machine, topology

from orchestrator.deadline import Deadline
from orchestrator.environment import live_guest
from orchestrator.environment.machine import LiveMachine
from orchestrator.environment.session import Session
from orchestrator.environment.state import MachineState
from orchestrator.errors import MachineError, TimeLimit
from orchestrator.events import EventBus
from orchestrator.process_id import ProcessId
from orchestrator.timescale import TimeScale
from orchestrator.topology.model import Layer, Service, Topology
from orchestrator.topology.words import ServiceKind
from orchestrator.vm.arguments import MachinePaths

DAEMON = ServiceKind.DAEMON
DB = Service("db", "server", DAEMON, "postgresql.service")
WEB = Service("web", "server", DAEMON, "nginx.service", uses=("app",))
API = Service("api", "server", DAEMON, "api.service", environment={"WORD": "new"})
FAR = Service("far", "client", DAEMON, "far.service", uses=("app",))


def shop(folder: Path) -> Topology:
    layers = {"app": Layer("app", folder, "/opt/app")}
    services = {one.name: one for one in (DB, WEB, API, FAR)}
    return topology(folder, machine("server"), machine("client"), layers=layers, services=services)


class Scripts:
    """The scripts that machines were given; a machine gives none before its agent is up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run: list[str] = []
        self.failure: MachineError | None = None
        monkeypatch.setattr(live_guest, "run_script", self._run)

    async def _run(self, agent: object, script: str, deadline: Deadline, lacks: object) -> None:
        if self.failure is not None:
            raise self.failure
        self.run.append(script)


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Scripts:
    return Scripts(monkeypatch)


class Record:
    def __init__(self) -> None:
        self.told: dict[str, object] = {}

    def machine(self, name: str, *, prepared: tuple[str, ...]) -> None:
        self.told[name] = prepared


class Supervisor:
    """Tells what was prepared when it was asked to start."""

    def __init__(self, pending: tuple[str, ...], scripts: Scripts) -> None:
        self.graph = SimpleNamespace(pending=lambda: pending)
        self.before: list[int] = []
        self._scripts = scripts

    async def bring_up(self, deadline: Deadline, names: object) -> None:
        self.before.append(len(self._scripts.run))


class Started:
    """A session of two machines; the agent of ``client`` never answers."""

    def __init__(self, folder: Path, scripts: Scripts, *pending: str) -> None:
        whole = shop(folder)
        self.lives = {name: self._live(name, whole, folder) for name in whole.machines}
        self.lives["server"].guest.layers = ("app",)
        self.record, self.supervisor = Record(), Supervisor(pending, scripts)
        self._session = SimpleNamespace(
            machines=self.lives, services=self.supervisor, record=self.record, first_unit_up=asyncio.Event()
        )
        self._session._prepare = lambda *args: Session._prepare(cast("Session", self._session), *args)

    def _live(self, name: str, whole: Topology, folder: Path) -> LiveMachine:
        paths = MachinePaths(folder / name, folder / "s", folder / "logs")
        live = LiveMachine(whole.machines[name], whole, paths, EventBus(), TimeScale(), folder / "key")
        live.guest.services = frozenset({"db"})

        async def ready_agent() -> object:
            if name == "client":
                await asyncio.Event().wait()
            return live.agent

        live.ready_agent = ready_agent  # type: ignore[method-assign,assignment]
        return live

    def start(self, *names: str, limit: float = 30) -> None:
        async def scenario() -> None:
            deadline = Deadline.after(limit)
            async with deadline.enforce():
                await Session.start_services(cast("Session", self._session), deadline, names or None)

        run_simulated(scenario())


def test_what_a_service_needs_is_there_before_it_starts_and_only_once(tmp_path: Path, scripts: Scripts) -> None:
    started = Started(tmp_path, scripts, "db", "web", "api")
    started.start("web")
    [mounted] = scripts.run
    assert "mount_disk" in mounted
    assert "api.service" not in mounted
    assert started.supervisor.before == [1]
    assert started.record.told == {"server": ("db", "web")}
    started.start()
    _, written = scripts.run
    assert "mount_disk app" not in written
    assert "api.service" in written
    started.start()
    assert len(scripts.run) == 2


def test_nobody_waits_for_a_machine_in_which_nothing_is_missing(tmp_path: Path, scripts: Scripts) -> None:
    Started(tmp_path, scripts, "db", "web", "api").start()
    with pytest.raises(TimeLimit):
        Started(tmp_path, scripts, "far").start()


def test_what_failed_is_done_again_by_the_next_start(tmp_path: Path, scripts: Scripts) -> None:
    started = Started(tmp_path, scripts, "web")
    scripts.failure = MachineError("no such disk")
    with pytest.raises(MachineError, match="no such disk"):
        started.start()
    assert (started.supervisor.before, started.record.told) == ([], {})
    scripts.failure = None
    started.start()
    assert len(scripts.run) == 1


def test_a_later_command_knows_what_is_there(tmp_path: Path, scripts: Scripts) -> None:
    started = Started(tmp_path, scripts, "web", "api")
    guest = started.lives["server"].guest
    started.lives["server"].recall(MachineState(ProcessId.own(), "", layers={"app": "disk"}, prepared=("db", "web")))
    assert guest.unprepared(["db", "web", "api", "far"]) == {"api"}
