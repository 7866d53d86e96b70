"""images list and prune over a real cache folder, build as far as it goes without tools."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import Cli

from orchestrator.cli.images import for_people, prune
from orchestrator.cli.tables import ago, aligned
from orchestrator.deadline import Deadline
from orchestrator.events import wall_clock
from orchestrator.images.cache import ImageCache
from orchestrator.text import size_text


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def add(cli: Cli, digit: str, *, age: float = 0, layer: str = "app", name: str = "base") -> Path:
    """An image of 8 KiB, last used ``age`` seconds ago."""

    async def fill(folder: Path) -> None:
        (folder / "disk").write_bytes(b"x" * 8192)

    cache = ImageCache(cli.folder / "cache" / "images")
    path, _ = asyncio.run(
        cache.obtain(name, layer, digit * 64, fill, waiting=lambda _a, _b: None, deadline=Deadline.after(5))
    )
    used = wall_clock() - age
    os.utime(path / "last-used", (used, used))
    return path


def test_list_on_a_pipe_and_as_json(cli: Cli) -> None:
    assert (cli("images", "list").stdout, cli("images", "list", "--json").stdout) == ("", "[]\n")
    old, new = add(cli, "a", age=7200), add(cli, "b")
    environment = cli.record(alive=True).folder
    ImageCache(cli.folder / "cache" / "images").pin(new, environment)
    done = cli("images", "list")
    heading, *lines = done.stdout.splitlines()
    assert heading.split() == ["NAME", "LAYER", "KEY", "SIZE", "LAST", "USED", "IN", "USE", "BY"]
    rows = [re.split("  +", line) for line in lines]
    assert [row[:3] + row[5:] for row in rows] == [["base", "app", "b" * 16, "tiny"], ["base", "app", "a" * 16, "-"]]
    assert all(re.fullmatch(r"\d+(\.\d)? KiB", row[3]) for row in rows), "sizes for people"
    assert done.stderr.startswith("2 images, ") and not old.samefile(new)
    data = json.loads(cli("images", "list", "--json").stdout)
    assert [(each["key"], each["environments"]) for each in data] == [("b" * 64, ["tiny"]), ("a" * 64, [])]


def test_list_on_a_terminal(cli: Cli) -> None:
    add(cli, "a", age=3 * 3600)
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "orchestrator", "images", "list"],
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
    assert lines[0].split() == ["NAME", "LAYER", "KEY", "SIZE", "LAST", "USED", "IN", "USE", "BY"]
    assert lines[1].startswith(f"base  app    {'a' * 16}")
    assert "3 h ago" in lines[1]


def test_prune_says_what_went_and_spares_what_is_used(cli: Cli) -> None:
    oldest, old, new = add(cli, "a", age=300), add(cli, "b", age=200), add(cli, "c", age=100)
    ImageCache(cli.folder / "cache" / "images").pin(oldest, cli.record(alive=True).folder)
    os.utime(oldest / "last-used", (0, 0))  # pinning is a use
    trial = cli("images", "prune", "--keep", "1", "--dry-run")
    assert trial.stdout.split("\t")[:4] == ["would remove", "base", "app", "b" * 16]
    assert "in use by" in trial.stderr
    assert "would be freed" in trial.stderr
    assert old.is_dir()
    done = cli("images", "prune", "--keep", "1", "--json")
    data = json.loads(done.stdout)
    assert [each["key"] for each in data["removed"]] == ["b" * 64]
    assert data["bytes"] == data["removed"][0]["size"] >= 8192
    assert {each["key"]: each["reason"] for each in data["kept"]}["c" * 64] == "one of the newest 1"
    assert (oldest.is_dir(), old.is_dir(), new.is_dir()) == (True, False, True)


def test_prune_by_age(cli: Cli) -> None:
    add(cli, "a", age=10 * 86400)
    add(cli, "b", age=60)
    done = cli("images", "prune", "--keep", "0", "--older-than", "7d")
    assert [line.split("\t")[3] for line in done.stdout.splitlines()] == ["a" * 16]
    assert "kept base app bbbbbbbbbbbbbbbb: used recently" in done.stderr


def test_prune_claims_what_it_may_not_remove(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder in the way is given to us once, and what went before it is not forgotten."""
    first, second = add(cli, "a", age=200), add(cli, "b", age=100)
    cache = ImageCache(cli.folder / "cache" / "images")
    leftover = cache.root / ".building-base-base-0123"
    real, calls = cache.prune, 0

    def refusing(**options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            real(keep=1)
            (leftover / "tree" / "etc").mkdir(parents=True)
            (leftover / "tree").chmod(0o000)
            raise PermissionError(13, "Permission denied", "etc")  # as rmtree names it
        return real(**options)  # type: ignore[arg-type]

    monkeypatch.setattr(cache, "prune", refusing)
    commands: list[list[str]] = []

    async def recorded(argv: list[str], **_: object) -> None:
        commands.append(argv)
        (leftover / "tree").chmod(0o700)

    monkeypatch.setattr("orchestrator.cli.images.run_short", recorded)
    monkeypatch.setattr("orchestrator.cli.images.os.geteuid", lambda: 1000)
    gone = prune(cache, keep=1, older_than=None, dry_run=False)
    assert [entry.key[0] for entry in gone.removed] == ["a"]
    assert (first.exists(), second.exists(), leftover.exists()) == (False, True, False)
    assert [argv[:3] for argv in commands] == [["unshare", "--map-auto", "--map-root-user"]] * 2
    assert all(argv[-1] == str(leftover) for argv in commands)


def test_a_folder_that_stays_is_explained(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.errors import HostError

    cache = ImageCache(cli.folder / "cache" / "images")

    def refuse(**_: object) -> None:
        raise PermissionError(1, "Operation not permitted", "/elsewhere/file")

    monkeypatch.setattr(cache, "prune", refuse)
    with pytest.raises(HostError, match="an image cannot be removed"):
        prune(cache, keep=0, older_than=None, dry_run=False)


def test_build_without_its_tools_is_explained(cli: Cli) -> None:
    done = cli("images", "build", "--images", "nixos", "--progress", "plain")
    assert (done.returncode, done.stdout) == (3, "")
    assert "no nixos source for image base" in done.stderr
    lacking = cli("images", "build", "--images", "debian", PATH=f"{Path(sys.executable).parent}")
    assert lacking.returncode == 3
    assert "this host cannot build Debian images yet" in lacking.stderr or "is not installed" in lacking.stderr


def test_build_past_its_limit_is_a_time_limit(cli: Cli, tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    slow = tools / "mmdebstrap"
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(0o755)
    done = cli("images", "build", "--images", "debian", "--timeout", "1", PATH=f"{tools}:{os.environ['PATH']}")
    if "cannot build Debian images yet" in done.stderr:
        pytest.skip("this host lacks the tools")
    assert done.returncode == 124
    assert "error: image base was not built within 1 s" in done.stderr
    assert list((cli.folder / "cache" / "images").glob("base-*")) == []


def test_words_of_tables() -> None:
    assert [size_text(n) for n in (0, 1023, 1024, 1536, 200 << 20, 3 << 40)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 KiB",
        "200 MiB",
        "3.0 TiB",
    ]
    assert [ago(n) for n in (5, 60, 7199, 7200, 100_000, 172_800)] == [
        "now",
        "1 min ago",
        "119 min ago",
        "2 h ago",
        "27 h ago",
        "2 d ago",
    ]
    assert aligned([("A", "B"), ("long", "1")], right=(1,)) == "A     B\nlong  1\n"
    assert for_people([], 0.0) == ""
