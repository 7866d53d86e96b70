"""Whether files are as they were, without reading them: by what the file system says of them, since the host booted.

A file that was changed, replaced, or whose times were set back has another time of its last change (ctime), which
nobody can choose. Numbers of devices may be others after a reboot, so no stamp is good for longer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from orchestrator.atomic import write_atomically
from orchestrator.events.clock import wall_clock
from orchestrator.procfs import boot_id

RACE = 2.0  # seconds within which a second change of a file could have the same time on some file system


def stamps_of(paths: Iterable[Path], before: float | None = None) -> dict[str, list[int]] | None:
    """The stamps of files and folders; None where one is gone, or may have changed since.

    Args:
        before: seconds since the epoch, when they were first read; None: now.
    """
    found = {}
    newest = ((wall_clock() if before is None else before) - RACE) * 1e9
    for path in paths:
        try:
            facts = path.stat()
        except OSError:
            return None
        if facts.st_ctime_ns > newest:
            return None
        found[str(path)] = [
            facts.st_dev,
            facts.st_ino,
            facts.st_size,
            facts.st_mode,
            facts.st_mtime_ns,
            facts.st_ctime_ns,
        ]
    return found


def remember(record: Path, what: str, value: str, paths: Iterable[Path], *, begun: float) -> None:
    """Note a value that follows from the content of files; nothing is noted where that could not be told later.

    Args:
        record: the file for the note.
        what: all else that the value depends on.
        begun: seconds since the epoch, when the first of the files was read.
    """
    stamps = stamps_of(paths, begun)
    if stamps is not None:
        data = {"boot": boot_id(), "what": what, "value": value, "files": stamps}
        with suppress(OSError):  # a full disk: then it is found out again
            record.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(record, json.dumps(data))


def remembered(record: Path, what: str) -> str | None:
    """The value of `remember`, while all its files are as they were."""
    try:
        data = json.loads(record.read_bytes())
        files: Mapping[str, list[int]] = data["files"]
        same = data["boot"] == boot_id() and data["what"] == what and stamps_of(map(Path, files)) == files
        return str(data["value"]) if same else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
