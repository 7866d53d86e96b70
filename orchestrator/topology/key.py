"""What is said of one key of a topology file: its type, its default, its meaning. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.topology.value_types import Shape, Type

REQUIRED: Final = "required"
NOTHING: Final = "none"


@dataclass(frozen=True, slots=True)
class Key:
    """A key of a table.

    Attributes:
        meaning: a cell of docs/topology.md, and what an editor shows; Markdown, one line.
        default: what holds without it, as a cell; `REQUIRED` where there must be one.
        type_text: the type as a cell, where its own words say too little.
    """

    type: Type
    meaning: str
    default: str = NOTHING
    type_text: str = ""

    @property
    def required(self) -> bool:
        return self.default == REQUIRED

    @property
    def cells(self) -> tuple[str, str, str]:
        """Type, default and meaning."""
        return self.type_text or self.type.text, self.default, self.meaning


def named_reference(word: str) -> Shape:
    return Shape(f"name of {word}", {"$ref": "#/definitions/name"})


NAME_SHAPE: Final = Shape("name", {"$ref": "#/definitions/name"})
