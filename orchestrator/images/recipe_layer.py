"""The files of a recipe as entries of the layer over the base: texts, copies, links, units, packages."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from orchestrator.errors import RecipeError
from orchestrator.images.manifest import Kind, LayerEntry
from orchestrator.images.recipe import FolderItem, Ownership, Recipe
from orchestrator.images.recipe_base import KEYRINGS, key_path, mode
from orchestrator.images.recipe_keys import ENVIRONMENT
from orchestrator.images.recipe_load import UNIT_FOLDER
from orchestrator.images.recipe_templates import render

NULL: Final = "/dev/null"
DROP_IN: Final = "50-recipe.conf"
LEFT_OUT: Final = ("__pycache__",)  # of every folder that is copied
INSTALL: Final = "Install"
Write = Callable[[str], Path]  # a text to a file of the host


@dataclass(frozen=True, slots=True)
class PackageTree:
    """A folder of locked packages: what is in it follows from the lock, so nobody reads it to know its content.

    Attributes:
        source: on the host.
        identity: changes with the lock.
    """

    source: Path
    target: str
    identity: str

    def entries(self) -> Iterator[LayerEntry]:
        """Everything in it; a file's digest is that of the lock and its name."""
        for entry in tree_entries(self.source, self.target, (), Ownership()):
            if entry.source is not None:
                name = hashlib.sha256(f"{self.identity}\0{entry.target}".encode()).hexdigest()
                yield LayerEntry(entry.kind, entry.target, entry.mode, source=entry.source, sha256=name)
            else:
                yield entry


def file_entries(recipe: Recipe, write: Write) -> Iterator[LayerEntry]:
    """Everything but locked packages, in no order.

    Args:
        write: keeps a text in a file of the host, and returns it.

    Raises:
        RecipeError: a template that cannot be filled in.
    """
    for target, item in recipe.files.items():
        if item.early:
            continue
        source = item.source
        if source is None:
            text = render(item.template, recipe.variables) if item.template else item.content or ""
            source = write(text)
        yield _file(target, source, Ownership(mode(item), item.ownership.owner, item.ownership.group))
    for target, folder in recipe.folders.items():
        yield from _folder(target, folder)
    for target, link in recipe.links.items():
        yield LayerEntry(Kind.SYMLINK, target, 0o777, to=link.to)
    for unit, unit_item in recipe.units.items():
        path = f"{UNIT_FOLDER}/{unit}"
        yield _file(path, write(unit_text(unit_item.sections)), Ownership(0o644))
    for unit, drop_in in recipe.drop_ins.items():
        yield _file(f"{UNIT_FOLDER}/{unit}.d/{DROP_IN}", write(unit_text(drop_in.sections)), Ownership(0o644))
    for unit in recipe.mask:
        yield LayerEntry(Kind.SYMLINK, f"{UNIT_FOLDER}/{unit}", 0o777, to=NULL)
    for unit in recipe.enable:
        if unit in recipe.units:
            yield from _enabled(unit, recipe)
    for name, repository in recipe.apt.items():
        if repository.key is not None:
            yield _file(key_path(recipe, name), repository.key, Ownership(0o644))
            yield LayerEntry(Kind.DIRECTORY, KEYRINGS)


def _folder(target: str, item: FolderItem) -> Iterator[LayerEntry]:
    if item.source is None:
        own = item.ownership
        yield LayerEntry(Kind.DIRECTORY, target, 0o755 if own.mode is None else own.mode, own.owner, own.group)
        return
    yield from tree_entries(item.source, target, (*item.exclude, *LEFT_OUT), item.ownership)


def tree_entries(source: Path, target: str, exclude: Iterable[str], own: Ownership) -> Iterator[LayerEntry]:
    """A folder of the host with all that is in it; files keep their executable bit, links stay links.

    Args:
        exclude: names that are left out at every depth.
        own: owner and group of everything; the mode of the folder itself.
    """
    left_out = frozenset(exclude)
    yield LayerEntry(Kind.DIRECTORY, target, 0o755 if own.mode is None else own.mode, own.owner, own.group)
    for base, folders, files in os.walk(source):
        folders[:] = sorted(name for name in folders if name not in left_out)
        inside = f"{target}/{Path(base).relative_to(source)}".removesuffix("/.")
        links = [name for name in folders if (Path(base) / name).is_symlink()]
        for name in folders:
            if name not in links:
                yield LayerEntry(Kind.DIRECTORY, f"{inside}/{name}", 0o755, own.owner, own.group)
        for name in sorted([*links, *(name for name in files if name not in left_out)]):
            path = Path(base) / name
            if path.is_symlink():
                yield LayerEntry(Kind.SYMLINK, f"{inside}/{name}", 0o777, to=str(path.readlink()))
            elif path.is_file():
                executable = bool(path.stat().st_mode & 0o111)
                yield _file(f"{inside}/{name}", path, Ownership(0o755 if executable else 0o644, own.owner, own.group))


def _file(target: str, source: Path, own: Ownership) -> LayerEntry:
    with source.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    assert own.mode is not None  # every caller has decided
    return LayerEntry(Kind.FILE, target, own.mode, own.owner, own.group, source, content)


def _enabled(unit: str, recipe: Recipe) -> Iterator[LayerEntry]:
    """The links that `systemctl enable` would make."""
    sections = recipe.units[unit].sections.get(INSTALL, {})
    links = 0
    for directive, suffix in (("WantedBy", "wants"), ("RequiredBy", "requires")):
        for target in _words(sections.get(directive, "")):
            links += 1
            yield LayerEntry(Kind.SYMLINK, f"{UNIT_FOLDER}/{target}.{suffix}/{unit}", 0o777, to=f"{UNIT_FOLDER}/{unit}")
    if not links:
        raise RecipeError(
            f"{unit} cannot be enabled",
            why="its section Install says neither WantedBy nor RequiredBy",
            where=[str(recipe.enable[unit])],
            hint='for example Install = { WantedBy = "multi-user.target" }',
        )


def _words(value: object) -> list[str]:
    return [word for one in (value if isinstance(value, list) else [value]) for word in str(one).split()]


def unit_text(sections: Mapping[str, Mapping[str, object]]) -> str:
    """A unit file. A list gives one line for each item, a truth value yes or no. Pure.

    >>> print(unit_text({"Service": {"ExecStart": "/bin/a"}, "Environment": {"A": "50%"}}), end="")
    [Service]
    ExecStart=/bin/a
    Environment="A=50%%"
    """
    environment = sections.get(ENVIRONMENT, {})
    names = [name for name in sections if name != ENVIRONMENT]
    if environment and "Service" not in names:
        names.append("Service")
    blocks = []
    for section in names:
        lines = [f"[{section}]"]
        for key, value in sections.get(section, {}).items():
            lines += [f"{key}={_directive(one)}" for one in (value if isinstance(value, list) else [value])]
        if section == "Service":
            lines += [f"Environment={_quoted(f'{key}={value}')}" for key, value in environment.items()]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _directive(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _quoted(assignment: str) -> str:
    """``"NAME=value"``, specifiers and quotes escaped."""
    escaped = assignment.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("\n", "\\n")
    return f'"{escaped}"'


def writer(folder: Path) -> Write:
    """Keeps texts below a folder, each once."""
    folder.mkdir(parents=True, exist_ok=True)

    def write(text: str) -> Path:
        path = folder / hashlib.sha256(text.encode()).hexdigest()
        if not path.exists():
            path.write_text(text, encoding="utf-8")
        return path

    return write


def checked(entries: Iterable[LayerEntry]) -> tuple[LayerEntry, ...]:
    """The entries by target.

    Raises:
        RecipeError: two of them have one target, and are not the same folder.
    """
    found: dict[str, LayerEntry] = {}
    problems = []
    for entry in entries:
        before = found.get(entry.target)
        if before is not None and (before.kind, entry.kind) != (Kind.DIRECTORY, Kind.DIRECTORY):
            problems.append(f"{entry.target}: named twice, as {before.kind} and as {entry.kind}")
        if before is None or not _usual(entry):
            found[entry.target] = entry
    if problems:
        raise RecipeError("two files of the recipe have one target", evidence=problems[:20])
    return tuple(found[target] for target in sorted(found))


def _usual(entry: LayerEntry) -> bool:
    """A folder about which nothing is said: root's, for everybody to read."""
    return entry.kind is Kind.DIRECTORY and (entry.mode, entry.owner, entry.group) == (0o755, "root", "root")


def started_by_boot(paths: Iterable[str], units: Iterable[str]) -> list[str]:
    """The links of the base layer by which the boot would start one of these units. Pure.

    >>> started_by_boot(["/etc/systemd/system/multi-user.target.wants/a.service", "/etc/a.service"], ["a.service"])
    ['/etc/systemd/system/multi-user.target.wants/a.service']
    """
    wanted = frozenset(units)
    pattern = re.compile(r"/(?:etc|usr/lib)/systemd/system/[^/]+\.(?:wants|requires)/([^/]+)")
    return sorted(path for path in paths if (match := pattern.fullmatch(path)) and match[1] in wanted)
