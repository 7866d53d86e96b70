"""Registries: what there are kinds of, ours and those that other installed packages add.

A registry has the modules of one folder of this package, each of which declares its class as ``KIND``; what the
folder holds is the list. Another package adds a class by an entry point of the registry's group:

    [project.entry-points."orchestrator.checks"]
    port-range = "our_package.checks:PortRange"

The packages of a host are looked through once, and only when something is wanted that is not ours: that takes longer
than a whole ``--help``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from orchestrator.errors import HostError
from orchestrator.plugin_names import installed_entry_points, module_names

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class Plugin(Protocol):
    """What a registry holds: a class that judges whether it fits to the others."""

    @classmethod
    def unfit(cls, name: str, others: Mapping[str, type[Any]]) -> str:
        """Why it cannot be added under this name; empty if it can."""
        ...


T = TypeVar("T", bound=Plugin, covariant=True)


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
def extensions(group: str) -> tuple[Extension, ...]:
    """What installed packages add under a group, in the order of its names.

    Raises:
        HostError: one of them cannot be imported; it names the package.
    """
    return tuple(
        sorted((_load(point) for point in installed_entry_points().get(group, ())), key=lambda found: found.name)
    )


def _load(point: EntryPoint) -> Extension:
    package = f"{point.dist.name} {point.dist.version}" if point.dist else "an unnamed package"
    try:
        return Extension(point.name, package, point.load())
    except Exception as error:  # whatever a foreign module does when it is imported
        raise Extension(point.name, package, None).refused(f"{point.value}: {type(error).__name__}: {error}") from error


def look_again() -> None:
    """Forget what is installed: packages came or went while the program runs."""
    installed_entry_points.cache_clear()
    extensions.cache_clear()


class Registry(Generic[T]):
    """All classes of one sort, by name.

    Args:
        group: of the entry points.
        package: the folder of our own modules, dotted; it is imported by name, when it is asked for.
        base: what all of them are.
    """

    def __init__(self, group: str, package: str, base: type[Any]) -> None:
        self.group = group
        self._base = base
        self._package = package
        self._ours: dict[str, type[T]] = {}

    def own_names(self) -> tuple[str, ...]:
        """The names of our own; nothing is imported."""
        return module_names(self._package)

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
        found = dict(self.own())
        for extension in extensions(self.group):
            found[extension.name] = self._fitting(extension, found)
        return found

    def _fitting(self, extension: Extension, others: Mapping[str, type[T]]) -> type[T]:
        kind = extension.value
        if not isinstance(kind, type) or not issubclass(kind, self._base):
            raise extension.refused(f"{kind!r} is no class below {self._base.__name__}")
        if extension.name in others:
            raise extension.refused(f"there is a {extension.name} already")
        known: type[Any] = kind
        if why := known.unfit(extension.name, others):
            raise extension.refused(why)
        return known

    def _import(self, name: str) -> type[T]:
        if name not in self._ours:
            self._ours[name] = import_module(f"{self._package}.{name.replace('-', '_')}").KIND
        return self._ours[name]
