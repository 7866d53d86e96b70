"""Variants: tables that are merged over the file, and may remove parts of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.topology.document import Node, Problems, quote, suggest

ABSENT = "absent"

# What the word "absent" may stand in place of; a star is any name.
REMOVABLE = (
    ("networks", "*"),
    ("images", "*"),
    ("layers", "*"),
    ("machines", "*"),
    ("machines", "*", "networks", "*"),
    ("machines", "*", "ports"),
    ("machines", "*", "files"),
    ("services", "*"),
    ("services", "*", "uses"),
    ("services", "*", "depends_on"),
    ("services", "*", "depends_on", "*"),
    ("services", "*", "checks", "*"),
    ("faults", "*"),
    ("scenarios",),
    ("suite",),
    ("waivers",),
)

# These say which file and which variants there are; a variant cannot change them.
FIXED = ("name", "variant", "variants", "matrix", "nightly")


@dataclass(frozen=True, slots=True)
class Merged:
    """The file with one variant applied.

    Attributes:
        root: the tree; each node keeps the place it was written at.
        variant: its name, empty for none.
        removed: what the variant removed, by path.
    """

    root: Node
    variant: str
    removed: Mapping[tuple[str, ...], Node]

    def was_removed(self, *path: str) -> bool:
        return path in self.removed

    def removed_names(self, section: str) -> dict[str, Node]:
        """What the variant removed of ``machines``, ``services``, …, with the table it had."""
        return {path[1]: node for path, node in self.removed.items() if path[0] == section and len(path) == 2}


def apply(root: Node, variant: str, problems: Problems) -> Merged:
    """Merge ``variants.<variant>`` over the rest of the file; an empty name merges nothing."""
    removed: dict[tuple[str, ...], Node] = {}
    over = root.find("variants", variant) if variant else None
    if over is not None and over.fields is not None:
        for key in FIXED:
            if node := over.fields.get(key):
                problems.add(node.key, f'"{key}" cannot be changed by a variant')
        changes = {name: node for name, node in over.fields.items() if name not in FIXED}
        root = _merge(root, Node(None, root.at, root.key, fields=changes), (), removed, problems)
    return Merged(root, variant, removed)


def _merge(
    base: Node, over: Node, path: tuple[str, ...], removed: dict[tuple[str, ...], Node], problems: Problems
) -> Node:
    if base.fields is None or over.fields is None:
        return over
    fields = dict(base.fields)
    for name, change in over.fields.items():
        here = (*path, name)
        if change.value == ABSENT and _removable(here):
            if name in fields:
                removed[here] = fields.pop(name)
            else:
                where = ".".join(path) or "the file"
                problems.add(
                    change.at,
                    f"{quote(name)} is not in {where}, so it cannot be removed{suggest(name, fields)}",
                )
        elif name in fields:
            fields[name] = _merge(fields[name], change, here, removed, problems)
        else:
            fields[name] = change
    return Node(None, base.at, base.key, fields=fields)


def _removable(path: tuple[str, ...]) -> bool:
    return any(
        len(pattern) == len(path) and all(p in ("*", part) for p, part in zip(pattern, path, strict=True))
        for pattern in REMOVABLE
    )
