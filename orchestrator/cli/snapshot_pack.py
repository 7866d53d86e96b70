"""``orchestrator snapshot export`` and ``import``: saved states in one file, for another host or a cache of CI."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from orchestrator.cli.runtime import chosen_name, limit_of, run_command
from orchestrator.deadline import Deadline
from orchestrator.environment.exporting import Exported, export, states_to_export
from orchestrator.environment.importing import Imported, import_file
from orchestrator.errors import SnapshotError, UsageError
from orchestrator.events import EventBus
from orchestrator.text import json_text, size_text

T = TypeVar("T")


def run(arguments: argparse.Namespace) -> int:
    return _export(arguments) if arguments.action == "export" else _import(arguments)


def _export(arguments: argparse.Namespace) -> int:
    name, file = _words(arguments)
    if not file.parent.is_dir():
        raise UsageError(f"{file} cannot be written", why=f"there is no folder {file.parent}")
    states = states_to_export(chosen_name(arguments), name)
    images: bool = arguments.with_images
    done = _do(
        arguments,
        f"{file} cannot be written",
        lambda bus, limit: export(states, file, with_images=images, bus=bus, deadline=limit),
    )
    if arguments.json:
        sys.stdout.write(json_text(exported_dict(done), indent=2) + "\n")
    else:
        sys.stdout.write(exported_text(done))
    return 0


def exported_dict(done: Exported) -> dict[str, object]:
    """JSON-ready data; ``size`` and ``data`` in bytes."""
    folders = [{"folder": name, "included": included} for name, included in done.folders.items()]
    return {
        "file": str(done.file),
        "size": done.size,
        "data": done.data,
        "states": list(done.states),
        "folders": folders,
    }


def exported_text(done: Exported) -> str:
    """What was written, for people; the images that the other host must have."""
    lines = [f"{done.file}: {', '.join(done.states)}, {size_text(done.size)} ({size_text(done.data)} unpacked)"]
    outside = [name for name, included in done.folders.items() if not included]
    if outside:
        lines.append(f"it needs these images where it is imported: {', '.join(outside)} (--with-images includes them)")
    return "".join(f"{line}\n" for line in lines)


def _import(arguments: argparse.Namespace) -> int:
    from orchestrator.cli.snapshot import as_dict

    _, file = _words(arguments)
    environment = arguments.name or None
    if environment is None and arguments.file.exists():
        environment = chosen_name(arguments)
    done = _do(arguments, f"{file} cannot be imported", lambda bus, limit: import_file(file, environment, bus, limit))
    if arguments.json:
        data = {"states": [as_dict(one) for one in done.states], "known": done.known, "folders": done.folders}
        sys.stdout.write(json_text(data, indent=2) + "\n")
    else:
        sys.stdout.write(imported_text(done))
    return 0


def imported_text(done: Imported) -> str:
    """The states that can be used now, one a line."""
    return "".join(f"{one.environment}\t{one.name}\t{one.folder}\n" for one in done.states)


def _words(arguments: argparse.Namespace) -> tuple[str | None, Path]:
    """The name of a state, if one was given, and the file."""
    what = f"snapshot {arguments.action}"
    match arguments.words:
        case [file]:
            return None, Path(file)
        case [name, file] if arguments.action == "export":
            return name, Path(file)
    raise UsageError(
        f"{what} takes one FILE" if arguments.words else f"{what} needs a file", hint=f"orchestrator {what} FILE"
    )


def _do(arguments: argparse.Namespace, failed: str, work: Callable[[EventBus, Deadline], Awaitable[T]]) -> T:
    deadline = limit_of(arguments.wait_timeout)

    async def limited(bus: EventBus) -> T:
        async with deadline.enforce():
            return await work(bus, deadline)

    try:
        return run_command(arguments, limited)
    except OSError as error:
        raise SnapshotError(failed, why=str(error)) from error
