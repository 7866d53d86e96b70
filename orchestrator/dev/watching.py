"""Watches folders and the topology file, by what the kernel tells; also through a folder that a build makes again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Protocol

from watchfiles import DefaultFilter, awatch

from orchestrator.dev import changes
from orchestrator.dev.inbox import Inbox
from orchestrator.errors import HostError
from orchestrator.tasks import run_all, run_with_watchdogs

LOOK = 1000  # milliseconds between looks whether a folder is another one
STEP = 20  # milliseconds; `Inbox` joins bursts
_IDENTITY = tuple[int, int] | None


class Sources(Protocol):
    """What is to be watched; another after a change of the topology."""

    @property
    def sources(self) -> changes.Sources:
        """Where changes are looked for."""

    @property
    def moved(self) -> asyncio.Event:
        """Set when they are others."""


class _Moved(Exception):
    pass


async def watch_sources(of: Sources, inbox: Inbox) -> None:
    """Put changes into the inbox, until cancelled.

    Raises:
        HostError: the host cannot watch so many folders.
    """

    async def moved() -> None:
        await of.moved.wait()
        raise _Moved

    while True:
        of.moved.clear()
        try:
            await run_with_watchdogs(_into(inbox, of.sources), [moved])
        except _Moved:
            continue
        except OSError as error:
            raise HostError(
                "files cannot be watched",
                why=str(error),
                hint="raise fs.inotify.max_user_watches, or set WATCHFILES_FORCE_POLLING=true",
            ) from error


async def _into(inbox: Inbox, sources: changes.Sources) -> None:
    """Only what is a change may end tests that run."""

    def told(paths: set[Path]) -> None:
        inbox.put_paths(path for path in paths if changes.classify([path], sources))

    await watch(sources.folders, sources.topology, told)


async def watch(folders: tuple[Path, ...], file: Path, told: Callable[[set[Path]], object]) -> None:
    """Tell of changed files, until cancelled.

    What editors and version control write for themselves is left out, as `watchfiles.DefaultFilter` has it.

    Args:
        folders: watched with all that is in them.
        file: one file; editors replace it, so its folder is watched.
    """

    async def all_folders() -> None:
        async for paths in _changes(folders, recursive=True):
            told(paths)

    async def one_file() -> None:
        async for paths in _changes((file.parent,), recursive=False):
            if file in paths:
                told({file})

    await run_all(all_folders(), one_file())


async def _changes(folders: tuple[Path, ...], *, recursive: bool) -> AsyncIterator[set[Path]]:
    """Changed files in these folders; a folder that is removed and made again is a change of itself."""
    known = {folder: _identity(folder) for folder in folders}
    while True:
        there = [folder for folder in folders if known[folder] is not None]
        watcher = awatch(
            *(there or [Path("/")]),
            watch_filter=DefaultFilter() if there else lambda *_: False,
            step=STEP,
            rust_timeout=LOOK,
            yield_on_timeout=True,
            recursive=recursive and bool(there),
            ignore_permission_denied=True,
        )
        async for found in watcher:
            if found:
                yield {Path(path) for _, path in found}
            now = {folder: _identity(folder) for folder in folders}
            if now != known:
                changed = {folder for folder in folders if now[folder] != known[folder]}
                known = now
                yield changed
                break
        await watcher.aclose()


def _identity(folder: Path) -> _IDENTITY:
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
