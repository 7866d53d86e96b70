"""`orchestrator.api` and `orchestrator.sync` are what the driver's classes make of them."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import orchestrator.api
import orchestrator.sync
from orchestrator.cli.api_reference import reference
from orchestrator.driver.generate import CLASSES, TITLES, formatted, generate

PACKAGE = Path(orchestrator.sync.__file__).parents[1]


@pytest.mark.parametrize("flavour", TITLES)
def test_they_are_generated_from_the_driver_of_today(flavour: str) -> None:
    text = (PACKAGE / flavour / "__init__.py").read_text()
    assert text == formatted(generate(flavour)), "run: python -m orchestrator.driver.generate"


@pytest.mark.parametrize("name", CLASSES)
def test_both_have_the_same_names_and_only_one_is_awaited(name: str) -> None:
    plain, awaited = vars(getattr(orchestrator.sync, name)), vars(getattr(orchestrator.api, name))
    public = {key for key in plain if not key.startswith("_")}
    assert public == {key for key in awaited if not key.startswith("_")}
    assert not any(inspect.iscoroutinefunction(plain[key]) for key in public)


@pytest.mark.parametrize("name", CLASSES)
def test_everything_public_is_documented(name: str) -> None:
    cls = getattr(orchestrator.sync, name)
    missing = [key for key in dir(cls) if not key.startswith("_") and not inspect.getdoc(getattr(cls, key))]
    assert missing == [] and inspect.getdoc(cls)


def test_the_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, orchestrator.sync; print([m for m in ('paramiko', 'qemu', 'jinja2', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_reference_is_made_from_the_docstrings() -> None:
    text = (PACKAGE.parent / "docs" / "api.md").read_text()
    assert text == reference(), "run: python -m orchestrator.cli.api_reference > docs/api.md"
