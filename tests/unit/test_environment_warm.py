"""Starting from a saved state: which one is taken and why, and where memory is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from topology_parts import machine, topology
from warm_states import BASE, INPUTS, Notes, damage, put

from orchestrator.environment.decision import Inputs
from orchestrator.environment.memory import choose_ram_backing
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.saving import default_store
from orchestrator.environment.warm import choose, is_clone
from orchestrator.errors import (
    SnapshotError,
)
from orchestrator.snapshots import memory
from orchestrator.snapshots.key import key_of
from orchestrator.snapshots.memory import RamBacking
from orchestrator.topology.model import Topology

pytestmark = pytest.mark.usefixtures("own_places")
WANTED = Inputs(topology(Path("/nowhere"), machine("server")), INPUTS)


# ------------------------------------------------------------------ which one


@pytest.mark.parametrize("start", ["auto", "warm"])
def test_a_fitting_state_is_taken_and_named(start: str) -> None:
    one, notes = put(INPUTS), Notes()
    found = choose("shop", WANTED, start, notes.bus)
    assert found is not None
    assert found.snapshot.folder == one.folder
    (text,) = notes.texts("info")
    assert text.startswith("start from the saved healthy state (")
    assert one.folder.name in text


def test_a_cold_start_that_was_asked_for_looks_for_nothing() -> None:
    put(INPUTS)
    notes = Notes()
    assert choose("shop", WANTED, "cold", notes.bus) is None
    assert notes.found == []


def test_a_fitting_state_of_another_environment_will_do() -> None:
    one = put(INPUTS, environment="alicia")
    found = choose("shop", WANTED, "auto", Notes().bus)
    assert found is not None
    assert found.snapshot.folder == one.folder


def test_without_a_state_the_start_is_cold_and_says_so() -> None:
    notes = Notes()
    assert choose("shop", WANTED, "auto", notes.bus) is None
    assert notes.texts("info") == ["cold start: no healthy state was saved yet"]
    with pytest.raises(SnapshotError, match="there is no saved state to start from") as caught:
        choose("shop", WANTED, "warm", notes.bus)
    assert caught.value.why == "no healthy state was saved yet"
    assert caught.value.hint == "orchestrator up makes one"


def test_what_changed_since_is_named() -> None:
    put({**INPUTS, "QEMU": "9.2", "file /run/x of server": "600 aa"}, created=300.0)
    put({**INPUTS, "topology": "older"}, created=200.0)
    put({"topology": "another's"}, environment="alicia", created=400.0)
    notes = Notes()
    why = "the saved state does not fit, changed since: QEMU, file /run/x of server"
    assert choose("shop", WANTED, "auto", notes.bus) is None
    assert notes.texts("info") == [f"cold start: {why}"]
    with pytest.raises(SnapshotError) as caught:
        choose("shop", WANTED, "warm", notes.bus)
    assert caught.value.why == why


def test_a_damaged_state_is_not_taken() -> None:
    damage(put(INPUTS))
    notes = Notes()
    assert choose("shop", WANTED, "auto", notes.bus) is None
    assert notes.texts("info")[0].startswith("cold start: ")
    with pytest.raises(SnapshotError, match="there is no saved state to start from"):
        choose("shop", WANTED, "warm", notes.bus)


def test_a_point_of_the_user_is_no_healthy_state() -> None:
    store = default_store()
    with store.saving("shop", "before-import", RamBacking(store.memory, "tmpfs", "")) as saving:
        saving.publish(replace(BASE, name="before-import", key=key_of(INPUTS), inputs=INPUTS))
    assert choose("shop", WANTED, "auto", Notes().bus) is None


@pytest.mark.parametrize("name", ["shop", "alicia"])
def test_a_state_of_another_environment_makes_a_clone_also_when_that_has_our_name(name: str) -> None:
    """Two state folders may each have an environment ``shop``: what tells them apart is who saved it."""
    paths = EnvironmentPaths.of("shop")
    assert is_clone(put(INPUTS, environment=name), paths)
    assert not is_clone(put({"QEMU": "9.2"}, environment=name, owner=paths.identity), paths)


# ------------------------------------------------------------------ memory as files


def shop(tmp_path: Path, *sizes: int) -> Topology:
    return topology(tmp_path, *(machine(f"m{n}", memory=size) for n, size in enumerate(sizes)))


def test_memory_is_kept_as_files_where_a_file_is_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "file_system", lambda _: "tmpfs")
    notes = Notes()
    place = choose_ram_backing(shop(tmp_path, 1, 2), EnvironmentPaths.of("shop"), notes.bus)
    assert place is not None
    assert (place.folder, place.kind) == (tmp_path / "shm", "tmpfs")
    assert notes.found == []


def test_machines_whose_memory_has_no_room_are_started_all_the_same_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "file_system", lambda _: "tmpfs")
    huge = 1 << 40  # MiB
    notes = Notes()
    assert choose_ram_backing(shop(tmp_path, huge, huge), EnvironmentPaths.of("shop"), notes.bus) is None
    (text,) = notes.texts("info")
    assert text.startswith("the machines' memory is not stored in files, so saving their state takes longer: ")
    assert f"{tmp_path}/shm has only " in text
