"""Files, classes and functions of the package stay small enough to be read in one sitting."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "orchestrator"
LONGEST_FILE, LONGEST_CLASS, LONGEST_FUNCTION = 350, 200, 60  # lines


def too_long(path: Path, source: str) -> Iterator[str]:
    lines = len(source.splitlines())
    if lines > LONGEST_FILE:
        yield f"{path}: {lines} lines, at most {LONGEST_FILE}"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            most = LONGEST_CLASS
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            most = LONGEST_FUNCTION
        else:
            continue
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        if lines > most:
            yield f"{path}:{node.lineno}: {node.name} has {lines} lines, at most {most}"


def test_the_package_has_no_large_files_classes_and_functions() -> None:
    found = [
        complaint
        for path in sorted(PACKAGE.rglob("*.py"))
        for complaint in too_long(path.relative_to(PACKAGE.parent), path.read_text())
    ]
    assert found == []


def test_what_is_too_long_is_named() -> None:
    source = "class A:\n    def f(self):\n" + "        x = 1\n" * 200 + "y = 2\n" * 150
    assert [complaint.partition(" ")[2] for complaint in too_long(Path("a.py"), source)] == [
        "352 lines, at most 350",
        "A has 202 lines, at most 200",
        "f has 201 lines, at most 60",
    ]
