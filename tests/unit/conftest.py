"""Fixtures of several modules."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_guest import Client, make_home


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever runs Playwright takes seconds: it is for the slow part."""
    for item in items:
        if "playwright_home" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory, cache, state and sockets of this test alone."""
    (tmp_path / "shm").mkdir()
    monkeypatch.setenv("ORCH_RAM_DIR", str(tmp_path / "shm"))
    monkeypatch.setenv("ORCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("ORCH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))


@pytest.fixture(scope="session")
def playwright_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Playwright and the tools of the client's image, as in its /opt/e2e."""
    return make_home(tmp_path_factory.mktemp("playwright"))


@pytest.fixture
def client(tmp_path: Path, playwright_home: Path, monkeypatch: pytest.MonkeyPatch) -> Client:
    """A client machine that is this host, for suites of a test's own making."""
    return Client(tmp_path, playwright_home, monkeypatch)
