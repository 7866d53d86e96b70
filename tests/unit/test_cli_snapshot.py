"""snapshot list, rm and prune over a real store, and every misuse, as far as it goes without machines."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from cli_process import Cli

from orchestrator.cli.snapshot import for_people
from orchestrator.events import utc_text, wall_clock
from orchestrator.snapshots.manifest import Manifest, SavedMachine, files_of
from orchestrator.snapshots.memory import RamBacking, digest
from orchestrator.snapshots.store import Snapshot, SnapshotStore, point_name
from orchestrator.snapshots.tree import branches
from orchestrator.text import size_text
from orchestrator.topology.stages import HEALTHY


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    (tmp_path / "shm").mkdir()
    monkeypatch.setenv("ORCH_RAM_DIR", str(tmp_path / "shm"))
    return Cli(tmp_path, {"ORCH_RAM_DIR": str(tmp_path / "shm")})


def put(cli: Cli, name: str, *, age: float = 0.0) -> Snapshot:
    """A whole snapshot of the environment ``tiny``, on the disk."""
    store = SnapshotStore.of(cli.folder / "cache")
    whole = name if "." in name else point_name(name, cli.owner)
    with store.saving("tiny", whole, RamBacking(store.disk, "disk", "")) as saving:
        files = files_of(saving.folder, "alpha")
        files.folder.mkdir()
        for path in (files.ram, files.state, files.disk):
            path.write_bytes(os.urandom(8192))
        prints = (digest(files.ram), digest(files.state), digest(files.disk))
        machines = {"alpha": SavedMachine(str(cli.folder), *prints, "ssh-ed25519 A")}
        made = wall_clock() - age
        short = name.partition(".")[0]
        manifest = Manifest(short, "tiny", cli.owner, "k1", {}, made, 0.25, "orchestrator up", machines)
        return saving.publish(manifest)


def rows(text: str) -> list[list[str]]:
    return [line.split("\t") for line in text.splitlines()]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("save",), "snapshot save needs a name"),
        (("restore",), "snapshot restore needs a name"),
        (("rm",), "snapshot rm needs a name"),
        (("list", "x"), "snapshot list takes no name"),
        (("prune", "x"), "snapshot prune takes no name"),
        (("rm", "x", "--dry-run"), "snapshot rm takes neither --all nor --dry-run"),
        (("rm", "x", "--all"), "snapshot rm takes neither --all nor --dry-run"),
        (("list", "--all"), "snapshot list takes neither --all nor --dry-run"),
        (("save", "healthy"), "a snapshot cannot be named 'healthy'"),
        (("save", "isolate"), "a snapshot cannot be named 'isolate'"),
        (("rm", "y"), "environment tiny has no snapshot 'y'"),
    ],
)
def test_misuse_is_explained_and_removes_nothing(cli: Cli, words: tuple[str, ...], expected: str) -> None:
    one = put(cli, "x")
    done = cli("snapshot", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {expected}")
    assert one.folder.is_dir()


@pytest.mark.parametrize("words", [("save", "x"), ("restore", "x")])
def test_without_an_environment_that_runs(cli: Cli, words: tuple[str, ...]) -> None:
    cli.record(alive=False)
    done = cli("snapshot", *words)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: environment tiny does not run")


def test_list_on_a_pipe_and_as_json(cli: Cli) -> None:
    assert (cli("snapshot", "list").stdout, cli("snapshot", "list", "--json").stdout) == ("", "[]\n")
    one = put(cli, "before-import", age=60)
    heading, row = cli("snapshot", "list").stdout.splitlines()
    assert heading.split() == ["ENVIRONMENT", "NAME", "SIZE", "IN", "SAVED", "MACHINES", "DIFFERENCE"]
    words = row.split("  ")
    assert [word.strip() for word in words if word] == [
        "tiny",
        "before-import",
        size_text(one.size),
        "disk",
        "1 min ago",
        "alpha",
    ]
    assert json.loads(cli("snapshot", "list", "--json").stdout) == [
        {
            "environment": "tiny",
            "name": "before-import",
            "owner": cli.owner,
            "automatic": False,
            "size": one.size,
            "place": "disk",
            "created": utc_text(one.created),
            "paused": 0.25,
            "machines": ["alpha"],
            "problem": "",
            "path": str(one.folder),
            "parent": None,
            "adds": [],
            "changed": [],
        }
    ]


def test_list_on_a_terminal(cli: Cli) -> None:
    put(cli, "before-import", age=3 * 3600)
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "orchestrator", "snapshot", "list"],
        cwd=cli.folder,
        env=cli.environment,
        stdout=theirs,
        stderr=subprocess.PIPE,
        check=True,
        timeout=60,
    )
    os.close(theirs)
    lines = os.read(ours, 65536).decode().splitlines()
    os.close(ours)
    assert lines[0].split() == ["ENVIRONMENT", "NAME", "SIZE", "IN", "SAVED", "MACHINES", "DIFFERENCE"]
    assert lines[1].startswith("tiny         before-import  ")
    assert lines[1].endswith("  disk  3 h ago  alpha")
    assert len(lines) == 2


def test_a_damaged_one_is_listed_as_such(cli: Cli) -> None:
    one = put(cli, f"{HEALTHY}.k1")
    (one.folder / "manifest.json").write_text("{")
    (found,) = SnapshotStore.of(cli.folder / "cache").all()
    assert for_people(branches([found]), wall_clock()).splitlines()[1].endswith("  damaged")
    (data,) = json.loads(cli("snapshot", "list", "--json").stdout)
    assert (data["automatic"], data["paused"], data["machines"]) == (True, None, [])
    assert data["problem"].startswith("its manifest is missing, damaged")


def test_a_point_of_another_state_folder_is_shown_as_such_and_cannot_be_meant(cli: Cli) -> None:
    store = SnapshotStore.of(cli.folder / "cache")
    mine = put(cli, "x")
    with store.saving("tiny", point_name("x", "0ther"), RamBacking(store.disk, "disk", "")) as saving:
        other = saving.publish(replace(mine.manifest, owner="0ther")) if mine.manifest else None
    assert other is not None
    shown = [re.split("  +", line)[:2] for line in cli("snapshot", "list").stdout.splitlines()[1:]]
    assert sorted(shown) == [["tiny", "x"], ["tiny (elsewhere)", "x"]]
    assert rows(cli("snapshot", "rm", "x").stdout) == [["removed", "tiny", "x", str(mine.folder)]]
    assert "has no snapshot 'x'" in cli("snapshot", "rm", "x").stderr
    assert other.folder.is_dir()


def test_rm_removes_what_was_named(cli: Cli) -> None:
    gone, kept = put(cli, "x"), put(cli, "y")
    assert rows(cli("snapshot", "rm", "x").stdout) == [["removed", "tiny", "x", str(gone.folder)]]
    assert [path.name for path in gone.folder.parent.iterdir()] == [kept.folder.name]


def test_prune_reads_the_files_and_removes_what_is_not_what_was_saved(cli: Cli) -> None:
    damaged, kept = put(cli, "x"), put(cli, "y")
    path = files_of(damaged.folder, "alpha").ram
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    told = ["tiny", "x", str(damaged.folder)]
    assert rows(cli("snapshot", "prune", "--dry-run").stdout) == [["would remove", *told]]
    assert damaged.folder.is_dir()
    assert rows(cli("snapshot", "prune").stdout) == [["removed", *told]]
    assert not damaged.folder.exists()
    assert kept.folder.is_dir()
    (data,) = json.loads(cli("snapshot", "prune", "--all", "--json").stdout)["removed"]
    assert data["path"] == str(kept.folder)
    assert list(kept.folder.parent.iterdir()) == []
