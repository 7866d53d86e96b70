"""The kept facts of the evaluated machines, for the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/nix"

SERVERS = ("server-mock", "server-minimal", "server-full")
MACHINES = (*SERVERS, "client", "client-desktop")


def facts(name: str) -> dict[str, Any]:
    """A fresh copy of what an evaluation said, made by ``scripts/check-nix --update``."""
    found: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return found
