"""The store of snapshots: whole or absent, private, bounded, and honest about what is damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import HostError, SnapshotError, UsageError
from orchestrator.snapshots.manifest import MANIFEST, Manifest, SavedMachine, read_manifest
from orchestrator.snapshots.memory import RamBacking
from orchestrator.snapshots.store import KEPT_HEALTHY, SAVING, Snapshot, SnapshotStore, check_name, mine, point_name
from orchestrator.topology.stages import HEALTHY

MACHINE = SavedMachine("/images/server", "aa", "bb", "cc", "ssh-ed25519 A")
BASE = Manifest("p", "alicia", "ab12", "k1", {"QEMU": "10.0.2"}, 100.0, 0.2, "orchestrator up", {"server": MACHINE})


@pytest.fixture
def store(tmp_path: Path) -> SnapshotStore:
    return SnapshotStore(tmp_path / "disk", tmp_path / "memory")


def put(
    store: SnapshotStore, name: str, *, environment: str = "alicia", kind: str = "tmpfs", **changes: object
) -> Snapshot:
    root = store.disk if kind == "disk" else store.memory
    manifest = replace(BASE, name=name.partition(".")[0], environment=environment, **changes)  # type: ignore[arg-type]
    with store.saving(environment, name, RamBacking(root, kind, "")) as saving:
        (saving.folder / "server").mkdir()
        (saving.folder / "server" / "ram").write_bytes(b"x" * 5000)
        return saving.publish(manifest)


def test_what_was_published_is_found_and_private(store: SnapshotStore) -> None:
    put(store, "first")
    put(store, "healthy.k1", created=200.0)
    put(store, "other", environment="second", kind="disk", created=50.0)
    assert [(one.environment, one.name, one.automatic) for one in store.all()] == [
        ("alicia", "healthy", True),
        ("alicia", "first", False),
        ("second", "other", False),
    ]
    found = store.get("alicia", "first", "ab12")
    assert found.manifest is not None
    assert found.manifest.machines == {"server": MACHINE}
    assert found.size >= 5000
    for root in (store.memory, store.disk):
        assert root.stat().st_mode & 0o777 == 0o700
    assert found.folder.stat().st_mode & 0o777 == 0o700
    assert (found.folder / MANIFEST).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in found.folder.iterdir()) == [MANIFEST, "server"]


def test_a_point_that_is_not_there_names_those_that_are(store: SnapshotStore) -> None:
    put(store, "first")
    put(store, "elsewhere", environment="second")
    with pytest.raises(UsageError, match="has no snapshot 'none'") as caught:
        store.get("alicia", "none", "ab12")
    assert caught.value.why == "there is: first"


def test_environments_of_one_name_have_points_of_their_own(store: SnapshotStore) -> None:
    """Two state folders may each have an environment ``alicia``."""
    mine = put(store, point_name("first", "ab12"))
    other = put(store, point_name("first", "cd34"), owner="cd34")
    put(store, point_name("second", "cd34"), owner="cd34")
    assert store.get("alicia", "first", "ab12").folder == mine.folder
    assert store.get("alicia", "first", "cd34").folder == other.folder
    assert (mine.name, mine.automatic, mine.owner, other.owner) == ("first", False, "ab12", "cd34")
    with pytest.raises(UsageError, match="has no snapshot 'second'") as caught:
        store.get("alicia", "second", "ab12")
    assert caught.value.why == "there is: first", "what is another one's is not offered"
    with pytest.raises(SnapshotError, match="a snapshot first of environment alicia exists already"):
        put(store, point_name("first", "ab12"))


def test_a_name_is_never_overwritten(store: SnapshotStore) -> None:
    old = put(store, "first")
    with pytest.raises(SnapshotError, match="exists already"):
        put(store, "first", created=300.0)
    assert read_manifest(old.folder).created == 100.0
    assert not list(store.memory.glob(f"{SAVING}*"))


def test_an_interrupted_saving_leaves_nothing(store: SnapshotStore) -> None:
    place = RamBacking(store.memory, "tmpfs", "")
    with pytest.raises(KeyboardInterrupt), store.saving("alicia", "first", place) as saving:
        (saving.folder / "ram").write_bytes(b"half")
        raise KeyboardInterrupt
    assert store.all() == []
    assert list(store.memory.iterdir()) == []


def test_what_a_killed_saver_left_is_cleared_and_a_living_ones_is_not(store: SnapshotStore) -> None:
    with store.saving("alicia", "mine", RamBacking(store.memory, "tmpfs", "")) as saving:
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        (store.memory / f"{SAVING}{ended.pid}-1.alicia@dead").mkdir()
        (store.memory / f"{SAVING}alicia@of-an-older-version").mkdir()
        (store.memory / ".removing-alicia@x-1").mkdir()
        store.remove_leftovers()
        assert sorted(path.name for path in store.memory.iterdir()) == [saving.folder.name]
        assert store.all() == [], "what is being saved is no snapshot yet"


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", '{"format": 99}', '{"format": 1}', "\x00\xff", '{"format": 1, "machines": 3}']
)
def test_a_damaged_manifest_is_listed_as_a_problem_and_never_used(store: SnapshotStore, text: str) -> None:
    one = put(store, "healthy.k1")
    (one.folder / MANIFEST).write_text(text)
    (found,) = store.all()
    assert found.problem
    assert store.at_stage(HEALTHY, "k1") is None
    assert store.last_at("alicia", HEALTHY) is None
    assert store.prunable() == [found]


def test_machines_of_a_manifest_cannot_leave_the_folder(store: SnapshotStore) -> None:
    one = put(store, "first")
    data = json.loads((one.folder / MANIFEST).read_text())
    data["machines"] = {"../../etc": data["machines"]["server"]}
    (one.folder / MANIFEST).write_text(json.dumps(data))
    with pytest.raises(SnapshotError, match="cannot be read"):
        read_manifest(one.folder)


def test_the_fitting_one(store: SnapshotStore) -> None:
    put(store, "healthy.k1")
    put(store, "healthy.k2", environment="second", created=500.0)
    found = store.at_stage(HEALTHY, "k2")
    assert found is not None
    assert found.environment == "second", "whoever made it"
    assert store.at_stage(HEALTHY, "k3") is None
    last = store.last_at("alicia", HEALTHY)
    assert last is not None
    assert last.folder.name == "alicia@healthy.k1"


def test_automatic_ones_are_bounded_named_ones_stay(store: SnapshotStore) -> None:
    for number in range(KEPT_HEALTHY + 2):
        put(store, f"healthy.k{number}", created=float(number))
    put(store, "mine", created=0.5)
    assert [one.folder.name for one in store.prunable()] == ["alicia@healthy.k1", "alicia@healthy.k0"]
    assert [one.folder.name for one in store.prunable(keep=[store.memory / "alicia@healthy.k0"])] == [
        "alicia@healthy.k1"
    ]
    for one in store.prunable():
        store.remove(one)
    assert len(store.all()) == KEPT_HEALTHY + 1
    assert not [path for path in store.memory.iterdir() if path.name.startswith(".")]


def test_a_point_for_a_run_is_kept_while_the_run_lives(store: SnapshotStore) -> None:
    for number in range(KEPT_HEALTHY + 2):
        put(store, f"healthy.k{number}", created=1000.0 + number)
    own, left = put(store, f"isolate.{mine()}"), put(store, "isolate.999999999-1")
    assert not own.ownerless
    assert left in store.prunable()
    assert own not in store.prunable()
    with pytest.raises(UsageError):
        store.get("alicia", "isolate", "ab12")


def test_a_name_is_taken_wherever_it_lies(store: SnapshotStore) -> None:
    put(store, "first", kind="disk")
    with pytest.raises(SnapshotError, match="exists already"):
        put(store, "first")


@pytest.mark.parametrize("name", ["", "healthy", "isolate", "a.b", "a@b", "../x", "A", "-a", "a" * 41, "a b", "a/b"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be named"):
        check_name(name)


@pytest.mark.skipif(os.getuid() != 0, reason="another user's folder can only be made by root")
@pytest.mark.parametrize("whose", ["memory", "memory/.."])
def test_somebody_elses_folder_is_refused(tmp_path: Path, whose: str) -> None:
    """Whoever owns the parent could put another folder in the place of ours."""
    store = SnapshotStore(tmp_path / "disk", tmp_path / "shared/memory")
    store.memory.mkdir(parents=True)
    folder = (tmp_path / "shared" / whose).resolve()
    os.chown(folder, 65534, 65534)
    with pytest.raises(HostError, match=r"is not this user's own folder$") as caught:
        put(store, "first")
    assert caught.value.what.startswith(f"{folder} ")
    assert "another user created it" in caught.value.why
    assert list(store.memory.iterdir()) == [], "nothing was put there"


@pytest.mark.parametrize("whose", ["memory", "memory/.."])
def test_a_folder_others_may_write_in_is_refused(tmp_path: Path, whose: str) -> None:
    store = SnapshotStore(tmp_path / "disk", tmp_path / "shared/memory")
    store.memory.mkdir(parents=True)
    folder = (tmp_path / "shared" / whose).resolve()
    folder.chmod(0o777)
    with pytest.raises(HostError, match=r"is not this user's own folder$") as caught:
        put(store, "first")
    assert caught.value.what.startswith(f"{folder} ")
    assert list(store.memory.iterdir()) == []


def test_a_link_in_the_place_of_the_folder_is_refused(store: SnapshotStore, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    store.memory.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostError, match="is not this user's own folder"):
        put(store, "first")
    assert list((tmp_path / "elsewhere").iterdir()) == []
