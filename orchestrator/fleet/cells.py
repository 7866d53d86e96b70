"""The cells of a matrix: one run each. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.topology.read_matrix import Entry, Matrix

MOST = 10_000  # cells of one matrix
_LONGEST = 60  # characters of a cell's name


@dataclass(frozen=True, slots=True)
class Cell:
    """One run of the matrix.

    Attributes:
        number: from 1, in the order of the matrix.
        id: its name in reports and folders; no other cell has it.
        variant, suite: None: the file's own.
        images: the provider, as ``--images`` takes it.
        layers: folders in place of layers, by name.
        shard: ``2/3``; empty: all tests.
    """

    number: int
    id: str
    variant: str | None = None
    images: str = "auto"
    layers: Mapping[str, Path] = field(default_factory=dict)
    suite: Path | None = None
    shard: str = ""

    @property
    def whole(self) -> tuple[object, ...]:
        """What it has in common with the other shards of the same tests."""
        return (self.variant, self.images, tuple(self.layers.items()), self.suite)

    def words(self) -> list[str]:
        """The options of `orchestrator run` that make this cell."""
        found = [f"--images={self.images}"]
        found += [f"--variant={self.variant}"] if self.variant else []
        found += [f"--layer={name}={folder}" for name, folder in self.layers.items()]
        found += [f"--suite={self.suite}"] if self.suite else []
        return found + ([f"--shard={self.shard}"] if self.shard else [])

    def variables(self) -> dict[str, str]:
        """The cell as environment variables, for a command of one's own."""
        return {
            "ORCH_CELL": self.id,
            "ORCH_IMAGES": self.images,
            "ORCH_SHARD": self.shard,
            "ORCH_SUITE": str(self.suite or ""),
            **({"ORCH_VARIANT": self.variant} if self.variant else {}),
            **{
                f"ORCH_LAYER_{re.sub('[^A-Z0-9]', '_', name.upper())}": str(folder)
                for name, folder in self.layers.items()
            },
        }


def cells_of(matrix: Matrix) -> list[Cell]:
    """The cells of a matrix, numbered, each with a name of its own.

    Raises:
        UsageError: there are none, two are the same, or there are too many.
    """
    found = [shard for cell in _unsharded(matrix) for shard in cell]
    same = [one for one, count in Counter((cell.whole, cell.shard) for cell in found).items() if count > 1]
    if same:
        raise UsageError(
            "two cells of the matrix are the same",
            why=f"both are {_name(next(cell for cell in found if (cell.whole, cell.shard) == same[0]))}",
            hint="`include` adds a cell that the axes have already; docs/fleet.md",
        )
    if not found:
        raise UsageError("the matrix has no cell", why="`exclude` leaves out every one", hint="docs/fleet.md")
    if len(found) > MOST:
        raise UsageError(f"the matrix has {len(found)} cells", why=f"at most {MOST} are run", hint="fewer axes")
    return list(_named(found))


def _unsharded(matrix: Matrix) -> Iterator[list[Cell]]:
    """Each combination, divided into its shards."""
    layers = list(product(*([(name, folder) for folder in folders] for name, folders in matrix.layers.items())))
    axes = product(matrix.variants or (None,), matrix.images or ("auto",), matrix.suites or (None,), layers)
    for variant, images, suite, chosen in axes:
        cell = Cell(0, "", variant, images, dict(chosen), suite)
        if not any(_matches(cell, entry) for entry in matrix.exclude):
            yield _sharded(cell, matrix.shards)
    for entry in matrix.include:
        cell = Cell(0, "", entry.variant, entry.images or "auto", entry.layers, entry.suite)
        yield _sharded(cell, entry.shards or matrix.shards)


def _matches(cell: Cell, entry: Entry) -> bool:
    """Whether the cell has all that the entry says."""
    return (
        entry.variant in (None, cell.variant)
        and entry.images in (None, cell.images)
        and entry.suite in (None, cell.suite)
        and set(entry.layers.items()) <= set(cell.layers.items())
    )


def _sharded(cell: Cell, shards: int) -> list[Cell]:
    return [replace(cell, shard=f"{one}/{shards}" if shards > 1 else "") for one in range(1, shards + 1)]


def _named(cells: Sequence[Cell]) -> Iterator[Cell]:
    """Names of what the cells say; where that is the same for two, the number is added."""
    names = [_name(cell) for cell in cells]
    count = Counter(names)
    for number, (cell, name) in enumerate(zip(cells, names, strict=True), 1):
        yield replace(cell, number=number, id=name if count[name] == 1 else f"{name}.{number}")


def _name(cell: Cell) -> str:
    parts = [cell.variant or "", "" if cell.images == "auto" else cell.images]
    parts += [f"{name}-{folder.name}" for name, folder in cell.layers.items()]
    parts += [cell.suite.name if cell.suite else "", cell.shard.replace("/", "of")]
    told = "+".join(re.sub(r"[^A-Za-z0-9_.-]+", "-", part) for part in parts if part)
    return told[:_LONGEST].strip(".-+") or "cell"


def _variable(layer: str) -> str:
    return f"ORCH_LAYER_{re.sub('[^A-Z0-9]', '_', layer.upper())}"
