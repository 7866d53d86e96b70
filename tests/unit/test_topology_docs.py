"""docs/topology.md lists the keys that the loader accepts, and its examples load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from topology_samples import REPOSITORY, completed, write

from orchestrator.topology.load import load_variants
from orchestrator.topology.reference import table_text, updated
from orchestrator.topology.schema import every_key

KEYS = every_key(own=True)
TEXT = (REPOSITORY / "docs" / "topology.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## `([A-Za-z_.]+)`[^\n]*\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)


def test_every_table_has_a_section() -> None:
    assert set(SECTIONS) == {pattern or "file" for pattern in KEYS}


@pytest.mark.parametrize("pattern", KEYS)
def test_the_table_of_a_section_says_what_the_descriptions_say(pattern: str) -> None:
    assert table_text(KEYS[pattern]) in SECTIONS[pattern or "file"], "python -m orchestrator.topology.reference"


def test_nothing_else_that_is_generated_differs() -> None:
    assert updated(TEXT) == TEXT, "python -m orchestrator.topology.reference"


def test_there_are_examples_of_every_section() -> None:
    for pattern, section in SECTIONS.items():
        assert "```toml" in section, pattern


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_loads_in_all_its_variants(example: str, tmp_path: Path) -> None:
    found = load_variants(write(tmp_path, completed(example)))
    assert all(topology.machines for topology in found.values())


def test_every_key_is_shown_in_an_example() -> None:
    shown = "\n".join(EXAMPLES)
    silent = {
        "networks",
        "images",
        "layers",
        "machines",
        "services",
        "suite",
        "variants",
        "checks",
        "phases",
        "matrix",
        "include",
        "exclude",
        "nightly",
        "quarantine",
        "retention",
        "notify",
        "scenarios",
    }  # headers
    for keys in KEYS.values():
        for key in set(keys) - silent:
            assert re.search(rf"(?<![A-Za-z]){key}(?![A-Za-z])[^\n]*=", shown), key
