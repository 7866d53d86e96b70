"""The files of an entry of the image cache: those that machines read, and what is beside them."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.images.cache import ENTRY_FILE, PINS, USED_FILE, ImageCache

_OURS = frozenset({ENTRY_FILE, USED_FILE, PINS})
_LOGS = frozenset({"build.log"})  # they tell times, and no machine reads them


@dataclass(frozen=True, slots=True)
class EntryRecord:
    """The folder of an entry, and the words that it was obtained with."""

    folder: Path
    name: str
    layer: str
    key: str


def record_of(cache: ImageCache, path: Path) -> EntryRecord | None:
    """What the entry that holds ``path`` is; None outside of the cache."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        folder = cache.root / path.absolute().relative_to(cache.root.absolute()).parts[0]
        record = json.loads((folder / ENTRY_FILE).read_text())
        return EntryRecord(folder, str(record["name"]), str(record["layer"]), str(record["key"]))
    return None


def find_entry(cache: ImageCache, name: str, layer: str, key: str) -> Path | None:
    """The folder of an entry, which is used now; None where there is none."""
    path = cache.path_of(name, layer, key)
    if not (path / ENTRY_FILE).is_file():
        return None
    with suppress(OSError):  # a cache that may only be read
        (path / USED_FILE).touch()
    return path


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
