"""How a start from a saved state begins, and what follows when it fails."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, patch

import pytest
from simulated_time import run_simulated
from topology_parts import machine, topology
from warm_states import INPUTS, Notes, a_state, put

from orchestrator.deadline import Deadline
from orchestrator.environment import warm
from orchestrator.environment.launch import Launch
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.reaper_client import ReaperClient
from orchestrator.environment.session import Session
from orchestrator.environment.state import StateFile
from orchestrator.environment.warm import begin
from orchestrator.errors import (
    HostError,
    MachineError,
    OrchestratorError,
    ServiceError,
    SnapshotDamaged,
    SnapshotError,
    TimeLimit,
)
from orchestrator.events import EventBus
from orchestrator.process import launch
from orchestrator.snapshots.memory import RamBacking
from orchestrator.snapshots.store import Snapshot

pytestmark = pytest.mark.usefixtures("own_places")


@dataclass
class Starter:
    """Stands in for a `Session` that is started; ``did`` is what was done, in order."""

    bus: EventBus
    failure: Exception | None = None
    cold_failure: Exception | None = None

    def __post_init__(self) -> None:
        self.did: list[str] = []
        self.recorded: dict[str, object] = {}
        self.topology = topology(Path("/nowhere"), machine("server"))
        self.record = SimpleNamespace(change=self.recorded.update)

    async def run_watched(self, work: Coroutine[Any, Any, Any]) -> object:
        self.did.append("run_watched")
        return await work

    async def start(self, launch: Launch, deadline: Deadline, saver: object) -> None:
        self.did.append("start")
        if self.cold_failure is not None:
            raise self.cold_failure

    async def restore(self, launch: Launch, snapshot: Snapshot, deadline: Deadline) -> None:
        self.did.append(f"restore {snapshot.folder.name}")
        if self.failure is not None:
            raise self.failure

    async def discard_machines(self) -> None:
        self.did.append("discard_machines")


def begun(
    starter: Starter, snapshot: Snapshot | None, *, require_restore: bool = False, limit: float = 10.0
) -> str | None:
    """The name of the stage that was restored."""
    ram = RamBacking(Path("/ram"), "tmpfs", "")
    launch = Launch({}, "key", cast("ReaperClient", None), {}, ram=ram, snapshot=snapshot)
    with (
        patch.object(warm, "verify", AsyncMock()),  # the files of these snapshots are made up
        patch.object(warm, "cold_start", Starter.start),
        patch.object(warm, "restore", Starter.restore),
    ):
        deadline = Deadline.after(limit)
        stage = run_simulated(begin(cast("Session", starter), launch, deadline, require_restore=require_restore))
    return None if stage is None else stage.name


def test_without_a_snapshot_the_machines_are_booted() -> None:
    starter = Starter(EventBus())
    assert begun(starter, None) is None
    assert starter.did == ["run_watched", "start"]
    assert starter.recorded == {}


def test_a_restore_that_works_is_recorded() -> None:
    one, notes = put(INPUTS), Notes()
    starter = Starter(notes.bus)
    assert begun(starter, one) == "healthy"
    assert starter.did == ["run_watched", f"restore {one.folder.name}"]
    assert starter.recorded == {"snapshot": str(one.folder)}
    assert notes.found == []


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (SnapshotDamaged("the snapshot is damaged", why="ram is not what was saved"), False),
        (MachineError("QEMU of machine server exited with 1", why="load of migration failed"), False),
        (ServiceError("service web is not up within 30 s", why="ram is low"), False),
        (SnapshotError("the saved files could not be copied", why="No space left on device"), True),
        (TimeLimit("the command took longer than 10 s", why="web was being proven"), True),
    ],
)
def test_a_restore_that_fails_is_followed_by_a_cold_start(error: OrchestratorError, kept: bool) -> None:
    one, notes = put(INPUTS), Notes()
    starter = Starter(notes.bus, failure=error)
    assert begun(starter, one) is None
    assert starter.did == ["run_watched", f"restore {one.folder.name}", "discard_machines", "run_watched", "start"]
    assert notes.texts("warning") == [
        f"the saved state cannot be used ({error.what}: {error.why}); a cold start follows"
    ]
    assert one.folder.exists() is kept
    assert starter.recorded == {}, "it does not rest on that snapshot"


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (SnapshotDamaged("the snapshot is damaged"), False),
        (SnapshotError("no room"), True),
        (MachineError("QEMU did not load the state"), True),
        (ServiceError("service web is not up"), True),
    ],
)
def test_who_insists_gets_the_failure_and_no_cold_start(error: OrchestratorError, kept: bool) -> None:
    """The state is kept to be looked at, or tried again, unless nothing can come of it."""
    one, notes = put(INPUTS), Notes()
    starter = Starter(notes.bus, failure=error)
    with pytest.raises(type(error)) as caught:
        begun(starter, one, require_restore=True)
    assert caught.value is error
    assert starter.did == ["run_watched", f"restore {one.folder.name}"]
    assert notes.found == []
    assert one.folder.exists() is kept


def test_no_cold_start_is_begun_when_the_time_is_over() -> None:
    one = put(INPUTS)
    starter = Starter(EventBus(), failure=MachineError("QEMU did not load the state"))
    with pytest.raises(MachineError, match="did not load"):
        begun(starter, one, limit=0.0)
    assert "start" not in starter.did


def test_a_cold_start_that_fails_too_tells_its_own_reason() -> None:
    starter = Starter(
        EventBus(), failure=MachineError("no restore"), cold_failure=MachineError("machine server did not boot")
    )
    with pytest.raises(MachineError, match="did not boot"):
        begun(starter, put(INPUTS))


def test_a_bug_in_this_program_is_not_taken_for_a_bad_snapshot() -> None:
    one = put(INPUTS)
    starter = Starter(EventBus(), failure=ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        begun(starter, one)
    assert one.folder.exists()


# ------------------------------------------------------------------ what a failed restore leaves


@dataclass
class Abandoned:
    session: Session
    env_paths: EnvironmentPaths

    @property
    def live(self) -> Any:
        return self.session.machines["server"]


def discarded(tmp_path: Path, prepare: Callable[[Any], None]) -> Abandoned:
    """A session whose restore failed; ``prepare`` gets the machine as it was until then."""
    env_paths = EnvironmentPaths.of("shop")
    env_paths.make()
    session = Session(env_paths, StateFile(env_paths.state, a_state(tmp_path)), EventBus())
    live = session.machines["server"]
    for folder in (live.paths.work, live.paths.logs):
        folder.mkdir(parents=True)
    prepare(live)
    run_simulated(session.discard_machines())
    return Abandoned(session, env_paths)


def test_machines_that_were_discarded_are_forgotten(tmp_path: Path) -> None:
    before: list[object] = []
    after = discarded(tmp_path, before.append)
    assert after.live is not before[0]
    assert after.session.record.state.machines == {}
    assert after.session.record.state.services == {}
    assert after.session.services.graph.startable() == ("web",), "what a restore had proven is started again"


def test_a_switch_that_ends_is_named(tmp_path: Path) -> None:
    session = discarded(tmp_path, lambda _: None).session

    async def scenario() -> None:
        switch = launch(("sleep", "60"), log=tmp_path / "log")
        session.switches["lan"] = switch

        async def kill() -> None:
            await asyncio.sleep(0.2)
            await switch.end(0.1)
            await asyncio.sleep(30)

        begun = Deadline.after(10)
        with pytest.raises(HostError, match="the switch of network lan is gone"):
            await session.run_watched(kill())
        assert begun.elapsed < 9, "the work would have gone on for 30 s"

    run_simulated(scenario())


def test_a_cold_start_does_not_boot_the_disk_of_the_snapshot(tmp_path: Path) -> None:
    after = discarded(tmp_path, lambda live: live.paths.disk.write_bytes(b"a copy of the snapshot's disk"))
    assert not after.live.paths.disk.exists()


def test_a_cold_start_does_not_die_of_what_the_restored_machine_said(tmp_path: Path) -> None:
    def panic(live: Any) -> None:
        live.paths.serial_log.write_text("[9.0] Kernel panic - not syncing: restored badly\n")

    async def watch(live: Any) -> None:
        process = live.launch(("sleep", "60"), {"PATH": "/usr/bin:/bin"})
        try:
            with pytest.raises(TimeoutLike):
                async with Deadline.after(0.8).enforce(TimeoutLike):
                    await live.qemu.watcher.watch()
        finally:
            await process.end(0.2)

    run_simulated(watch(discarded(tmp_path, panic).live))


class TimeoutLike(OrchestratorError):
    """Nothing happened for as long as the test waits."""

    def __init__(self) -> None:
        super().__init__("nothing happened")
