"""What is generated from the descriptions of a recipe's keys: the tables of docs/images.md, and its JSON Schema.

``python -m orchestrator.images.recipe_reference`` in the repository writes both again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from orchestrator.images.recipe_keys import RECIPE_KEYS
from orchestrator.topology.reference import table_text
from orchestrator.topology.schema import DRAFT, table_schema

SCHEMA_FILE: Final = Path(__file__).with_name("recipe.schema.json")
DOCUMENT: Final = Path("docs/images.md")
MARKS: Final = ("<!-- generated: the keys of a recipe -->\n", "<!-- end of what is generated -->\n")


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema (draft 7) of a recipe. It accepts what the reader accepts, and cannot look at files."""
    definitions = {pattern: table_schema(keys) for pattern, keys in RECIPE_KEYS.items() if pattern}
    for pattern, definition in definitions.items():
        if pattern != "layer":
            definitions[pattern] = {"anyOf": [{"const": "absent"}, definition]}
    return {
        "$schema": DRAFT,
        "title": "orchestrator recipe",
        "description": "What a Debian image is made of.",
        **table_schema(RECIPE_KEYS[""]),
        "definitions": definitions,
    }


def schema_text() -> str:
    """The shipped schema."""
    return json.dumps(recipe_schema(), indent=2, ensure_ascii=False) + "\n"


def tables_text() -> str:
    """The tables of all keys, as Markdown."""
    parts = [table_text(RECIPE_KEYS[""])]
    parts += [f"### `{pattern}`\n\n{table_text(keys)}" for pattern, keys in RECIPE_KEYS.items() if pattern]
    return "\n" + "\n".join(parts) + "\n"


def updated(document: str) -> str:
    """docs/images.md with its tables written again."""
    begin, end = (document.index(mark) for mark in MARKS)
    return document[: begin + len(MARKS[0])] + tables_text() + document[end:]


def main() -> None:
    """Write the generated files of the repository again."""
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
    DOCUMENT.write_text(updated(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
