"""Registries: what there are kinds of, ours and those that other installed packages add.

A registry has the modules of one folder of this package, each of which declares its class as ``KIND``; what the
folder holds is the list. Another package adds a class by an entry point of the registry's group:

    [project.entry-points."orchestrator.checks"]
    port-range = "our_package.checks:PortRange"

The packages of a host are looked through once, and only when something is wanted that is not ours: that takes longer
than a whole ``--help``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Generic, TypeVar

from orchestrator.errors import HostError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")
_ROOT = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Extension:
    """What another package adds.

    Attributes:
        name: the entry point's.
        package: the distribution and its version, for people.
        value: what the entry point names.
    """

    name: str
    package: str
    value: object

    def refused(self, why: str) -> HostError:
        """The error that says why it cannot be used."""
        return HostError(
            f"{self.package} cannot add {self.name} to this program",
            why=why,
            hint=f"uninstall {self.package.split()[0]}, or install a version of it that fits",
        )


@cache
def _entry_points() -> Mapping[str, tuple[EntryPoint, ...]]:
    from importlib.metadata import entry_points  # milliseconds, and only needed here

    everything = entry_points()
    return {group: tuple(everything.select(group=group)) for group in everything.groups if group.startswith("orch")}


@cache
def extensions(group: str) -> tuple[Extension, ...]:
    """What installed packages add under a group, in the order of its names.

    Raises:
        HostError: one of them cannot be imported; it names the package.
    """
    return tuple(sorted((_load(point) for point in _entry_points().get(group, ())), key=lambda found: found.name))


def _load(point: EntryPoint) -> Extension:
    package = f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed package"
    try:
        return Extension(point.name, package, point.load())
    except Exception as error:
        raise Extension(point.name, package, None).refused(f"{point.value}: {type(error).__name__}: {error}") from error


def look_again() -> None:
    """Forget what is installed: packages came or went while the program runs."""
    _entry_points.cache_clear()
    extensions.cache_clear()


class Registry(Generic[T]):
    """All classes of one sort, by name.

    Args:
        group: of the entry points.
        package: the folder of our own modules, dotted; it is imported by name, when it is asked for.
    """

    def __init__(self, group: str, package: str) -> None:
        self.group = group
        self._package = package
        self._ours: dict[str, type[T]] = {}

    def own_names(self) -> tuple[str, ...]:
        """The names of our own; nothing is imported."""
        folder = _ROOT.joinpath(*self._package.split(".")[1:])
        return tuple(sorted(module.name for module in iter_modules([str(folder)]) if not module.name.startswith("_")))

    def own(self) -> Mapping[str, type[T]]:
        """Our own classes."""
        return {name: self._import(name) for name in self.own_names()}

    def find(self, name: str) -> type[T] | None:
        """The class of a name, or None.

        Raises:
            HostError: a package adds something that cannot be used.
        """
        if name in self.own_names():
            return self._import(name)
        return self.every().get(name)

    def every(self) -> Mapping[str, type[T]]:
        """All classes: ours, then those of other packages.

        Raises:
            HostError: a package adds something that cannot be used.
        """
        return {**self.own(), **dict(self._added())}

    def _added(self) -> Iterator[tuple[str, type[T]]]:
        seen: dict[str, str] = dict.fromkeys(self.own_names(), "this program")
        for extension in extensions(self.group):
            if owner := seen.get(extension.name):
                raise extension.refused(f"{owner} has one of this name")
            if not isinstance(extension.value, type):
                raise extension.refused(f"{extension.value!r} is no class")
            seen[extension.name] = extension.package
            yield extension.name, extension.value

    def _import(self, name: str) -> type[T]:
        if name not in self._ours:
            self._ours[name] = import_module(f"{self._package}.{name}").KIND
        return self._ours[name]
