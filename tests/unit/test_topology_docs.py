"""docs/topology.md lists the keys that the loader accepts, and its examples load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from topology_samples import REPOSITORY, completed, write

from orchestrator.topology.load import load_variants
from orchestrator.topology.tables import KEYS

TEXT = (REPOSITORY / "docs" / "topology.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## `([A-Za-z_.]+)`[^\n]*\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_every_table_has_a_section() -> None:
    assert set(SECTIONS) == {pattern or "file" for pattern in KEYS}


@pytest.mark.parametrize("pattern", KEYS)
def test_a_section_lists_exactly_the_keys_of_its_table(pattern: str) -> None:
    rows = re.findall(r"^\| `([a-z_]+)` \|", SECTIONS[pattern or "file"], re.MULTILINE)
    assert rows == sorted(rows, key=KEYS[pattern].index), "the order of the loader"
    assert tuple(rows) == KEYS[pattern]


def test_there_are_examples_of_every_section() -> None:
    for pattern, section in SECTIONS.items():
        assert "```toml" in section, pattern


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_loads_in_all_its_variants(example: str, tmp_path: Path) -> None:
    found = load_variants(write(tmp_path, completed(example)))
    assert all(topology.machines for topology in found.values())


def test_every_key_is_shown_in_an_example() -> None:
    shown = "\n".join(EXAMPLES)
    silent = {"networks", "images", "machines", "services", "suite", "variants", "checks", "phases"}  # headers
    for keys in KEYS.values():
        for key in set(keys) - silent:
            assert re.search(rf"(?<![A-Za-z]){key}(?![A-Za-z])[^\n]*=", shown), key
