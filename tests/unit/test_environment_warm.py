"""Starting from a saved state: which one is taken and why, what follows when it fails, and when one is saved."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import AsyncMock, patch

import pytest
from fake_qemu import machine, run_async, topology

from orchestrator.deadline import Deadline
from orchestrator.environment import warm
from orchestrator.environment import warm as module
from orchestrator.environment.memory import place_of_memory
from orchestrator.environment.places import Places
from orchestrator.environment.session import Launch, Session
from orchestrator.environment.state import EnvironmentState, MachineState, StateFile
from orchestrator.environment.wards import Wards
from orchestrator.environment.warm import begin, choose, in_use, is_clone, save_healthy, the_store
from orchestrator.errors import (
    GuestCommandError,
    HostError,
    MachineError,
    OrchestratorError,
    ServiceError,
    SnapshotDamaged,
    SnapshotError,
    TimeLimit,
)
from orchestrator.events import Event, EventBus
from orchestrator.process import ProcessId, launch
from orchestrator.snapshots import memory
from orchestrator.snapshots.key import key_of
from orchestrator.snapshots.manifest import HEALTHY, MANIFEST, Manifest, SavedMachine
from orchestrator.snapshots.memory import MIB, RamPlace
from orchestrator.snapshots.store import KEPT_HEALTHY, Saving, Stored
from orchestrator.topology.model import Service, ServiceKind, Topology

PARTS = {"QEMU": "10.0.2", "topology": "t1", "image server": "i1"}
SERVER = SavedMachine("/images/server", "aa", "bb", "cc", "ssh-ed25519 A")
BASE = Manifest(HEALTHY, "shop", "ab12", "", {}, 100.0, 0.2, "orchestrator up", {"server": SERVER})


@pytest.fixture(autouse=True)
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "shm").mkdir()
    monkeypatch.setenv("ORCH_RAM_DIR", str(tmp_path / "shm"))
    monkeypatch.setenv("ORCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("ORCH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


class Notes:
    def __init__(self) -> None:
        self.bus = EventBus()
        self.found: list[Event] = []
        self.bus.subscribe(self.found.append)

    def texts(self, level: str) -> list[str]:
        return [str(e.data["message"]) for e in self.found if e.kind == "note" and e.data["level"] == level]


def put(parts: Mapping[str, str], *, environment: str = "shop", owner: str = "ab12", created: float = 100.0) -> Stored:
    """A healthy snapshot of these parts."""
    key = key_of(parts)
    store = the_store()
    with store.saving(environment, f"{HEALTHY}.{key}", RamPlace(store.memory, "tmpfs", "")) as saving:
        (saving.folder / "server").mkdir()
        (saving.folder / "server/ram").write_bytes(b"x" * 5000)
        manifest = replace(BASE, environment=environment, owner=owner, key=key, parts=parts, created=created)
        return saving.publish(manifest)


def damage(one: Stored) -> None:
    (one.folder / MANIFEST).write_text("{")


# ------------------------------------------------------------------ which one


@pytest.mark.parametrize("start", ["auto", "warm"])
def test_a_fitting_state_is_taken_and_named(start: str) -> None:
    one, notes = put(PARTS), Notes()
    found = choose("shop", PARTS, start, notes.bus)
    assert found is not None
    assert found.folder == one.folder
    (text,) = notes.texts("info")
    assert text.startswith("start from the saved healthy state (")
    assert one.folder.name in text


def test_a_cold_start_that_was_asked_for_looks_for_nothing() -> None:
    put(PARTS)
    notes = Notes()
    assert choose("shop", PARTS, "cold", notes.bus) is None
    assert notes.found == []


def test_a_fitting_state_of_another_environment_will_do() -> None:
    one = put(PARTS, environment="alicia")
    found = choose("shop", PARTS, "auto", Notes().bus)
    assert found is not None
    assert found.folder == one.folder


def test_without_a_state_the_start_is_cold_and_says_so() -> None:
    notes = Notes()
    assert choose("shop", PARTS, "auto", notes.bus) is None
    assert notes.texts("info") == ["cold start: no healthy state was saved yet"]
    with pytest.raises(SnapshotError, match="there is no saved state to start from") as caught:
        choose("shop", PARTS, "warm", notes.bus)
    assert caught.value.why == "no healthy state was saved yet"
    assert caught.value.hint == "orchestrator up makes one"


def test_what_changed_since_is_named() -> None:
    put({**PARTS, "QEMU": "9.2", "file /run/x of server": "600 aa"}, created=300.0)
    put({**PARTS, "topology": "older"}, created=200.0)
    put({"topology": "another's"}, environment="alicia", created=400.0)
    notes = Notes()
    why = "the saved state does not fit, changed since: QEMU, file /run/x of server"
    assert choose("shop", PARTS, "auto", notes.bus) is None
    assert notes.texts("info") == [f"cold start: {why}"]
    with pytest.raises(SnapshotError) as caught:
        choose("shop", PARTS, "warm", notes.bus)
    assert caught.value.why == why


def test_a_damaged_state_is_not_taken() -> None:
    damage(put(PARTS))
    notes = Notes()
    assert choose("shop", PARTS, "auto", notes.bus) is None
    assert notes.texts("info")[0].startswith("cold start: ")
    with pytest.raises(SnapshotError, match="there is no saved state to start from"):
        choose("shop", PARTS, "warm", notes.bus)


def test_a_point_of_the_user_is_no_healthy_state() -> None:
    store = the_store()
    with store.saving("shop", "before-import", RamPlace(store.memory, "tmpfs", "")) as saving:
        saving.publish(replace(BASE, name="before-import", key=key_of(PARTS), parts=PARTS))
    assert choose("shop", PARTS, "auto", Notes().bus) is None


@pytest.mark.parametrize("name", ["shop", "alicia"])
def test_a_state_of_another_environment_makes_a_clone_also_when_that_has_our_name(name: str) -> None:
    """Two state folders may each have an environment ``shop``: what tells them apart is who saved it."""
    places = Places.of("shop")
    assert is_clone(put(PARTS, environment=name), places)
    assert not is_clone(put({"QEMU": "9.2"}, environment=name, owner=places.identity), places)


# ------------------------------------------------------------------ memory as files


def shop(tmp_path: Path, *sizes: int) -> Topology:
    return topology(tmp_path, *(machine(f"m{n}", memory=size) for n, size in enumerate(sizes)))


def test_memory_is_kept_as_files_where_a_file_is_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "file_system", lambda _: "tmpfs")
    notes = Notes()
    place = place_of_memory(shop(tmp_path, 1, 2), Places.of("shop"), notes.bus)
    assert place is not None
    assert (place.folder, place.kind) == (tmp_path / "shm", "tmpfs")
    assert notes.found == []


def test_machines_whose_memory_has_no_room_are_started_all_the_same_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "file_system", lambda _: "tmpfs")
    huge = 1 << 40  # MiB
    notes = Notes()
    assert place_of_memory(shop(tmp_path, huge, huge), Places.of("shop"), notes.bus) is None
    (text,) = notes.texts("info")
    assert text.startswith("no state can be saved, so the next start will be cold too: ")
    assert f"{tmp_path}/shm has only " in text


# ------------------------------------------------------------------ how it begins


@dataclass
class Starter:
    """Stands in for a `Session` that is started; ``did`` is what was done, in order."""

    bus: EventBus
    failure: Exception | None = None
    cold_failure: Exception | None = None

    def __post_init__(self) -> None:
        self.did: list[str] = []
        self.recorded: dict[str, object] = {}
        self.record = SimpleNamespace(change=self.recorded.update)

    async def watched(self, work: Coroutine[Any, Any, Any]) -> object:
        self.did.append("watched")
        return await work

    async def start(self, launch: Launch, wards: Wards, deadline: Deadline) -> None:
        self.did.append("start")
        if self.cold_failure is not None:
            raise self.cold_failure

    async def restore(self, launch: Launch, wards: Wards, deadline: Deadline) -> None:
        assert launch.snapshot is not None
        self.did.append(f"restore {launch.snapshot.folder.name}")
        if self.failure is not None:
            raise self.failure

    async def abandon(self) -> None:
        self.did.append("abandon")


def begun(starter: Starter, snapshot: Stored | None, *, insist: bool = False, limit: float = 10.0) -> bool:
    launch = Launch({}, "key", {}, ram=RamPlace(Path("/ram"), "tmpfs", ""), snapshot=snapshot)
    with patch.object(warm, "verify", AsyncMock()):  # the files of these snapshots are made up
        work = begin(cast("Session", starter), launch, cast("Wards", None), Deadline.after(limit), insist=insist)
        return run_async(work)


def test_without_a_snapshot_the_machines_are_booted() -> None:
    starter = Starter(EventBus())
    assert begun(starter, None) is False
    assert starter.did == ["watched", "start"]
    assert starter.recorded == {}


def test_a_restore_that_works_is_recorded() -> None:
    one, notes = put(PARTS), Notes()
    starter = Starter(notes.bus)
    assert begun(starter, one) is True
    assert starter.did == ["watched", f"restore {one.folder.name}"]
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
    one, notes = put(PARTS), Notes()
    starter = Starter(notes.bus, failure=error)
    assert begun(starter, one) is False
    assert starter.did == ["watched", f"restore {one.folder.name}", "abandon", "watched", "start"]
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
    one, notes = put(PARTS), Notes()
    starter = Starter(notes.bus, failure=error)
    with pytest.raises(type(error)) as caught:
        begun(starter, one, insist=True)
    assert caught.value is error
    assert starter.did == ["watched", f"restore {one.folder.name}"]
    assert notes.found == []
    assert one.folder.exists() is kept


def test_no_cold_start_is_begun_when_the_time_is_over() -> None:
    one = put(PARTS)
    starter = Starter(EventBus(), failure=MachineError("QEMU did not load the state"))
    with pytest.raises(MachineError, match="did not load"):
        begun(starter, one, limit=0.0)
    assert "start" not in starter.did


def test_a_cold_start_that_fails_too_tells_its_own_reason() -> None:
    starter = Starter(
        EventBus(), failure=MachineError("no restore"), cold_failure=MachineError("machine server did not boot")
    )
    with pytest.raises(MachineError, match="did not boot"):
        begun(starter, put(PARTS))


def test_a_bug_in_this_program_is_not_taken_for_a_bad_snapshot() -> None:
    one = put(PARTS)
    starter = Starter(EventBus(), failure=ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        begun(starter, one)
    assert one.folder.exists()


# ------------------------------------------------------------------ what a failed restore leaves


WEB = Service("web", "server", ServiceKind.DAEMON, "web.service")


def a_state(tmp_path: Path, **changes: object) -> EnvironmentState:
    state = EnvironmentState(
        name="shop", topology=topology(tmp_path, machine("server"), services={"web": WEB}),
        run_folder=tmp_path / "runs/r1", phase="starting",
        owner=ProcessId(4, 5, "another boot"), command="orchestrator up", started=1.0, provider="debian",
        accelerator="tcg", factor=1.0, parts=PARTS, services={"web": "healthy"},
        machines={"server": MachineState(ProcessId(8, 9, "another boot"), "/images/server", {22: 40001}, "ssh A", "")},
    )  # fmt: skip
    return replace(state, **changes)  # type: ignore[arg-type]


@dataclass
class Abandoned:
    session: Session
    places: Places

    @property
    def live(self) -> Any:
        return self.session.machines["server"]


def abandoned(tmp_path: Path, prepare: Callable[[Any], None]) -> Abandoned:
    """A session whose restore failed; ``prepare`` gets the machine as it was until then."""
    places = Places.of("shop")
    places.make()
    session = Session(places, StateFile(places.state, a_state(tmp_path)), EventBus())
    live = session.machines["server"]
    for folder in (live.paths.work, live.paths.logs):
        folder.mkdir(parents=True)
    prepare(live)
    run_async(session.abandon())
    return Abandoned(session, places)


def test_machines_that_were_abandoned_are_forgotten(tmp_path: Path) -> None:
    before: list[object] = []
    after = abandoned(tmp_path, before.append)
    assert after.live is not before[0]
    assert after.session.record.state.machines == {}
    assert after.session.record.state.services == {}
    assert after.session.gate.graph.startable() == ("web",), "what a restore had proven is started again"


def test_a_switch_that_ends_is_named(tmp_path: Path) -> None:
    session = abandoned(tmp_path, lambda _: None).session

    async def scenario() -> None:
        switch = launch(("sleep", "60"), log=tmp_path / "log")
        session._switches["lan"] = switch

        async def kill() -> None:
            await asyncio.sleep(0.2)
            await switch.end(0.1)
            await asyncio.sleep(30)

        begun = Deadline.after(10)
        with pytest.raises(HostError, match="the switch of network lan is gone"):
            await session.watched(kill())
        assert begun.elapsed < 2

    run_async(scenario())


def test_a_cold_start_does_not_boot_the_disk_of_the_snapshot(tmp_path: Path) -> None:
    after = abandoned(tmp_path, lambda live: live.paths.disk.write_bytes(b"a copy of the snapshot's disk"))
    assert not after.live.paths.disk.exists()


def test_a_cold_start_does_not_die_of_what_the_restored_machine_said(tmp_path: Path) -> None:
    def panic(live: Any) -> None:
        live.paths.serial_log.write_text("[9.0] Kernel panic - not syncing: restored badly\n")

    async def watch(live: Any) -> None:
        process = live.launch(("sleep", "60"), {"PATH": "/usr/bin:/bin"})
        try:
            with pytest.raises(TimeoutLike):
                async with Deadline.after(0.8).enforce(TimeoutLike):
                    await live.watch()
        finally:
            await process.end(0.2)

    run_async(watch(abandoned(tmp_path, panic).live))


class TimeoutLike(OrchestratorError):
    """Nothing happened for as long as the test waits."""

    def __init__(self) -> None:
        super().__init__("nothing happened")


# ------------------------------------------------------------------ saving


class Saver:
    """Stands in for a `Session` whose environment was just proven."""

    def __init__(
        self, tmp_path: Path, failure: Exception | None = None, *, ram: bool = True, runs: str = "running"
    ) -> None:
        notes = self.notes = Notes()
        self.bus = notes.bus
        file, disk = tmp_path / "server.ram", tmp_path / "disk.qcow2"
        for path in (file, disk):
            path.write_bytes(b"x" * 5000)
        one = MachineState(ProcessId(8, 9, "boot"), "/images/server", {22: 40001}, "ssh A", str(file) if ram else "")
        self.record = StateFile(tmp_path / "state.json", a_state(tmp_path, machines={"server": one}))
        self.places = Places.of("shop")
        monitor = SimpleNamespace(run_state=self.run_state)
        self.machines = {"server": SimpleNamespace(paths=SimpleNamespace(disk=disk), monitor=monitor)}
        self.failure = failure
        self.runs = runs
        self.saves = 0

    async def save(
        self, saving: Saving, manifest: Callable[[Mapping[str, SavedMachine], float], Manifest], deadline: Deadline
    ) -> Stored:
        self.saves += 1
        (saving.folder / "server").mkdir()
        (saving.folder / "server/ram").write_bytes(b"x" * 5000)
        if self.failure is not None:
            raise self.failure
        return saving.publish(manifest({"server": SERVER}, 0.1234))

    async def run_state(self) -> str:
        if self.runs == "gone":
            raise MachineError("QMP connection to machine server is lost")
        return self.runs

    def saved(self) -> str:
        """What the record then names as the healthy snapshot."""
        run_async(save_healthy(cast("Session", self), Deadline.after(10)))
        return self.record.state.snapshot


def test_what_was_proven_is_there_for_the_next_start(tmp_path: Path) -> None:
    saver = Saver(tmp_path)
    recorded = saver.saved()
    found = choose("shop", PARTS, "auto", EventBus())
    assert found is not None
    assert str(found.folder) == recorded
    manifest = found.manifest
    assert manifest is not None
    assert (manifest.name, manifest.environment, manifest.paused) == (HEALTHY, "shop", 0.123)
    assert (manifest.parts, manifest.owner) == (PARTS, saver.places.identity)
    assert not is_clone(found, saver.places), "the next start of this environment is its own"
    assert manifest.command == "orchestrator up"
    (text,) = saver.notes.texts("info")
    assert text.startswith("saved the state healthy: ")
    assert "stood still for 0.12 s" in text


def test_a_state_that_is_known_is_not_saved_again(tmp_path: Path) -> None:
    known = put(PARTS, environment="alicia")
    saver = Saver(tmp_path)
    assert saver.saved() == str(known.folder)
    assert saver.saves == 0
    assert [one.folder for one in the_store().all()] == [known.folder]


def test_machines_whose_memory_is_no_file_are_not_saved(tmp_path: Path) -> None:
    saver = Saver(tmp_path, ram=False)
    assert saver.saved() == ""
    assert saver.saves == 0
    assert saver.notes.found == [], "that was said at the start"
    assert the_store().all() == []


@pytest.mark.parametrize(
    "error",
    [
        SnapshotError("the snapshot could not be written", why="No space left on device"),
        HostError("/dev/shm/orch-0 is not this user's own folder"),
        MachineError("QMP: machine server refused migrate-set-parameters", why="no such parameter"),
        GuestCommandError("machine server refused guest-get-time"),
        TimeLimit("the command took longer than 10 s"),
    ],
)
def test_a_state_that_cannot_be_saved_is_only_a_warning(tmp_path: Path, error: OrchestratorError) -> None:
    saver = Saver(tmp_path, error)
    assert saver.saved() == ""
    (text,) = saver.notes.texts("warning")
    assert text == f"the healthy state was not saved: {f'{error.what}: {error.why}' if error.why else error.what}"
    assert the_store().all() == []
    assert list(the_store().memory.glob(".*")) + list(the_store().disk.glob(".*")) == [], "nothing half made is left"


@pytest.mark.parametrize("runs", ["gone", "paused", "postmigrate", "internal-error"])
def test_a_machine_lost_while_it_is_saved_is_no_mere_warning(tmp_path: Path, runs: str) -> None:
    saver = Saver(tmp_path, MachineError("machine server does not go on after its state was saved"), runs=runs)
    with pytest.raises(MachineError, match="does not go on"):
        saver.saved()
    assert the_store().all() == []
    assert saver.notes.texts("warning") == []


def test_a_host_without_room_is_only_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saver = Saver(tmp_path)
    monkeypatch.setattr(module, "touched", lambda _: 1 << 60)
    assert saver.saved() == ""
    assert saver.saves == 0
    (text,) = saver.notes.texts("warning")
    assert text.startswith("the healthy state was not saved: there is no room for a snapshot of ")


def test_a_damaged_state_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "file_system", lambda _: "tmpfs")  # so that it goes where the damaged one lies
    damaged = put(PARTS)
    damage(damaged)
    saver = Saver(tmp_path)
    assert saver.saved() != ""
    found = the_store().healthy(key_of(PARTS))
    assert found is not None
    assert [one.folder for one in the_store().all()] == [found.folder]


def test_the_oldest_state_gives_way_to_the_new_one(tmp_path: Path) -> None:
    old = [put({"topology": str(n)}, created=float(n)) for n in range(KEPT_HEALTHY)]
    saver = Saver(tmp_path)
    new = Path(saver.saved())
    assert {one.folder for one in the_store().all()} == {new, *(one.folder for one in old[1:])}


def test_the_state_a_living_environment_rests_on_stays(tmp_path: Path) -> None:
    """Reset goes back to it; one whose machines are gone does not need it any more."""
    old = [put({"topology": str(n)}, created=float(n)) for n in range(KEPT_HEALTHY)]
    me = ProcessId.of(os.getpid())
    assert me is not None
    for name, process, rests_on in (
        ("lives", me, old[0]), ("dead", ProcessId(8, 9, "boot"), old[1]), ("apart", me, None),
    ):  # fmt: skip
        record(tmp_path, name, process, rests_on)
    broken = Places.of("broken")
    broken.make()
    broken.state.write_text("{")
    assert in_use() == {old[0].folder}
    new = Path(Saver(tmp_path).saved())
    assert {one.folder for one in the_store().all()} == {new, *(one.folder for one in old)}


def record(tmp_path: Path, name: str, process: ProcessId, rests_on: Stored | None) -> None:
    places = Places.of(name)
    places.make()
    machines = {"server": MachineState(process, "/images/server")}
    snapshot = str(rests_on.folder) if rests_on else ""
    StateFile(places.state, a_state(tmp_path, name=name, machines=machines, snapshot=snapshot))


def test_what_is_asked_of_the_disk_is_what_was_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A RAM file of 8 GiB of which little was touched does not ask for 8 GiB."""
    asked: list[int] = []
    real = module.place_for
    monkeypatch.setattr(module, "place_for", lambda store, wanted: asked.append(wanted) or real(store, wanted))
    saver = Saver(tmp_path)
    with (tmp_path / "server.ram").open("r+b") as file:
        file.truncate(8 << 30)
    assert saver.saved() != ""
    assert asked[0] < 100 * MIB
