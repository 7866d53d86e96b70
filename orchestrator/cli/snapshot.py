"""``orchestrator snapshot``: named states of a running environment: save, restore, list, rm, prune."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence

from orchestrator.cli.reset import reset_to
from orchestrator.cli.runtime import chosen_name, limit_of, living_state, run_command
from orchestrator.cli.tables import ago, aligned
from orchestrator.deadline import Deadline
from orchestrator.environment.decision import changed_text
from orchestrator.environment.lock import command_text, hold
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.reset import state_to_change
from orchestrator.environment.saving import default_store, save
from orchestrator.environment.session import Session
from orchestrator.environment.state import StateFile
from orchestrator.environment.warm import in_use
from orchestrator.errors import SnapshotDamaged, UsageError
from orchestrator.events import EventBus, utc_text, wall_clock
from orchestrator.snapshots.restore import verify
from orchestrator.snapshots.store import ISOLATE, Snapshot, check_name, point_name
from orchestrator.snapshots.tree import Branch, branches
from orchestrator.text import size_text


def run(arguments: argparse.Namespace) -> int:
    name = _name(arguments)
    match arguments.action:
        case "save":
            return _save(arguments, name)
        case "restore":
            return reset_to(arguments, name)
        case "list":
            return _list(arguments)
        case "rm":
            return _remove(arguments, name)
        case "export" | "import":
            from orchestrator.cli import snapshot_pack  # only these two need a library that unpacks

            return snapshot_pack.run(arguments)
        case _:
            return _prune(arguments)


def _name(arguments: argparse.Namespace) -> str:
    """The name that is given, empty where none has to be; export and import read their words themselves.

    Raises:
        UsageError: words or options do not fit the action.
    """
    action, words = arguments.action, arguments.words
    needs_name = action in ("save", "restore", "rm")
    if needs_name and not words:
        what = f"snapshot {action}"
        raise UsageError(f"{what} needs a name", hint=f"orchestrator {what} NAME")
    if action != "prune" and (arguments.all or arguments.dry_run):
        raise UsageError(f"snapshot {action} takes neither --all nor --dry-run", why="they are for prune")
    if action != "export" and arguments.with_images:
        raise UsageError(f"snapshot {action} takes no --with-images", why="it is for export")
    if action in ("export", "import"):
        return ""
    if len(words) > needs_name:
        raise UsageError(
            f"snapshot {action} takes {'one' if needs_name else 'no'} name", why=f"{words[-1]!r} was given too"
        )
    return str(words[0]) if needs_name else ""


def _save(arguments: argparse.Namespace, name: str) -> int:
    check_name(name)
    paths, _ = living_state(arguments)
    deadline = limit_of(arguments.wait_timeout)
    stored = run_command(arguments, lambda bus: _save_named(paths, name, bus, deadline))
    if arguments.json:
        sys.stdout.write(json.dumps(as_dict(stored)) + "\n")
    return 0


async def _save_named(paths: EnvironmentPaths, name: str, bus: EventBus, deadline: Deadline) -> Snapshot:
    with hold(paths.lock, paths.name, command_text()):
        session = Session(paths, StateFile(paths.state, state_to_change(paths)), bus)
        try:
            async with deadline.enforce():
                # Only QEMU is asked: a guest that hangs or has panicked can be saved too.
                await session.reattach(deadline, tuple(session.machines))
                await session.faults.end_all()
                return await save(session, name, point_name(name, paths.identity), deadline)
        finally:
            await session.close()


# ------------------------------------------------------------------ list


def _list(arguments: argparse.Namespace) -> int:
    found = branches(default_store().all())
    if arguments.json:
        sys.stdout.write(json.dumps([as_tree_dict(one) for one in found], indent=2) + "\n")
    else:
        sys.stdout.write(for_people(found, wall_clock()))
    return 0


def as_tree_dict(branch: Branch) -> dict[str, object]:
    """JSON-ready data of a state in the tree; ``parent`` is a path, ``adds`` and ``changed`` name inputs of its key."""
    return {
        **as_dict(branch.snapshot),
        "parent": None if branch.parent is None else str(branch.parent.folder),
        "adds": list(branch.adds),
        "changed": list(branch.changed),
    }


def as_dict(one: Snapshot) -> dict[str, object]:
    """JSON-ready data of a snapshot; ``size`` in bytes, ``paused`` in seconds, times as UTC text."""
    return {
        "environment": one.environment,
        "name": one.name,
        "owner": one.owner,
        "automatic": one.automatic,
        "size": one.size,
        "place": one.kind,
        "created": utc_text(one.created) if one.created else None,
        "paused": one.manifest.paused if one.manifest else None,
        "machines": list(one.manifest.machines) if one.manifest else [],
        "problem": one.problem,
        "path": str(one.folder),
    }


def for_people(found: Sequence[Branch], now: float) -> str:
    """The tree, also for a pipe (programs use --json); empty without snapshots."""
    if not found:
        return ""
    rows = [
        (
            _whose(branch.snapshot),
            f"{'  ' * branch.depth}{branch.snapshot.name}",
            size_text(branch.snapshot.size),
            "memory" if branch.snapshot.kind == "tmpfs" else "disk",
            ago(now - branch.snapshot.created) if branch.snapshot.created else "-",
            ", ".join(branch.snapshot.manifest.machines) if branch.snapshot.manifest else "damaged",
            _difference(branch),
        )
        for branch in found
    ]
    return aligned([("ENVIRONMENT", "NAME", "SIZE", "IN", "SAVED", "MACHINES", "DIFFERENCE"), *rows], right=(2,))


def _difference(branch: Branch) -> str:
    if branch.changed:
        return f"other {changed_text(branch.changed)}"
    return f"with {changed_text(branch.adds)}" if branch.adds else ""


def _whose(one: Snapshot) -> str:
    """Its environment; that of another state folder is none that this command could mean."""
    here = one.owner in ("", EnvironmentPaths.of(one.environment).identity)
    return one.environment if here else f"{one.environment} (elsewhere)"


# ------------------------------------------------------------------ removing


def _remove(arguments: argparse.Namespace, name: str) -> int:
    store = default_store()
    environment = chosen_name(arguments)
    one = store.get(environment, name, EnvironmentPaths.of(environment).identity)
    store.remove(one)
    _print_removed([one], arguments, "removed")
    return 0


def _prune(arguments: argparse.Namespace) -> int:
    """Damaged ones and automatic ones beyond the limits; with ``--all`` every one that no running environment needs."""
    store = default_store()
    store.remove_leftovers()
    needed = in_use()
    stored = store.all()
    free = [one for one in stored if one.folder not in needed and (one.ownerless or one.name != ISOLATE)]
    gone = free if arguments.all else store.prunable([*needed], stored=stored)
    known = {one.folder for one in gone}
    gone += [one for one in stored if one.folder not in known and asyncio.run(_damaged(one))]
    if not arguments.dry_run:
        for one in gone:
            store.remove(one)
    _print_removed(gone, arguments, "would remove" if arguments.dry_run else "removed")
    return 0


async def _damaged(one: Snapshot) -> bool:
    """Whether its files differ from what was saved; all of them are read."""
    try:
        if one.manifest is not None:
            await verify(one.folder, one.manifest, read_all=True)
    except SnapshotDamaged:
        return True
    return False


def _print_removed(gone: Sequence[Snapshot], arguments: argparse.Namespace, word: str) -> None:
    if arguments.json:
        sys.stdout.write(json.dumps({"dry_run": arguments.dry_run, "removed": [as_dict(one) for one in gone]}) + "\n")
        return
    for one in gone:
        sys.stdout.write(f"{word}\t{one.environment}\t{one.name}\t{one.folder}\n")
