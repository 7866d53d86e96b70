"""Writing a new project: all of its files, or none when one would be overwritten."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.atomic import write_atomically
from orchestrator.errors import REFUSALS, HostError, UsageError
from orchestrator.scaffold.templates import NewFile


@dataclass(frozen=True, slots=True)
class Written:
    """What was written.

    Attributes:
        created, replaced, unchanged: paths below the project's folder.
    """

    created: tuple[Path, ...]
    replaced: tuple[Path, ...]
    unchanged: tuple[Path, ...]


def write_project(folder: Path, files: Sequence[NewFile], *, force: bool) -> Written:
    """Write the files of a new project.

    Args:
        folder: made with its parents where it is missing.
        force: whether files with another content are replaced.

    Raises:
        UsageError: something is in the way. All of it is named, and nothing was written.
        HostError: the host refused to write.
    """
    blocked = [*_blocked(folder, files)]
    if blocked:
        raise UsageError(
            f"{folder} cannot take the new project",
            evidence=blocked,
            where=[str(folder)],
            hint="name another folder; nothing was written",
        )
    there = {file.path: _text(folder / file.path) for file in files if os.path.lexists(folder / file.path)}
    other = [file.path for file in files if file.path in there and there[file.path] != file.text]
    if other and not force:
        raise UsageError(
            "files of these names are there already, with another content",
            evidence=[str(folder / path) for path in other],
            where=[str(folder)],
            hint="name another folder, or --force to overwrite them; nothing was written",
        )
    try:
        for file in files:
            if file.path not in there or file.path in other:
                (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(folder / file.path, file.text, mode=file.mode)
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        raise HostError(
            f"{folder} cannot be written", why=str(error), where=[str(folder)], hint="name another folder"
        ) from error
    created = tuple(file.path for file in files if file.path not in there)
    unchanged = tuple(path for path in there if path not in other)
    return Written(created, tuple(other), unchanged)


def _blocked(folder: Path, files: Sequence[NewFile]) -> list[str]:
    """What no ``force`` overwrites: a folder where a file goes, a file where a folder goes."""
    found = []
    for file in files:
        target = folder / file.path
        if target.is_dir():
            found.append(f"{target}: is a folder, a file would go there")
        above = next((path for path in target.parents if os.path.lexists(path)), None)
        if above is not None and not above.is_dir():
            found.append(f"{above}: is not a folder, {file.path} would go below it")
    return list(dict.fromkeys(found))


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
