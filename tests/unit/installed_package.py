"""A small distribution that is installed for the time of a test: a module, its metadata, its entry points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from textwrap import dedent

import pytest

from orchestrator import plugins
from orchestrator.log_patterns import log_patterns

Install = Callable[..., str]
_NUMBERS = count()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a package whose one module has this text; gives its name. ``{module}`` in a value is its name."""

    def add(text: str, **entry_points: str) -> str:
        name = f"foreign_{next(_NUMBERS)}"
        folder = tmp_path / name
        info = folder / f"{name}-1.5.dist-info"
        info.mkdir(parents=True)
        (folder / f"{name}.py").write_text(dedent(text))
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 1.5\n")
        groups = [f"[orchestrator.{group}]\n{value.format(module=name)}\n" for group, value in entry_points.items()]
        (info / "entry_points.txt").write_text("\n".join(groups))
        monkeypatch.syspath_prepend(folder)
        look_again()
        return name

    yield add
    monkeypatch.undo()
    look_again()


def look_again() -> None:
    plugins.look_again()
    log_patterns.cache_clear()
