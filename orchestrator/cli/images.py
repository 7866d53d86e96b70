"""``orchestrator images``: build what the topology needs, list the cache, remove what nobody uses, compare two."""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from orchestrator.cli.argument_types import layers_of
from orchestrator.cli.runtime import run_command
from orchestrator.cli.tables import ago, aligned
from orchestrator.deadline import Deadline
from orchestrator.errors import HostError, UsageError
from orchestrator.events import EventBus, utc_text, wall_clock
from orchestrator.images.cache import BUILDING, LOCKS, Entry, ImageCache, Pruned
from orchestrator.images.contract import BuiltImage
from orchestrator.images.debian_base import as_root
from orchestrator.images.layers import layer_disks
from orchestrator.images.provider import ensure_images
from orchestrator.process import run as run_short
from orchestrator.text import json_text, size_text
from orchestrator.topology.load import load_topology

KEY_SHOWN = 16
CLAIM_LIMIT = 120.0  # seconds to take over one folder with the files of subordinate ids


def run(arguments: argparse.Namespace) -> int:
    if arguments.action == "diff":
        from orchestrator.cli import images_diff

        return images_diff.run(arguments)
    if arguments.words:
        raise UsageError(
            f"images {arguments.action} takes no {arguments.words[0]!r}", hint="orchestrator images --help"
        )
    if arguments.action == "build":
        return _build(arguments)
    if arguments.action == "list":
        return _list(arguments)
    return _prune(arguments)


# ------------------------------------------------------------------ build


def _build(arguments: argparse.Namespace) -> int:
    topology = load_topology(arguments.file, variant=arguments.variant, layers=layers_of(arguments))
    deadline = Deadline.after(arguments.timeout)

    async def build(bus: EventBus) -> dict[str, BuiltImage]:
        images = await ensure_images(topology, provider=arguments.images, bus=bus, deadline=deadline)
        await layer_disks(topology, images, bus, deadline)
        return images

    built = run_command(arguments, build)
    if arguments.json:
        _print_json([_built_dict(image) for image in built.values()])
    else:
        for image in built.values():
            word = "cached" if image.cached else "built"
            sys.stdout.write(f"{image.name}\t{image.provider}\t{word}\t{image.path}\n")
    return 0


def _built_dict(image: BuiltImage) -> dict[str, object]:
    return {
        "name": image.name,
        "provider": image.provider,
        "key": image.key,
        "cached": image.cached,
        "seconds": round(image.seconds, 3),
        "path": str(image.path),
    }


# ------------------------------------------------------------------ list


def _list(arguments: argparse.Namespace) -> int:
    cache = ImageCache()
    entries = cache.list_images()
    if arguments.json:
        _print_json([entry_dict(entry) for entry in entries])
        return 0
    sys.stdout.write(for_people(entries, wall_clock()))
    if not arguments.quiet:
        total = size_text(sum(entry.size for entry in entries))
        sys.stderr.write(f"{len(entries)} image{'s' if len(entries) != 1 else ''}, {total} in {cache.root}\n")
    return 0


def users(entry: Entry) -> list[str]:
    """The environments that use an image, by name."""
    return [Path(folder).name for folder in entry.pinned_by]


def entry_dict(entry: Entry) -> dict[str, object]:
    """JSON-ready data of an image; ``size`` in bytes, times as UTC text."""
    return {
        "name": entry.name,
        "layer": entry.layer,
        "key": entry.key,
        "size": entry.size,
        "created": utc_text(entry.created),
        "used": utc_text(entry.used),
        "environments": users(entry),
        "path": str(entry.path),
    }


def for_people(entries: Sequence[Entry], now: float) -> str:
    """The table, also for a pipe (programs use --json); empty without entries."""
    if not entries:
        return ""
    rows = [
        (
            entry.name,
            entry.layer,
            entry.key[:KEY_SHOWN],
            size_text(entry.size),
            ago(now - entry.used),
            ", ".join(users(entry)) or "-",
        )
        for entry in entries
    ]
    return aligned([("NAME", "LAYER", "KEY", "SIZE", "LAST USED", "IN USE BY"), *rows], right=(3,))


# ------------------------------------------------------------------ prune


def _prune(arguments: argparse.Namespace) -> int:
    cache = ImageCache()
    pruned = prune(cache, keep=arguments.keep, older_than=arguments.older_than, dry_run=arguments.dry_run)
    if arguments.json:
        _print_json(
            {
                "dry_run": arguments.dry_run,
                "bytes": pruned.bytes,
                "removed": [entry_dict(entry) for entry in pruned.removed],
                "kept": [{**entry_dict(entry), "reason": reason} for entry, reason in pruned.kept],
            }
        )
        return 0
    for entry in pruned.removed:
        word = "would remove" if arguments.dry_run else "removed"
        sys.stdout.write(f"{word}\t{entry.name}\t{entry.layer}\t{entry.key[:KEY_SHOWN]}\t{size_text(entry.size)}\n")
    if not arguments.quiet:
        for entry, reason in pruned.kept:
            if arguments.verbose or not reason.startswith("one of the newest"):
                sys.stderr.write(f"kept {entry.name} {entry.layer} {entry.key[:KEY_SHOWN]}: {reason}\n")
        verb = "would be freed" if arguments.dry_run else "freed"
        count = len(pruned.removed)
        sys.stderr.write(
            f"{count} image{'s' if count != 1 else ''}, {size_text(pruned.bytes)} ({pruned.bytes} bytes) {verb}\n"
        )
    return 0


def prune(cache: ImageCache, *, keep: int, older_than: float | None, dry_run: bool) -> Pruned:
    """`ImageCache.prune`, including folders that a killed rootless build left.

    Such a folder contains files of subordinate ids, which we can neither enter nor
    remove. Inside our user namespace we may; there they are given to us, and the
    cache removes them under its own lock.

    Raises:
        HostError: a folder could not be removed.
    """
    before = cache.list_images()
    claimed: set[Path] = set()
    while True:
        try:
            last = cache.prune(keep=keep, older_than=older_than, dry_run=dry_run)
            break
        except OSError as error:
            newly = _claim_leftovers(cache.root, claimed) if isinstance(error, PermissionError) else set()
            if not newly:
                raise _cannot_remove(cache.root, error) from error
            claimed |= newly
    # An interrupted pass has removed images as well.
    known = {entry.path for entry in last.removed}
    gone = [entry for entry in before if claimed and entry.path not in known and not entry.path.exists()]
    return Pruned((*last.removed, *gone), last.kept)


def _claim_leftovers(root: Path, known: set[Path]) -> set[Path]:
    """Take ownership of unfinished folders that nobody builds; returns them, without the known ones.

    The error does not name the folder: shutil.rmtree works with names relative to open folders.
    """
    claimed = set()
    for folder in sorted(set(root.glob(f"{BUILDING}*")) - known):
        lock = root / LOCKS / f"{folder.name.removeprefix(BUILDING)}.lock"
        with lock.open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue  # somebody is building in it
            asyncio.run(_claim(folder))
            claimed.add(folder)
    return claimed


async def _claim(folder: Path) -> None:
    """Take ownership of everything below a folder."""
    rootless = os.geteuid() != 0
    deadline = Deadline.after(CLAIM_LIMIT)
    # 0 inside the namespace is our own id outside.
    for argv in (["chown", "-R", "-h", "0:0", str(folder)], ["chmod", "-R", "u+rwX", str(folder)]):
        await run_short(as_root(argv, rootless=rootless), deadline=deadline, hint=f"sudo rm -rf {folder}")


def _cannot_remove(root: Path, error: OSError) -> HostError:
    return HostError(
        "an image cannot be removed",
        why=str(error),
        where=[str(root)],
        hint="remove the folder as its owner; everything else in the cache is still good",
    )


def _print_json(data: object) -> None:
    sys.stdout.write(json_text(data, indent=2) + "\n")
