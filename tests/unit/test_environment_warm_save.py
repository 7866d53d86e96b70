"""When a state that was proven is saved for the next start, and when not."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from unittest.mock import patch

import pytest
from simulated_time import run_simulated
from warm_states import BASE, INPUTS, SERVER, Notes, a_state, damage, put

from orchestrator.deadline import Deadline
from orchestrator.environment import saving
from orchestrator.environment.decision import Inputs
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.saving import default_store
from orchestrator.environment.session import Session
from orchestrator.environment.state import MachineState, StateFile
from orchestrator.environment.warm import choose, in_use, is_clone, save_healthy
from orchestrator.errors import (
    GuestCommandError,
    HostError,
    MachineError,
    OrchestratorError,
    ServiceError,
    SnapshotError,
    TimeLimit,
)
from orchestrator.events import EventBus
from orchestrator.process_id import ProcessId
from orchestrator.snapshots import memory
from orchestrator.snapshots.key import key_of
from orchestrator.snapshots.manifest import SavedMachine
from orchestrator.snapshots.memory import MIB, RamBacking
from orchestrator.snapshots.store import KEPT_HEALTHY, Snapshot, SnapshotWriter
from orchestrator.topology.stages import HEALTHY

pytestmark = pytest.mark.usefixtures("own_places")


class Saver:
    """Stands in for a `Session` whose environment was just proven."""

    def __init__(
        self,
        tmp_path: Path,
        failure: Exception | None = None,
        *,
        ram: bool = True,
        runs: str = "running",
        script: str = "exec qemu",
    ) -> None:
        notes = self.notes = Notes()
        self.bus = notes.bus
        file, disk = tmp_path / "server.ram", tmp_path / "disk.qcow2"
        for path in (file, disk):
            path.write_bytes(b"x" * 5000)
        run_script = tmp_path / "image/bin/run-server-vm"
        run_script.parent.mkdir(parents=True)
        run_script.write_text(script)
        run_script.chmod(0o755)
        image, memory = str(tmp_path / "image"), str(file) if ram else ""
        one = MachineState(ProcessId(8, 9, "boot"), image, {22: 40001}, "ssh A", memory)
        self.record = StateFile(tmp_path / "state.json", a_state(tmp_path, machines={"server": one}))
        self.paths = EnvironmentPaths.of("shop")
        self.topology = self.record.state.topology
        monitor = SimpleNamespace(run_state=self.run_state)
        self.machines = {"server": SimpleNamespace(paths=SimpleNamespace(disk=disk), monitor=monitor)}
        self.failure = failure
        self.runs = runs
        self.saves = 0
        self.disproved: ServiceError | None = None

    async def verify_still_healthy(self, deadline: Deadline) -> None:
        if self.disproved is not None:
            raise self.disproved

    async def save_all_machines(
        self, writer: SnapshotWriter, deadline: Deadline
    ) -> tuple[Mapping[str, SavedMachine], float]:
        self.saves += 1
        (writer.folder / "server").mkdir()
        (writer.folder / "server/ram").write_bytes(b"x" * 5000)
        if self.failure is not None:
            raise self.failure
        return {"server": SERVER}, 0.1234

    async def run_state(self) -> str:
        if self.runs == "gone":
            raise MachineError("QMP connection to machine server is lost")
        return self.runs

    def saved(self) -> str:
        """What the record then names as the healthy snapshot."""
        with patch.object(saving, "save_all_machines", Saver.save_all_machines):
            run_simulated(save_healthy(cast("Session", self), Deadline.after(10)))
        return self.record.state.snapshot


def test_what_was_proven_is_there_for_the_next_start(tmp_path: Path) -> None:
    saver = Saver(tmp_path)
    recorded = saver.saved()
    found = choose("shop", Inputs(saver.topology, INPUTS), "auto", EventBus())
    assert found is not None
    assert str(found.snapshot.folder) == recorded
    manifest = found.snapshot.manifest
    assert manifest is not None
    assert (manifest.name, manifest.environment, manifest.paused) == (HEALTHY, "shop", 0.123)
    assert (manifest.inputs, manifest.owner) == (INPUTS, saver.paths.identity)
    assert not is_clone(found.snapshot, saver.paths), "the next start of this environment is its own"
    assert manifest.command == "orchestrator up"
    (text,) = saver.notes.texts("info")
    assert text.startswith("saved the state healthy: ")
    assert "were paused for 0.12 s" in text


def test_a_state_that_is_known_is_not_saved_again(tmp_path: Path) -> None:
    known = put(INPUTS, environment="alicia")
    saver = Saver(tmp_path)
    assert saver.saved() == str(known.folder)
    assert saver.saves == 0
    assert [one.folder for one in default_store().all()] == [known.folder]


def test_what_ended_since_it_was_proven_is_not_saved_and_no_mere_warning(tmp_path: Path) -> None:
    saver = Saver(tmp_path)
    saver.disproved = ServiceError("service web on machine server failed after it was proven", subject="web")
    with pytest.raises(ServiceError, match="after it was proven"):
        saver.saved()
    assert saver.saves == 0
    assert saver.notes.texts("warning") == []


def test_machines_whose_memory_is_no_file_are_saved_too(tmp_path: Path) -> None:
    saver = Saver(tmp_path, ram=False)
    assert saver.saved() == str(default_store().all()[0].folder)
    assert saver.saves == 1


def test_machines_whose_memory_is_of_their_images_own_kind_are_not_saved(tmp_path: Path) -> None:
    saver = Saver(tmp_path, ram=False, script="exec qemu -object memory-backend-memfd,id=mem,share=on")
    assert saver.saved() == ""
    assert saver.saves == 0
    assert saver.notes.found == [], "that is so at every start"
    assert default_store().all() == []


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
    assert default_store().all() == []
    assert list(default_store().memory.glob(".*")) + list(default_store().disk.glob(".*")) == [], (
        "nothing half made is left"
    )


@pytest.mark.parametrize("runs", ["gone", "paused", "postmigrate", "internal-error"])
def test_a_machine_lost_while_it_is_saved_is_no_mere_warning(tmp_path: Path, runs: str) -> None:
    saver = Saver(tmp_path, MachineError("machine server does not continue after its state was saved"), runs=runs)
    with pytest.raises(MachineError, match="does not continue"):
        saver.saved()
    assert default_store().all() == []
    assert saver.notes.texts("warning") == []


def test_a_host_without_room_is_only_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saver = Saver(tmp_path)
    monkeypatch.setattr(saving, "touched", lambda _: 1 << 60)
    assert saver.saved() == ""
    assert saver.saves == 0
    (text,) = saver.notes.texts("warning")
    assert text.startswith("the healthy state was not saved: there is no room for a snapshot of ")


def test_a_damaged_state_gives_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "file_system", lambda _: "tmpfs")  # so that it goes where the damaged one lies
    damaged = put(INPUTS)
    damage(damaged)
    saver = Saver(tmp_path)
    assert saver.saved() != ""
    found = default_store().at_stage(HEALTHY, key_of(INPUTS))
    assert found is not None
    assert [one.folder for one in default_store().all()] == [found.folder]


def test_a_damaged_point_that_a_user_saved_stays_for_the_user_to_remove(tmp_path: Path) -> None:
    store = default_store()
    with store.saving("alicia", "mine~ab12", RamBacking(store.memory, "tmpfs", "")) as saving:
        point = saving.publish(BASE)
    damage(point)
    assert Saver(tmp_path).saved() != ""
    assert point.folder.is_dir()


def test_the_oldest_state_gives_way_to_the_new_one(tmp_path: Path) -> None:
    old = [put({"topology": str(n)}, created=float(n)) for n in range(KEPT_HEALTHY)]
    saver = Saver(tmp_path)
    new = Path(saver.saved())
    assert {one.folder for one in default_store().all()} == {new, *(one.folder for one in old[1:])}


def test_the_state_a_living_environment_rests_on_stays(tmp_path: Path) -> None:
    """Reset goes back to it; one whose machines are gone does not need it any more."""
    old = [put({"topology": str(n)}, created=float(n)) for n in range(KEPT_HEALTHY)]
    me = ProcessId.of(os.getpid())
    assert me is not None
    for name, process, rests_on in (
        ("lives", me, old[0]),
        ("dead", ProcessId(8, 9, "boot"), old[1]),
        ("apart", me, None),
    ):
        record(tmp_path, name, process, rests_on)
    broken = EnvironmentPaths.of("broken")
    broken.make()
    broken.state.write_text("{")
    assert in_use() == {old[0].folder}
    new = Path(Saver(tmp_path).saved())
    assert {one.folder for one in default_store().all()} == {new, *(one.folder for one in old)}


def record(tmp_path: Path, name: str, process: ProcessId, rests_on: Snapshot | None) -> None:
    env_paths = EnvironmentPaths.of(name)
    env_paths.make()
    machines = {"server": MachineState(process, "/images/server")}
    snapshot = str(rests_on.folder) if rests_on else ""
    StateFile(env_paths.state, a_state(tmp_path, name=name, machines=machines, snapshot=snapshot))


def test_what_is_asked_of_the_disk_is_what_was_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A RAM file of 8 GiB of which little was touched does not ask for 8 GiB."""
    asked: list[int] = []
    real = saving.place_for
    monkeypatch.setattr(saving, "place_for", lambda store, wanted: asked.append(wanted) or real(store, wanted))
    saver = Saver(tmp_path)
    with (tmp_path / "server.ram").open("r+b") as file:
        file.truncate(8 << 30)
    assert saver.saved() != ""
    assert asked[0] < 100 * MIB
