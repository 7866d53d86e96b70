"""Fixtures of several modules."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory, cache, state and sockets of this test alone."""
    (tmp_path / "shm").mkdir()
    monkeypatch.setenv("ORCH_RAM_DIR", str(tmp_path / "shm"))
    monkeypatch.setenv("ORCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("ORCH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
