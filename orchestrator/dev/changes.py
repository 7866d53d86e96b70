"""What a change of files means for an environment, and which tests follow from it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from orchestrator.topology.layer_files import chosen
from orchestrator.topology.model import Topology

SPEC = re.compile(r".*[.](spec|test)[.][cm]?[jt]sx?", re.IGNORECASE)  # as Playwright finds them by itself
REPORTS = ("/test-results", "/playwright-report", "/node_modules")  # of a suite that is also run by hand
SHOWN = 2  # files that a change is named after


@dataclass(frozen=True, slots=True)
class Sources:
    """Where changes are looked for.

    Attributes:
        layers: folders, by layer.
        exclude: what of them is in no layer.
        suite: its folder, if there is one.
        topology: the file.
        ignored: folders that we write into, wherever they are.
    """

    layers: Mapping[str, Path]
    exclude: Mapping[str, tuple[str, ...]]
    suite: Path | None
    topology: Path
    ignored: tuple[Path, ...] = ()

    @classmethod
    def of(cls, topology: Topology, *ignored: Path) -> Sources:
        """The sources of a topology; links are resolved, as those who watch name files."""
        layers = {name: layer.source.resolve() for name, layer in topology.layers.items()}
        exclude = {name: layer.exclude for name, layer in topology.layers.items()}
        suite = None if topology.suite is None else topology.suite.path.resolve()
        return cls(layers, exclude, suite, topology.path.resolve(), tuple(path.resolve() for path in ignored))

    @property
    def folders(self) -> tuple[Path, ...]:
        """Those to watch with all that is in them."""
        suite = () if self.suite is None else (self.suite,)
        return tuple(dict.fromkeys((*self.layers.values(), *suite)))


@dataclass(frozen=True, slots=True)
class Changes:
    """What was changed.

    Attributes:
        layers: names of layers.
        specs: spec files, relative to the suite.
        support: something else of the suite, or a spec file that is gone.
        topology: the topology file.
        text: for people.
    """

    layers: frozenset[str] = frozenset()
    specs: frozenset[str] = frozenset()
    support: bool = False
    topology: bool = False
    text: str = ""

    def __bool__(self) -> bool:
        return bool(self.layers or self.specs or self.support or self.topology)

    @property
    def only_suite(self) -> bool:
        """Whether the machines are left as they are."""
        return not self.layers and not self.topology

    @property
    def suite(self) -> bool:
        """Whether the suite is another one."""
        return bool(self.specs) or self.support


def classify(paths: Iterable[Path], sources: Sources) -> Changes:
    """What these changed files belong to."""
    layers: set[str] = set()
    specs: set[str] = set()
    named: dict[str, bool] = {}  # and whether it is there: editors write another file first, and rename it
    support = topology = False
    for path in sorted(set(paths)):
        if any(path.is_relative_to(folder) for folder in sources.ignored):
            continue
        if path == sources.topology:
            topology = True
            named[path.name] = True
        for name, folder in sources.layers.items():
            inside = _inside(path, folder)
            if inside is not None and not chosen(inside, sources.exclude[name]):
                layers.add(name)
                named[f"{name}/{inside}" if inside else name] = path.exists()
        inside = None if sources.suite is None else _inside(path, sources.suite)
        if inside is not None and not chosen(inside, REPORTS):
            named[inside or "the suite"] = path.exists()
            if SPEC.fullmatch(inside) and path.exists():
                specs.add(inside)
            else:
                support = True
    shown = [name for name, there in named.items() if there] or list(named)
    rest = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    text = ", ".join(shown[:SHOWN]) + rest
    return Changes(frozenset(layers), frozenset(specs), support, topology, text)


def _inside(path: Path, folder: Path) -> str | None:
    if path == folder:
        return ""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which tests are to run; a pattern for titles comes on top.

    Attributes:
        files: spec files, relative to the suite, for ``files``.
    """

    kind: Literal["all", "files", "failed"] = "all"
    files: frozenset[str] = field(default_factory=frozenset)

    def __or__(self, other: Selection) -> Selection:
        """Both."""
        if self.kind == other.kind:
            return Selection(self.kind, self.files | other.files)
        return Selection("all")

    @property
    def text(self) -> str:
        """For people."""
        if self.kind != "files":
            return "all tests" if self.kind == "all" else "the tests that failed"
        return ", ".join(sorted(self.files)) if len(self.files) <= SHOWN else f"{len(self.files)} spec files"


ALL = Selection("all")
FAILED = Selection("failed")


def selection_for(changes: Changes, *, only_failed: bool) -> Selection:
    """Which tests a change asks for.

    Args:
        only_failed: there are failed ones, and the user wants no others.
    """
    if changes.only_suite and changes.specs and not changes.support:
        return Selection("files", changes.specs)
    return FAILED if only_failed else ALL
