"""docs/events.md is what the classes of the events say."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, is_dataclass

import pytest
from cli_process import ROOT

from orchestrator.events import Event
from orchestrator.events.base import KINDS
from orchestrator.events.reference import described, reference

DOCUMENT = ROOT / "docs" / "events.md"


def test_the_document_is_current() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == reference(), (
        "run: python -m orchestrator.events.reference > docs/events.md"
    )


def test_it_can_be_made_by_the_command_that_it_names() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.events.reference"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == reference()


@pytest.mark.parametrize("cls", KINDS.values(), ids=KINDS)
def test_every_kind_and_every_field_is_described(cls: type[Event]) -> None:
    text, meanings = described(cls)
    assert text.endswith(".")
    assert {one.name for one in fields(cls)} - {"subject", "time", "at"} == meanings.keys() - {"subject"}
    assert all(meanings.values())
    assert f"### `{cls.kind}`" in DOCUMENT.read_text(encoding="utf-8")


@pytest.mark.parametrize("cls", KINDS.values(), ids=KINDS)
def test_events_are_frozen_and_have_slots(cls: type[Event]) -> None:
    assert is_dataclass(cls)
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert "__dict__" not in dir(cls)


def test_commands_that_only_look_do_not_load_the_kinds() -> None:
    """Making twenty classes takes as long as reading a state file."""
    code = "import sys, orchestrator.cli.exec, orchestrator.cli.status, orchestrator.cli.logs; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    loaded = set(done.stdout.split())
    assert "orchestrator.events" in loaded
    assert not loaded & {f"orchestrator.events.{name}" for name in ("run", "machines", "services", "suite", "read")}
