"""What of this host other hosts need: the files of the project, and images that are built already."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

from orchestrator.errors import OrchestratorError
from orchestrator.images.cache import ImageCache
from orchestrator.images.provider import choose_provider, provider_of, used_images
from orchestrator.topology.model import Topology

EXCLUDED = (".git", "__pycache__", ".venv", "/runs")


@dataclass(frozen=True, slots=True)
class Project:
    """The files that cells need, as one tree.

    Attributes:
        root: the nearest folder that has all of them.
        parts: files and folders in it, none of them in another.
        key: changes whenever one of them does.
    """

    root: Path
    parts: tuple[Path, ...]
    key: str

    @property
    def names(self) -> list[str]:
        """The parts, relative to the root."""
        return [str(part.relative_to(self.root)) for part in self.parts]


def project_of(topologies: Iterable[Topology], *, folders: bool = False) -> Project:
    """The project of all cells: their topologies, recipes, layers, suites and files for guests.

    Args:
        folders: the whole folders of the topologies, for commands that need who knows what of them.
    """
    known = list(topologies)
    wanted = {path for topology in known for path in _paths(topology) if path.exists()}
    wanted |= {topology.root for topology in known if folders}
    parts = tuple(sorted(path for path in wanted if not any(parent in wanted for parent in path.parents)))
    root = Path(os.path.commonpath([part.parent if part.is_file() else part for part in parts]))
    return Project(root, parts, _key(parts))


def _paths(topology: Topology) -> Iterator[Path]:
    yield topology.path
    for layer in topology.layers.values():
        yield layer.source
    if topology.suite is not None:
        yield topology.suite.path
    for machine in topology.machines:
        yield from (file.source for file in topology.files_of(machine))
    for image in used_images(topology).values():
        for source in image.sources.values():
            # A recipe refers to others beside it, a flake is a folder.
            yield from (path.parent if path.is_file() else path for path in _in(source))


def _in(source: object) -> Iterator[Path]:
    """The paths in the fields of a source."""
    for field in fields(source) if is_dataclass(source) else ():
        value = getattr(source, field.name)
        if isinstance(value, Path):
            yield value


def _key(parts: Sequence[Path]) -> str:
    found = hashlib.sha256()
    for part in parts:
        for path in [part] if part.is_file() else sorted(_files(part)):
            state = path.lstat()
            found.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\0{state.st_mode}\n".encode("utf-8", "replace"))
    return found.hexdigest()[:16]


def _files(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in EXCLUDED]
        yield from (Path(here) / name for name in names)


def ready_images(topologies: Iterable[tuple[Topology, str]]) -> list[Path]:
    """Entries of the cache that other hosts would build for minutes, each once.

    Args:
        topologies: each with the provider that was asked for.
    """
    cache = ImageCache()
    found: dict[Path, None] = {}
    for topology, wanted in topologies:
        try:
            provider = choose_provider(wanted, topology)
            for name, image in used_images(topology).items():
                source = provider_of(image, provider)
                if source.ready(name, cache, topology.variant):
                    found.update(dict.fromkeys(source.portable(name, cache, topology.variant)))
        except OrchestratorError:
            continue  # the cell itself will say it
    return list(found)
