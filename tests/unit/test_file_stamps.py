"""What follows from files is known as long as they are as they were, whatever was done to them and their times."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator import file_stamps
from orchestrator.events.clock import wall_clock
from orchestrator.file_stamps import remember, remembered


@pytest.fixture(autouse=True)
def old_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were just made count as old ones."""
    monkeypatch.setattr(file_stamps, "RACE", -60.0)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/a").write_text("one")
    return tmp_path


def known(scene: Path, what: str = "v1") -> str | None:
    return remembered(scene / "record.json", what)


def note(scene: Path, begun: float | None = None) -> None:
    paths = [scene / "folder", scene / "folder/a"]
    remember(scene / "record.json", "v1", "the key", paths, begun=wall_clock() if begun is None else begun)


def test_a_value_is_known_until_what_it_depends_on_changes(scene: Path) -> None:
    assert known(scene) is None
    note(scene)
    assert known(scene) == "the key"
    assert known(scene, "v2") is None


def same_size(scene: Path) -> None:
    """Another content of the same length, with the times of the old one."""
    file = scene / "folder/a"
    before = file.stat()
    file.write_text("two")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(scene: Path) -> None:
    before = (scene / "folder/a").stat()
    (scene / "b").write_text("two")
    os.utime(scene / "b", ns=(before.st_atime_ns, before.st_mtime_ns))
    (scene / "b").replace(scene / "folder/a")


CHANGES: list[Callable[[Path], object]] = [
    same_size,
    replaced,
    lambda scene: (scene / "folder/a").chmod(0o755),
    lambda scene: (scene / "folder/a").unlink(),
    lambda scene: (scene / "folder/new").write_text(""),
    lambda scene: shutil.rmtree(scene / "folder"),
    lambda scene: (scene / "record.json").write_text("[]"),
    lambda scene: (scene / "record.json").write_text('{"boot": 1}'),
]


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_seen(scene: Path, change: Callable[[Path], object]) -> None:
    note(scene)
    change(scene)
    assert known(scene) is None


def test_after_a_reboot_nothing_is_known(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    note(scene)
    monkeypatch.setattr(file_stamps, "boot_id", lambda: "another")
    assert known(scene) is None


def test_a_file_that_may_change_again_within_the_same_time_is_not_trusted(
    scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_stamps, "RACE", 2.0)
    note(scene)
    assert not (scene / "record.json").exists()


def test_a_file_that_changed_while_it_was_read_is_not_trusted(scene: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_stamps, "RACE", 0.0)
    note(scene, begun=wall_clock() - 30.0)
    assert not (scene / "record.json").exists()
