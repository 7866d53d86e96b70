"""The files of an entry of the image cache: those that machines read, and what is beside them."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.images.cache import ENTRY_FILE, PINS, USED_FILE

_OURS = frozenset({ENTRY_FILE, USED_FILE, PINS})
_LOGS = frozenset({"build.log"})  # they tell times, and no machine reads them


def entry_files(entry: Path) -> dict[str, Path]:
    """Every file of an entry, by its path in it, without what the cache keeps there for itself.

    An entry that links to elsewhere has none: its key says what is there (the path of the store of Nix).
    """
    found: dict[str, Path] = {}
    for folder, folders, files in os.walk(entry):
        folders.sort()
        for name in (*folders, *sorted(files)):
            path = Path(folder) / name
            relative = path.relative_to(entry)
            if relative.parts[0] in _OURS:
                continue
            if path.is_symlink():
                return {}
            if path.is_file():
                found[str(relative)] = path
    return found


def read_by_machines(files: dict[str, Path]) -> dict[str, Path]:
    """Those of `entry_files` that a machine may read. Pure."""
    return {name: path for name, path in files.items() if name not in _LOGS}
