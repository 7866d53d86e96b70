"""What is generated from the descriptions of the keys: the tables of docs/topology.md, and the shipped JSON Schema.

``python -m orchestrator.topology.reference`` in the repository writes both again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from orchestrator.topology.check_kind import CHECK_KINDS, CHECKS_TABLE
from orchestrator.topology.fault_kind import FAULT_KINDS, FAULTS_TABLE
from orchestrator.topology.keys import Key
from orchestrator.topology.schema import every_key, json_schema

SCHEMA_FILE: Final = Path(__file__).with_name("topology.schema.json")
DOCUMENT: Final = Path("docs/topology.md")
HEADER: Final = "| key | type | default | meaning |\n|---|---|---|---|\n"
END: Final = "<!-- end of what is generated -->\n"
EXAMPLES: Final = ("<!-- generated: an example of each kind of check -->\n", END)
FAULT_EXAMPLES: Final = ("<!-- generated: an example of each kind of fault -->\n", END)
FAULT_KINDS_TABLE: Final = ("<!-- generated: the kinds of faults -->\n", END)
FAULT_DOCUMENT: Final = Path("docs/faults.md")


def schema_text() -> str:
    """The shipped schema: what this program knows by itself."""
    return json.dumps(json_schema(own=True), indent=2, ensure_ascii=False) + "\n"


def table_text(keys: Mapping[str, Key]) -> str:
    """The table of some keys, as Markdown."""
    rows = (" | ".join((f"`{name}`", *key.cells)) for name, key in keys.items())
    return HEADER + "".join(f"| {row} |\n" for row in rows).replace("|  |", "| |")


def examples_text() -> str:
    """A service with a check of each kind, as TOML."""
    tables = ['[services.everything]\nmachine = "server"\nunit = "everything.service"\n']
    for name, kind in CHECK_KINDS.own().items():
        for number, example in enumerate(kind.examples, 1):
            own = name if number == 1 else f"{name}-{number}"
            tables.append(f"[services.everything.checks.{own}]\n{example.strip()}\n")
    return "```toml\n" + "\n".join(tables) + "```\n"


def fault_examples_text() -> str:
    """A fault of each kind, as TOML."""
    tables = []
    for name, kind in FAULT_KINDS.own().items():
        for number, example in enumerate(kind.examples, 1):
            own = f"a-{name}" if number == 1 else f"a-{name}-{number}"
            tables.append(f'[faults.{own}]\nkind = "{name}"\n{example.strip()}\n')
    return "```toml\n" + "\n".join(tables) + "```\n"


def fault_kinds_text() -> str:
    """The kinds of faults as a table."""
    head = "| kind | on | what happens | engine |\n|---|---|---|---|\n"
    kinds = FAULT_KINDS.own().items()
    return head + "".join(f"| `{name}` | {kind.scope} | {kind.meaning} | {kind.engine} |\n" for name, kind in kinds)


def with_fault_kinds(document: str) -> str:
    """docs/faults.md with its table of kinds written again."""
    return _between(document, FAULT_KINDS_TABLE, 0, fault_kinds_text())


def _between(document: str, marks: tuple[str, str], start: int, text: str) -> str:
    begin = document.index(marks[0], start) + len(marks[0])
    return document[:begin] + text + document[document.index(marks[1], begin) :]


def updated(document: str) -> str:
    """docs/topology.md with its tables of keys, and the examples of checks, written again."""
    for pattern, keys in every_key(own=True).items():
        heading = f"## `{pattern or 'file'}`"
        start = document.index(heading)
        begin = document.index(HEADER, start)
        end = begin + len(re.match(r"(?:\|.*\n)+", document[begin:])[0])  # type: ignore[index]
        document = document[:begin] + table_text(keys) + document[end:]
        if pattern == CHECKS_TABLE:
            document = _between(document, EXAMPLES, start, examples_text())
        if pattern == FAULTS_TABLE:
            document = _between(document, FAULT_EXAMPLES, start, fault_examples_text())
    return document


def main() -> None:
    """Write the generated files of the repository again."""
    SCHEMA_FILE.write_text(schema_text(), encoding="utf-8")
    DOCUMENT.write_text(updated(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
    FAULT_DOCUMENT.write_text(with_fault_kinds(FAULT_DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
