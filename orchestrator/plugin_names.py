"""The names of what there are kinds of, without importing any of it: ``--help`` shows them, and is immediate."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_ROOT = Path(__file__).parent


@cache
def module_names(package: str) -> tuple[str, ...]:
    """The modules of a folder of this package, dotted; ``_`` in the name of a module is ``-`` in that of a kind."""
    folder = _ROOT.joinpath(*package.split(".")[1:])
    return tuple(sorted(file.stem.replace("_", "-") for file in folder.glob("*.py") if not file.name.startswith("_")))


def extension_names(group: str) -> tuple[str, ...]:
    """The names that installed packages add under a group of entry points."""
    return tuple(sorted(point.name for point in installed_entry_points().get(group, ())))


@cache
def installed_entry_points() -> Mapping[str, tuple[EntryPoint, ...]]:
    """Our groups of the entry points of all installed packages. Reading them takes longer than a whole ``--help``."""
    from importlib.metadata import entry_points

    everything = entry_points()
    return {group: tuple(everything.select(group=group)) for group in everything.groups if group.startswith("orch")}
