"""Back to a saved state: which one is meant, what is given up for it and when, and how it is recorded."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from fake_qemu import run_async
from topology_parts import machine, topology

from orchestrator.deadline import Deadline
from orchestrator.environment import startup
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.reaper_client import reaper_client
from orchestrator.environment.reset import chosen, place_again, reset, state_to_change
from orchestrator.environment.saving import default_store
from orchestrator.environment.session import Session
from orchestrator.environment.state import EnvironmentState, MachineState, StateFile, read_state
from orchestrator.errors import HostError, MachineError, OrchestratorError, SnapshotDamaged, SnapshotError, UsageError
from orchestrator.events import EventBus
from orchestrator.process_id import ProcessId
from orchestrator.snapshots.manifest import MANIFEST, Manifest, SavedMachine, files_of
from orchestrator.snapshots.memory import RamBacking, digest
from orchestrator.snapshots.store import Snapshot, point_name
from orchestrator.topology.stages import HEALTHY

PARTS = {"QEMU": "10.0.2", "topology": "t1"}
DEAD = ProcessId(8, 9, "another boot")


@pytest.fixture
def paths(own_places: None) -> EnvironmentPaths:
    found = EnvironmentPaths.of("shop")
    found.make()
    return found


def a_state(tmp_path: Path, **changes: object) -> EnvironmentState:
    state = EnvironmentState(
        name="shop",
        topology=topology(tmp_path, machine("server"), machine("client")),
        run_folder=tmp_path / "runs/r1",
        phase="ready",
        owner=DEAD,
        command="orchestrator up",
        started=1.0,
        provider="debian",
        accelerator="tcg",
        factor=1.0,
        inputs=PARTS,
        machines={name: MachineState(DEAD, str(tmp_path / "image")) for name in ("server", "client")},
    )
    return replace(state, **changes)  # type: ignore[arg-type]


def put(tmp_path: Path, name: str = f"{HEALTHY}.k1", parts: dict[str, str] = PARTS) -> Snapshot:
    """A snapshot of both machines whose files are whole."""
    store = default_store()
    (tmp_path / "image").mkdir(exist_ok=True)
    whole = name if "." in name else point_name(name, EnvironmentPaths.of("shop").identity)
    with store.saving("shop", whole, RamBacking(store.memory, "tmpfs", "")) as saving:
        machines = {}
        for one in ("server", "client"):
            files = files_of(saving.folder, one)
            files.folder.mkdir()
            for path in (files.ram, files.state, files.disk):
                path.write_bytes(os.urandom(5000))
            prints = (digest(files.ram), digest(files.state), digest(files.disk))
            machines[one] = SavedMachine(str(tmp_path / "image"), *prints, "ssh-ed25519 A")
        return saving.publish(Manifest(name, "shop", "ab12", "k1", parts, 100.0, 0.2, "orchestrator up", machines))


def damage(one: Snapshot) -> Path:
    path = files_of(one.folder, "client").disk
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    return path


# ------------------------------------------------------------------ which one


def test_healthy_is_the_state_it_rests_on_and_not_a_newer_one(paths: EnvironmentPaths, tmp_path: Path) -> None:
    mine, _ = put(tmp_path), put(tmp_path, f"{HEALTHY}.k2")
    assert chosen(a_state(tmp_path, snapshot=str(mine.folder)), HEALTHY).folder == mine.folder


def test_a_point_is_found_by_its_name(paths: EnvironmentPaths, tmp_path: Path) -> None:
    one = put(tmp_path, "before-import")
    assert chosen(a_state(tmp_path), "before-import").folder == one.folder
    with pytest.raises(UsageError, match="has no snapshot 'after'") as caught:
        chosen(a_state(tmp_path), "after")
    assert caught.value.why == "there is: before-import"


def test_a_healthy_state_that_is_gone(paths: EnvironmentPaths, tmp_path: Path) -> None:
    """Another healthy one is no substitute: it may be of other machines."""
    gone = put(tmp_path)
    put(tmp_path, f"{HEALTHY}.k2")
    default_store().remove(gone)
    with pytest.raises(SnapshotError, match="healthy state of environment shop is gone") as caught:
        chosen(a_state(tmp_path, snapshot=str(gone.folder)), HEALTHY)
    assert caught.value.where == (str(gone.folder),)
    assert caught.value.hint == "orchestrator -n shop up --fresh"


@pytest.mark.parametrize("name", [HEALTHY, "before-import"])
def test_a_snapshot_with_a_damaged_manifest(paths: EnvironmentPaths, tmp_path: Path, name: str) -> None:
    one = put(tmp_path, f"{HEALTHY}.k1" if name == HEALTHY else name)
    (one.folder / MANIFEST).write_text("{")
    with pytest.raises(SnapshotError, match=f"snapshot {name} is damaged") as caught:
        chosen(a_state(tmp_path, snapshot=str(one.folder)), name)
    assert "its manifest is missing, damaged, or of another version" in caught.value.why
    assert caught.value.where == (str(one.folder),)
    assert "snapshot prune" in caught.value.hint


def test_a_snapshot_that_does_not_fit_names_what_changed(paths: EnvironmentPaths, tmp_path: Path) -> None:
    put(tmp_path, "older", {**PARTS, "QEMU": "9.2", "image server": "i1"})
    with pytest.raises(SnapshotError, match="older does not fit the environment that runs") as caught:
        chosen(a_state(tmp_path), "older")
    assert caught.value.why == "it was saved from another environment; these inputs differ: QEMU, image server"


# ------------------------------------------------------------------ which environment


def test_an_environment_that_was_taken_down_meanwhile(paths: EnvironmentPaths) -> None:
    with pytest.raises(HostError, match="environment shop is not running completely") as caught:
        state_to_change(paths)
    assert "it was taken down" in caught.value.why
    assert caught.value.hint == "orchestrator -n shop up"


def test_an_environment_of_which_only_some_machines_are_recorded(paths: EnvironmentPaths, tmp_path: Path) -> None:
    """A start or reset that was killed half way: what is left of it is no state to save or to go back from."""
    for names in ((), ("server",)):
        StateFile(paths.state, a_state(tmp_path, machines={name: MachineState(DEAD, "/image") for name in names}))
        with pytest.raises(HostError, match="is not running completely") as caught:
            state_to_change(paths)
        assert "was interrupted" in caught.value.why
    assert not (tmp_path / "runs").exists()


def test_a_whole_environment_gets_its_run_folder_back(paths: EnvironmentPaths, tmp_path: Path) -> None:
    """Somebody may have cleaned up the runs; the events of a reset go there all the same."""
    state = a_state(tmp_path)
    StateFile(paths.state, state)
    assert state_to_change(paths) == state
    assert state.run_folder.is_dir()


def test_the_memory_comes_to_the_kind_of_place_where_it_is(paths: EnvironmentPaths, tmp_path: Path) -> None:
    def place(*files: str) -> Path | None:
        names = ("server", "client")
        machines = {name: MachineState(DEAD, "/image", ram=ram) for name, ram in zip(names, files, strict=True)}
        found = place_again(paths, a_state(tmp_path, machines=machines))
        return found.folder if found else None

    beside = [str(paths.machine_folder(name) / f"{name}.ram") for name in ("server", "client")]
    assert place(*beside) == paths.folder
    assert place("/dev/shm/then/server.ram", "/dev/shm/then/client.ram") == tmp_path / "shm"
    assert place("", "") is None, "a clone rests on the saved memory"
    assert place(beside[0], "") is None


# ------------------------------------------------------------------ what is given up, and when


def put_back(paths: EnvironmentPaths, tmp_path: Path, snapshot: Snapshot) -> tuple[OrchestratorError, EnvironmentState]:
    """The failure of a reset, and what is recorded then."""
    paths.user_key.with_suffix(".pub").write_text("ssh-ed25519 AAAA\n")

    async def scenario() -> OrchestratorError:
        session = Session(paths, StateFile(paths.state, a_state(tmp_path)), EventBus())
        async with reaper_client() as group:
            with pytest.raises(OrchestratorError) as caught:
                await reset(session, snapshot, group, Deadline.after(10))
        return caught.value

    error = run_async(scenario())
    state = read_state(paths.state)
    assert state is not None
    return error, state


def test_nothing_is_given_up_for_a_damaged_snapshot(paths: EnvironmentPaths, tmp_path: Path) -> None:
    one = put(tmp_path)
    path = damage(one)
    error, state = put_back(paths, tmp_path, one)
    assert isinstance(error, SnapshotDamaged)
    assert error.where == (str(path),)
    assert state == a_state(tmp_path), "the environment is as it was"


def test_a_machine_that_does_not_come_back(
    paths: EnvironmentPaths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment is a failed one then, and says what to do."""
    one = put(tmp_path)

    async def dies(*_: object) -> None:
        raise MachineError("QEMU of machine client exited with 1")

    monkeypatch.setattr(startup, "end_machines", dies)
    error, state = put_back(paths, tmp_path, one)
    assert type(error) is MachineError
    assert (state.phase, state.generation) == ("failed", 1)
    assert error.hint
