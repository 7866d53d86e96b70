"""Keys of images that are known without reading their recipes, and when they are found out again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import file_stamps
from orchestrator.deadline import Deadline
from orchestrator.events import EventBus
from orchestrator.images.cache import ENTRY_FILE, ImageCache
from orchestrator.images.contract import BuiltImage
from orchestrator.images.provider_kind import Build
from orchestrator.images.providers import debian
from orchestrator.images.recipe_load import load_recipe

RECIPE = """\
include = ["more.toml.j2"]
packages = ["systemd"]
files."/etc/motd".source = "motd"
folders."/srv".source = "tree"
"""
MORE = '{% include "part" %}\n\nunits."x.service".Service.ExecStart = "/bin/{{ variant }}"\n'


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(file_stamps, "RACE", -60.0)
    (tmp_path / "tree/inner").mkdir(parents=True)
    for name, text in (
        ("tiny.toml", RECIPE),
        ("more.toml.j2", MORE),
        ("part", 'files."/etc/part".content = "p"'),
        ("motd", "hello"),
        ("tree/inner/a", "a"),
    ):
        (tmp_path / name).write_text(text)
    return tmp_path


def build(place: Path, variant: str = "mock", units: frozenset[str] = frozenset()) -> BuiltImage:
    """The image; whatever it comes to is in the cache already."""
    cache = ImageCache(place / "cache/images")
    job = Build("tiny", place, variant, (), units, cache, EventBus(), Deadline.after(60), asyncio.Lock())

    async def obtained(name: str, layer: str, key: str, *_: object, **__: object) -> tuple[Path, bool]:
        path = cache.path_of(name, layer, key)
        path.mkdir(parents=True, exist_ok=True)
        (path / ENTRY_FILE).write_text(json.dumps({"name": name, "layer": layer, "key": key, "created": 1.0}))
        return path, True

    cache.obtain = obtained  # type: ignore[method-assign]
    return asyncio.run(debian.DebianImage(place / "tiny.toml").build(job))


@pytest.fixture
def recipes_read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    found: list[Path] = []

    def counted(path: Path, *, variant: str = "") -> object:
        found.append(path)
        return load_recipe(path, variant=variant)

    monkeypatch.setattr("orchestrator.images.debian.load_recipe", counted)
    return found


def test_a_recipe_is_read_once_for_each_variant_and_set_of_units(place: Path, recipes_read: list[Path]) -> None:
    keys = [build(place).key, build(place).key, build(place, "full").key, build(place, units=frozenset({"a"})).key]
    assert len(recipes_read) == 3
    assert len({*keys}) == 3
    assert keys[0] == keys[1]


CHANGES: list[Callable[[Path], object]] = [
    lambda place: (place / "motd").write_text("other"),
    lambda place: (place / "motd").chmod(0o755),
    lambda place: (place / "part").write_text('files."/etc/part".content = "q"'),
    lambda place: (place / "more.toml.j2").write_text('{% include "part" %}\n'),
    lambda place: (place / "tree/inner/a").write_text("b"),
    lambda place: (place / "tree/inner/new").write_text(""),
    lambda place: (place / "tree/other").mkdir(),
    lambda place: (place / "tiny.toml").write_text(RECIPE + "\n[users.u]\n"),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_any_file_makes_another_key(
    place: Path, recipes_read: list[Path], change: Callable[[Path], object]
) -> None:
    before = build(place).key
    change(place)
    assert build(place).key != before
    assert len(recipes_read) == 2


def test_an_image_that_was_removed_is_built_again(place: Path, recipes_read: list[Path]) -> None:
    image = build(place)
    (image.path / ENTRY_FILE).unlink()
    assert build(place).key == image.key
    assert len(recipes_read) == 2


def test_what_a_program_makes_is_never_known_beforehand(place: Path, recipes_read: list[Path]) -> None:
    (place / "make.py").write_text(
        "import json, pathlib, sys\n"
        "pathlib.Path(sys.argv[-1], 'manifest.json').write_text(json.dumps({'entries': []}))\n"
    )
    (place / "tiny.toml").write_text(RECIPE + '[layer]\nprogram = "make.py"\n')
    assert build(place).key == build(place).key
    assert len(recipes_read) == 2
