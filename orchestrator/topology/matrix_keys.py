"""The keys of ``[matrix]``: which cells `orchestrator matrix` runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from orchestrator.topology import values
from orchestrator.topology.document import Node
from orchestrator.topology.key import Key
from orchestrator.topology.value_types import Array, Command, Entries, HostPath, InvalidValue, Shape, table_list, value

MOST_SHARDS: Final = 1_000


@value("1 to 1000", type="integer", minimum=1, maximum=MOST_SHARDS)
def shards(node: Node) -> int:
    """In how many parts the tests of a cell are divided."""
    return values.integer(node, 1, MOST_SHARDS)


@value("list of host paths", type=["string", "array"], items={"type": "string", "minLength": 1})
def folders(node: Node) -> tuple[str, ...]:
    """One folder, or several, as they are written."""
    items = (node,) if node.items is None else node.items
    if not items:
        raise InvalidValue("expected at least one folder, found none")
    return tuple(values.host_path(item) for item in items)


_VARIANT = Shape("name of a variant", {"$ref": "#/definitions/name"})

_ENTRY = {
    "variant": Key(_VARIANT, "its variant"),
    "images": Key(values.nonempty, "its provider of images"),
    "layers": Key(Entries(values.host_path, "table of host paths"), "folders in place of layers, by the layers' names"),
    "suite": Key(HostPath(), "its suite"),
}

MATRIX_KEYS: Final[Mapping[str, Mapping[str, Key]]] = MappingProxyType(
    {
        "matrix": {
            "variants": Key(Array(values.nonempty, "list of variants"), "one cell for each", "the file's own"),
            "images": Key(
                Array(values.nonempty, "list of providers"), "where images come from, as `--images` says", '`["auto"]`'
            ),
            "layers": Key(
                Entries(folders, "table of lists of host paths"),
                "folders in place of a layer's source, by the layer's name: one cell for each folder",
                "the file's own",
            ),
            "suites": Key(Array(values.host_path, "list of host paths"), "suite folders", "the file's own"),
            "shards": Key(shards, "in how many cells the tests of each of them are divided", "`1`"),
            "exclude": Key(table_list("matrix.exclude"), "see `matrix.exclude`"),
            "include": Key(table_list("matrix.include"), "see `matrix.include`"),
            "command": Key(
                Command(),
                "what a cell runs in place of `orchestrator run`. It has the cell in variables "
                "([fleet](fleet.md), other commands)",
            ),
        },
        "matrix.exclude": _ENTRY,
        "matrix.include": {
            **_ENTRY,
            "shards": Key(shards, "in how many cells its tests are divided", "that of `matrix`"),
        },
    }
)
