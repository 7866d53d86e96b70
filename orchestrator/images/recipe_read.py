"""One file of a recipe, read into a draft: what comes later adds to lists and tables and replaces single values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from orchestrator.images.recipe import (
    AptSource,
    FileItem,
    FolderItem,
    Group,
    Layer,
    LinkItem,
    LockedPackages,
    Ownership,
    Place,
    Script,
    UnitItem,
    User,
)
from orchestrator.images.recipe_keys import (
    ARCHITECTURES,
    ENVIRONMENT,
    RECIPE_KEYS,
    account_id,
    disk_size,
    image_name,
    link_target,
    package,
    python_version,
    suite,
)
from orchestrator.topology import values
from orchestrator.topology.document import Node, Problems, quote
from orchestrator.topology.tables import Table
from orchestrator.topology.value_types import InvalidValue, Value
from orchestrator.topology.variants import ABSENT

T = TypeVar("T")

# What recipes had before, with what says it now.
FORMER: Final = {
    "before": 'a table of "files" with early = true',
    "customize": '"run"',
}
NOBODY: Final = "/nonexistent"


@dataclass(slots=True)
class Draft:
    """A recipe while its files are read; the fields are those of `orchestrator.images.recipe.Recipe`."""

    single: dict[str, str | int] = field(default_factory=dict)
    packages: dict[str, Place] = field(default_factory=dict)
    dpkg_exclude: list[str] = field(default_factory=list)
    kernel_parameters: list[str] = field(default_factory=list)
    apt: dict[str, AptSource] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    users: dict[str, User] = field(default_factory=dict)
    run: dict[str, Script] = field(default_factory=dict)
    files: dict[str, FileItem] = field(default_factory=dict)
    folders: dict[str, FolderItem] = field(default_factory=dict)
    links: dict[str, LinkItem] = field(default_factory=dict)
    units: dict[str, UnitItem] = field(default_factory=dict)
    drop_ins: dict[str, UnitItem] = field(default_factory=dict)
    enable: dict[str, Place] = field(default_factory=dict)
    disable: dict[str, Place] = field(default_factory=dict)
    mask: dict[str, Place] = field(default_factory=dict)
    npm: dict[str, LockedPackages] = field(default_factory=dict)
    python: dict[str, LockedPackages] = field(default_factory=dict)
    variables: dict[str, object] = field(default_factory=dict)
    layer: Layer | None = None


class FileReader:
    """Reads one file; every problem is recorded with its place."""

    def __init__(self, node: Node, problems: Problems, folder: Path) -> None:
        for key in [key for key in FORMER if node.fields and key in node.fields]:
            problems.add(node.fields[key].key, f"{quote(key)} is {FORMER[key]} now")  # type: ignore[index]
        fields = {key: value for key, value in (node.fields or {}).items() if key not in FORMER}
        self.table = self._table("", Node(None, node.at, node.key, fields=fields), problems, "")
        self._problems = problems
        self._folder = folder

    def includes(self) -> list[tuple[Node, str]]:
        """The names of the recipes that come first, each with its node."""
        return list(self.table.placed("include", values.host_path))

    def variables(self) -> Iterator[tuple[str, object]]:
        """Variables, and data files with their place: the loader reads those."""
        for name, node in self.table.entries("variables"):
            yield name, plain(node)

    def data_files(self) -> Iterator[tuple[str, Place, Path]]:
        """Name, place and path of each file of ``data``."""
        for name, node in self.table.entries("data"):
            try:
                yield name, self._place(node), self._folder / values.host_path(node)
            except InvalidValue as error:
                self._problems.add(node.at, f"data {quote(name)}: {error}")

    def into(self, draft: Draft) -> None:
        """Add what the file says to the draft."""
        self.single(draft)
        self._lists(draft)
        draft.apt |= self._named("apt", "apt source", self._apt, draft.apt)
        draft.groups |= self._named("groups", "group", self._group, draft.groups)
        draft.users |= self._named("users", "user", self._user, draft.users)
        draft.files |= self._paths("files", self._file, draft.files)
        draft.folders |= self._paths("folders", self._copied_folder, draft.folders)
        draft.npm |= self._named("npm", "npm packages", self._locked, draft.npm)
        draft.python |= self._named("python", "Python packages", self._locked, draft.python)
        draft.run |= self._values("run", values.nonempty, Script, draft.run)
        draft.links |= self._values("links", link_target, LinkItem, draft.links)
        for path in draft.links:
            self._guest_path("links", path)
        for key, units in (("units", draft.units), ("drop_ins", draft.drop_ins)):
            _read_units(self.table, key, units)
        if (node := self.table.get("layer")) is not None:
            table = self._table("layer", node, self._problems, "layer")
            program = table.path("program", self._folder)
            table.required("program", values.host_path, "")
            if program is not None:
                draft.layer = Layer(program, table.array("arguments", values.string))

    def single(self, draft: Draft) -> None:
        """The single values of the file."""
        table = self.table
        readers: dict[str, Value[str] | Value[int]] = {
            "name": image_name,
            "suite": suite,
            "mirror": values.single_line,
            "size": disk_size,
            "memory": values.memory,
            "cpus": values.cpus,
        }
        for key, reader in readers.items():
            if (found := table.optional(key, reader, None)) is not None:
                draft.single[key] = found
        if (node := table.get("architecture")) is not None:
            if node.value in ARCHITECTURES:
                draft.single["architecture"] = str(node.value)
            else:
                table.complain("architecture", f"expected one of {', '.join(ARCHITECTURES)}, found {node.describe()}")

    def _lists(self, draft: Draft) -> None:
        table = self.table
        draft.packages |= {name: self._place(node) for node, name in table.placed("packages", package)}
        draft.dpkg_exclude += table.array("dpkg_exclude", values.nonempty)
        draft.kernel_parameters += table.array("kernel_parameters", values.single_line)
        for key, found in (("enable", draft.enable), ("disable", draft.disable), ("mask", draft.mask)):
            found |= {unit: self._place(node) for node, unit in table.placed(key, values.unit)}

    def _apt(self, name: str, table: Table, place: Place) -> AptSource:
        del name
        key = table.path("key", self._folder)
        table.required("key", values.host_path, "")
        if key is not None and not key.is_file():
            table.complain("key", f"there is no file {key}")
        return AptSource(
            place,
            uris=table.required("uris", values.single_line, ""),
            suites=table.required("suites", values.single_line, ""),
            components=table.array("components", values.single_line) or ("main",),
            key=key,
        )

    def _group(self, name: str, table: Table, place: Place) -> Group:
        del name
        return Group(place, table.optional("gid", account_id, None), table.optional("system", values.flag, False))

    def _user(self, name: str, table: Table, place: Place) -> User:
        system = table.optional("system", values.flag, False)
        return User(
            place,
            uid=table.optional("uid", account_id, None),
            system=system,
            home=table.optional("home", values.guest_path, NOBODY if system else f"/home/{name}"),
            create_home=table.optional("create_home", values.flag, not system),
            shell=table.optional("shell", values.guest_path, "/usr/sbin/nologin" if system else "/bin/bash"),
            comment=table.optional("comment", values.single_line, ""),
            groups=table.array("groups", values.user),
        )

    def _file(self, path: str, table: Table, place: Place) -> FileItem:
        del path
        given = [key for key in ("content", "source", "template") if table.has(key)]
        if len(given) != 1:
            found = " and ".join(given) if given else "none of them"
            self._problems.add(place.at, f"{table.label}: expected one of content, source, template; found {found}")
        content = table.optional("content", values.string, None)
        item = FileItem(
            place,
            _ownership(table),
            content=None if content is None else content.lstrip("\n"),
            source=table.path("source", self._folder),
            template=table.path("template", self._folder),
            early=table.optional("early", values.flag, False),
        )
        for key, source in (("source", item.source), ("template", item.template)):
            if source is not None and not source.is_file():
                table.complain(key, f"there is no file {source}")
        return item

    def _copied_folder(self, path: str, table: Table, place: Place) -> FolderItem:
        del path
        source = table.path("source", self._folder)
        if source is not None and not source.is_dir():
            table.complain("source", f"there is no folder {source}")
        return FolderItem(place, _ownership(table), source, table.array("exclude", values.nonempty))

    def _locked(self, name: str, table: Table, place: Place) -> LockedPackages:
        del name
        lock = table.path("lock", self._folder)
        table.required("lock", values.host_path, "")
        if lock is not None and not lock.is_file():
            table.complain("lock", f"there is no file {lock}")
        return LockedPackages(
            place,
            lock or self._folder,
            table.required("target", values.guest_path, ""),
            _wanted_parts(table) if "only" in table.keys else {},
            table.optional("python", python_version, "") if "python" in table.keys else "",
        )

    def _named(self, key: str, word: str, read: Callable[[str, Table, Place], T], found: dict[str, T]) -> dict[str, T]:
        return {
            name: read(name, self._table(f"{key}.NAME", node, self._problems, f"{word} {quote(name)}"), place)
            for name, node, place in self._present(key, found)
        }

    def _paths(self, key: str, read: Callable[[str, Table, Place], T], found: dict[str, T]) -> dict[str, T]:
        items = {}
        for path, node, place in self._present(key, found):
            self._guest_path(key, path, node)
            table = self._table(f"{key}.PATH", node, self._problems, f"{key[:-1]} {quote(path)}")
            items[path] = read(path, table, place)
        return items

    def _values(
        self, key: str, reader: Value[str], make: Callable[[Place, str], T], found: dict[str, T]
    ) -> dict[str, T]:
        items = {}
        for name, node, place in self._present(key, found):
            try:
                items[name] = make(place, reader(node))
            except InvalidValue as error:
                self._problems.add(node.at, f"{quote(name)} of {quote(key)}: {error}")
        return items

    def _present(self, key: str, found: dict[str, T]) -> Iterator[tuple[str, Node, Place]]:
        """The entries of a table; what is ``"absent"`` is taken away from what came before."""
        for name, node in self.table.entries(key):
            if node.value == ABSENT:
                found.pop(name, None)
            else:
                yield name, node, self._place(node)

    def _guest_path(self, key: str, path: str, node: Node | None = None) -> None:
        entry = node or (self.table.node.find(key, path))
        if entry is None:
            return
        try:
            values.guest_path(Node(path, entry.key, entry.key))
        except InvalidValue as error:
            self._problems.add(entry.key, f"{key}: {error}")

    def _place(self, node: Node) -> Place:
        return Place(self._problems.path, node.key)

    @staticmethod
    def _table(pattern: str, node: Node, problems: Problems, label: str) -> Table:
        return Table(node, problems, pattern, label or "a recipe", RECIPE_KEYS[pattern])


def _wanted_parts(table: Table) -> dict[str, tuple[str, ...]]:
    """Package → the parts of it that are wanted."""
    found = {}
    for name, node in table.entries("only"):
        items = [item.value for item in node.items or () if isinstance(item.value, str)]
        if node.items is None or len(items) != len(node.items):
            table.problems.add(node.at, f"only {quote(name)}: expected a list of strings")
        found[name] = tuple(items)
    return found


def _ownership(table: Table) -> Ownership:
    return Ownership(
        mode=table.optional("mode", values.mode, None),
        owner=table.optional("owner", values.user, "root"),
        group=table.optional("group", values.user, "root"),
    )


def plain(node: Node) -> object:
    """The value of a node as Python has it."""
    if node.fields is not None:
        return {name: plain(inner) for name, inner in node.fields.items()}
    if node.items is not None:
        return [plain(inner) for inner in node.items]
    return node.value


def _directive(node: Node, section: str, problems: Problems) -> object:
    """A value of a unit file: text, number, truth value, or a list of them."""
    found = plain(node)
    for one in found if isinstance(found, list) else [found]:
        if not isinstance(one, (str, int, float)):
            problems.add(node.at, f"a directive of [{section}] is a string, a number, true, false or a list of them")
            return ""
        if isinstance(one, str) and "\n" in one and section != ENVIRONMENT:
            problems.add(node.at, f"a directive of [{section}] cannot hold a line break; give a list")
    return found


def _read_units(table: Table, key: str, found: dict[str, UnitItem]) -> None:
    """Units or drop-ins of a file, over those that are there already."""
    problems = table.problems
    for name, node in table.entries(key):
        if node.value == ABSENT:
            found.pop(name, None)
            continue
        try:
            values.unit(Node(name, node.key, node.key))
        except InvalidValue as error:
            problems.add(node.key, f"{key}: {error}")
        sections = _sections(name, node, problems)
        if node.fields is None:
            problems.add(node.at, f"unit {quote(name)}: expected a table, found {node.describe()}")
        before = found[name].sections if name in found else {}
        merged = {one: {**before.get(one, {}), **sections.get(one, {})} for one in {**before, **sections}}
        found[name] = UnitItem(Place(problems.path, node.key), merged)


def _sections(name: str, node: Node, problems: Problems) -> dict[str, dict[str, object]]:
    sections: dict[str, dict[str, object]] = {}
    for section, directives in (node.fields or {}).items():
        if directives.fields is None:
            problems.add(
                directives.at, f"[{section}] of {quote(name)}: expected a table, found {directives.describe()}"
            )
            continue
        sections[section] = {one: _directive(value, section, problems) for one, value in directives.fields.items()}
    return sections
