"""The image cache: atomic, built once, never pruned under an environment."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from orchestrator.deadline import Deadline
from orchestrator.errors import ImageError
from orchestrator.images.cache import LOCKS, ImageCache

KEY = "0123456789abcdef" * 4


def nobody_waits(holder: str, elapsed: float) -> None:
    raise AssertionError(f"waited for {holder}")


async def fill(folder: Path) -> None:
    (folder / "disk").write_bytes(b"x" * 8192)


def make(cache: ImageCache, name: str = "server", key: str = KEY, used: float | None = None) -> Path:
    path, _ = asyncio.run(cache.obtain(name, "app", key, fill, waiting=nobody_waits, deadline=Deadline.after(5)))
    if used is not None:
        os.utime(path / "last-used", (used, used))
    return path


def test_an_entry_is_built_once_and_found_again(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path)
    path = make(cache)
    assert path.name == "server-app-0123456789abcdef"

    async def never(folder: Path) -> None:
        raise AssertionError("built again")

    again = asyncio.run(cache.obtain("server", "app", KEY, never, waiting=nobody_waits, deadline=Deadline.after(5)))
    assert again == (path, True)


def test_racing_builders_make_one_and_the_loser_hears_for_whom_it_waits(tmp_path: Path) -> None:
    builds: list[Path] = []
    heard: list[str] = []
    waits = asyncio.Event()

    async def slow(folder: Path) -> None:
        builds.append(folder)
        await waits.wait()
        await fill(folder)

    def hear(who: str, _: float) -> None:
        heard.append(who)
        waits.set()

    async def one() -> tuple[Path, bool]:
        return await ImageCache(tmp_path).obtain("server", "app", KEY, slow, waiting=hear, deadline=Deadline.after(20))

    async def race() -> list[tuple[Path, bool]]:
        return await asyncio.gather(one(), one())

    results = asyncio.run(race())
    assert len(builds) == 1
    assert sorted(cached for _, cached in results) == [False, True]
    assert results[0][0] == results[1][0]
    assert heard[0].startswith(f"pid {os.getpid()} (")


def test_waiting_ends_at_the_deadline(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path)

    begun, refused = asyncio.Event(), asyncio.Event()

    async def slow(folder: Path) -> None:
        begun.set()
        await refused.wait()

    async def race() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(cache.obtain("a", "app", KEY, slow, waiting=nobody_waits, deadline=Deadline.after(20)))
            await begun.wait()
            with pytest.raises(ImageError, match="is being built by pid"):
                await cache.obtain("a", "app", KEY, slow, waiting=lambda _a, _b: None, deadline=Deadline.after(0.3))
            refused.set()

    asyncio.run(race())


def test_a_failed_build_leaves_nothing_behind(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path)

    async def broken(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise ImageError("no")

    with pytest.raises(ImageError, match="no"):
        asyncio.run(cache.obtain("a", "app", KEY, broken, waiting=nobody_waits, deadline=Deadline.after(5)))
    assert cache.list_images() == []
    assert [path.name for path in tmp_path.iterdir()] == ["locks"]


def test_a_killed_builders_rest_is_replaced(tmp_path: Path) -> None:
    rest = tmp_path / ".building-server-app-0123456789abcdef"
    rest.mkdir()
    (rest / "half").write_text("x")
    path = make(ImageCache(tmp_path))
    assert not (path / "half").exists()
    assert not rest.exists()


def test_entries_are_listed_with_size_and_the_most_recent_first(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path)
    make(cache, "old", used=1000.0)
    make(cache, "new", used=2000.0)
    (tmp_path / "foreign").mkdir()
    entries = cache.list_images()
    assert [entry.name for entry in entries] == ["new", "old"]
    assert all(entry.size >= 8192 and entry.key == KEY for entry in entries)


def test_prune_spares_the_newest_and_the_recently_used(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path)
    keys = ["a" * 64, "b" * 64, "c" * 64]
    paths = [make(cache, key=key, used=1000.0 + index) for index, key in enumerate(keys)]
    fresh = make(cache, "client")
    said = cache.prune(keep=0, older_than=3600, dry_run=True)
    assert {entry.path for entry in said.removed} == set(paths)
    assert all(path.exists() for path in paths)
    done = cache.prune(keep=1, older_than=3600)
    assert {entry.path for entry in done.removed} == set(paths[:2])
    assert done.bytes == sum(entry.size for entry in done.removed) > 0
    assert paths[2].exists()
    assert fresh.exists()
    assert not paths[0].exists()


def test_prune_removes_only_as_much_as_the_size_asks_for(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path)
    paths = [make(cache, key=digit * 64, used=float(digit)) for digit in "123"]
    sizes = sum(entry.size for entry in cache.list_images())
    cache.prune(bytes=sizes - 1)
    assert [path.exists() for path in paths] == [False, True, True]


def test_prune_never_takes_a_pinned_entry(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path / "cache")
    path = make(cache)
    state = tmp_path / "state"
    state.mkdir()
    cache.pin(path / "bin", state)
    kept = cache.prune().kept
    assert [(entry.path, reason) for entry, reason in kept] == [(path, f"in use by {state}")]
    cache.unpin(path, state)
    assert [entry.path for entry in cache.prune().removed] == [path]


def test_a_pin_of_a_vanished_environment_does_not_count(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path / "cache")
    path = make(cache)
    state = tmp_path / "state"
    state.mkdir()
    cache.pin(path, state)
    state.rmdir()
    assert [entry.path for entry in cache.prune().removed] == [path]


def test_prune_leaves_what_is_being_built(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path)
    kept = []

    async def pruning(folder: Path) -> None:
        kept.append(cache.prune())
        await fill(folder)  # fails if the folder is gone

    asyncio.run(cache.obtain("a", "app", KEY, pruning, waiting=nobody_waits, deadline=Deadline.after(5)))
    assert len(kept) == 1
    assert len(cache.list_images()) == 1


def test_a_command_line_that_is_no_text_builds_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock names its holder by its command line."""
    monkeypatch.setattr("sys.argv", ["orchestrator", "--app", os.fsdecode(b"/caf\xe9")])
    cache = ImageCache(tmp_path)

    async def build(folder: Path) -> None:
        (held,) = (tmp_path / LOCKS).iterdir()
        assert "--app /caf\\udce9" in held.read_text()

    path, cached = asyncio.run(cache.obtain("a", "app", "k", build, waiting=nobody_waits, deadline=Deadline.after(5)))
    assert path.is_dir() and not cached
