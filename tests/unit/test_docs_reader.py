"""What a first reader meets: the README's examples are real, and no page needs a private language."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from topology_samples import REPOSITORY, write

from orchestrator.topology.load import load_variants

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
GLOSSARY = (REPOSITORY / "docs" / "glossary.md").read_text(encoding="utf-8")
PAGES = sorted(page for part in ("*.md", "docs/**/*.md", "examples/**/*.md") for page in REPOSITORY.glob(part))
ENTRIES = re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \|$", GLOSSARY, re.MULTILINE)

# Each was a word of this house once, or is no idiomatic English; the right column is what to write.
INSTEAD = {
    r"mend(s|ed|ing)?": "fix",
    r"anew": "again",
    r"(stand(s|ing)?|stood) still": "is paused",
    r"leavings": "leftovers",
    r"worlds?": "fresh state",
    r"gat(ed|ing)": "waits for",
    r"acceptances?": "waiver",
    r"beside": "next to",
    r"is told": "is reported",
    r"are told": "are reported",
    r"rests on": "depends on",
    r"(?<!there )is no (folder|file|option|secure|key|name|run)": "is not a …",
}
# Other meanings of these words: a compose file for the world, and so on.
ALLOWED = re.compile(r"hello world", re.IGNORECASE)


def ids(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def test_the_glossary_has_at_most_fifteen_entries_of_one_line() -> None:
    rows = [line for line in GLOSSARY.splitlines() if line.startswith("|")][2:]
    assert len(rows) == len(ENTRIES) <= 15
    for word, meaning in ENTRIES:
        assert meaning.endswith("."), word
        assert len(meaning) <= 120, word


@pytest.mark.parametrize("word", [word for word, _ in ENTRIES])
def test_a_word_of_the_glossary_is_used(word: str) -> None:
    others = "\n".join(page.read_text(encoding="utf-8") for page in PAGES if page.name != "glossary.md")
    assert re.search(rf"\b{word.rstrip('e')}", others, re.IGNORECASE)


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_a_page_is_in_plain_words(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)
    for pattern, better in INSTEAD.items():
        for found in re.finditer(rf"\b(?:{pattern})\b", prose):
            line = prose[: found.start()].count("\n") + 1
            around = prose[max(0, found.start() - 60) : found.end() + 20]
            assert ALLOWED.search(around), f"{ids(page)}, about line {line}: {found[0]!r}, write {better!r}: {around!r}"


def literals(source: str) -> Iterator[tuple[int, str]]:
    """The texts of a module that a user may see: string literals of several words, no docstrings."""
    tree = ast.parse(source)
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, documented) and node.body and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in docstrings:
            continue
        if re.search(r"[a-z]{2,} [a-z]", node.value):
            yield node.lineno, node.value


@pytest.mark.parametrize("module", sorted((REPOSITORY / "orchestrator").rglob("*.py")), ids=ids)
def test_what_the_program_prints_is_in_plain_words(module: Path) -> None:
    for line, text in literals(module.read_text(encoding="utf-8")):
        for pattern, better in INSTEAD.items():
            assert not re.search(rf"\b(?:{pattern})\b", text), f"{ids(module)}:{line}: write {better!r}: {text!r}"


def test_the_topology_of_the_readme_loads(tmp_path: Path) -> None:
    [block] = re.findall(r"^```toml\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    [topology] = load_variants(write(tmp_path, block)).values()
    assert set(topology.services) == {"postgresql", "backend"}
    assert all(service.checks for service in topology.services.values())


def test_the_output_in_the_readme_is_whole_and_in_order() -> None:
    lines = [line for line in README.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert len(lines) >= 10
    assert [line[:8] for line in lines] == sorted(line[:8] for line in lines)
    recorded = (REPOSITORY / "docs" / "pictures" / "run.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in recorded if line in lines] == lines, "whole lines of scripts/pictures' last run"


@pytest.mark.parametrize("name", ["board.svg", "report.png"])
def test_a_picture_needs_nothing_else(name: str) -> None:
    content = (REPOSITORY / "docs" / "pictures" / name).read_bytes()
    assert f"docs/pictures/{name}" in README
    if name.endswith(".svg"):
        assert not re.search(rb"(href|src|url)\s*[=(]\s*[\"']?\s*https?:", content), "a picture that needs the network"
    else:
        assert content.startswith(b"\x89PNG")
        assert len(content) < 400_000
