"""``[matrix]`` of a topology file: the axes, what is left out, what is added."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.plugin_names import extension_names, module_names
from orchestrator.topology import values
from orchestrator.topology.document import Node, Problems, parse, quote, read, suggest
from orchestrator.topology.matrix_keys import folders, shards
from orchestrator.topology.tables import Table, absolute

PROVIDERS = "orchestrator.images"


@dataclass(frozen=True, slots=True)
class Entry:
    """What an item of ``exclude`` or ``include`` says; None and absent layers: nothing.

    Attributes:
        layers: folders by the names of layers.
        shards: of ``include``; None: as many as the matrix has.
    """

    variant: str | None = None
    images: str | None = None
    layers: Mapping[str, Path] = field(default_factory=dict)
    suite: Path | None = None
    shards: int | None = None


@dataclass(frozen=True, slots=True)
class Matrix:
    """The axes; an empty one has the one value that a command without the option has."""

    variants: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    layers: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    suites: tuple[Path, ...] = ()
    shards: int = 1
    exclude: tuple[Entry, ...] = ()
    include: tuple[Entry, ...] = ()
    command: tuple[str, ...] = ()


def load_matrix(path: Path) -> Matrix:
    """The matrix of a file; one of a single cell where the file has none.

    Raises:
        TopologyError: its problems. What else is wrong in the file is not said here.
    """
    problems = Problems(path)
    root = parse(read(path), problems)
    found = read_matrix(root, path.parent.resolve(), Problems(path), problems)
    problems.raise_if_any()
    return found


def read_matrix(root: Node, folder: Path, elsewhere: Problems, problems: Problems) -> Matrix:
    """The matrix of a parsed file.

    Args:
        elsewhere: takes what is wrong in the rest of the file.
        problems: takes what is wrong in the matrix.
    """
    node = Table(root, elsewhere, "", "").get("matrix")
    if node is None:
        return Matrix()
    table = Table(node, problems, "matrix", "the matrix")
    variants = root.find("variants")
    reader = _Reader(root, tuple(variants.fields or ()) if variants else (), folder, problems)
    layers = table.mapping("layers", folders)
    reader.check_layers(table)
    return Matrix(
        variants=tuple(reader.known(table, table.placed("variants", values.nonempty), "variant")),
        images=tuple(reader.known(table, table.placed("images", values.nonempty), "provider of images")),
        layers={name: tuple(absolute(folder, one) for one in found) for name, found in layers.items()},
        suites=tuple(absolute(folder, one) for one in table.array("suites", values.host_path)),
        shards=table.optional("shards", shards, 1),
        exclude=reader.entries(table, "exclude"),
        include=reader.entries(table, "include"),
        command=table.command("command"),
    )


class _Reader:
    """What entries refer to: variants and layers of the file, providers of this program."""

    def __init__(self, root: Node, variants: Sequence[str], folder: Path, problems: Problems) -> None:
        self._folder = folder
        self._problems = problems
        layers = root.find("layers")
        self._layers = tuple(layers.fields or ()) if layers else ()
        self._names = {
            "variant": tuple(variants),
            "provider of images": ("auto", *module_names(f"{PROVIDERS}.providers"), *extension_names(PROVIDERS)),
        }

    def known(self, table: Table, found: Sequence[tuple[Node, str]], word: str) -> Iterator[str]:
        """The values; each that does not exist, or is there twice, is a problem."""
        seen: set[str] = set()
        for node, value in found:
            if value in seen:
                table.problems.add(node.at, f"{word} {quote(value)} is in {table.label} twice")
            seen.add(value)
            table.unknown(node.at, word, value, self._names[word])
            yield value

    def check_layers(self, table: Table) -> None:
        """A problem for each layer that the file does not have."""
        for name, node in table.entries("layers"):
            if name not in self._layers:
                hint = suggest(name, self._layers)
                self._problems.add(node.key, f"layer {quote(name)} in {table.label} is not defined{hint}")

    def entries(self, matrix: Table, key: str) -> tuple[Entry, ...]:
        """The items of ``exclude`` or ``include``."""
        found = []
        for number, node in enumerate(matrix.items(key), 1):
            table = Table(node, self._problems, f"matrix.{key}", f"item {number} of {quote(key)}")
            self.check_layers(table)
            suite = table.path("suite", self._folder)
            given = table.mapping("layers", values.host_path)
            found.append(
                Entry(
                    variant=self._one(table, "variant", "variant"),
                    images=self._one(table, "images", "provider of images"),
                    layers={name: absolute(self._folder, one) for name, one in given.items()},
                    suite=suite,
                    shards=table.optional("shards", shards, 1) if key == "include" and table.has("shards") else None,
                )
            )
            if key == "exclude" and node.fields is not None and not node.fields:
                self._problems.add(node.at, f"{table.label} says nothing, and would leave out every cell")
        return tuple(found)

    def _one(self, table: Table, key: str, word: str) -> str | None:
        node = table.get(key)
        if node is None:
            return None
        value = table.optional(key, values.nonempty, "")
        if value:
            table.unknown(node.at, word, value, self._names[word])
        return value
