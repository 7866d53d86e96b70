"""A folder as a disk: everything is in it, it is made once, and what changed makes another."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from fake_qemu import run_async

from orchestrator.deadline import Deadline
from orchestrator.environment.suite_modules import LARGE_ENTRIES, large
from orchestrator.images.folder_disk import folder_disk, measure
from orchestrator.topology.model import Suite


def fill(folder: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def make(source: Path) -> tuple[Path, bool]:
    async def work() -> tuple[Path, bool]:
        return await folder_disk(source, measure(source), name="modules", deadline=Deadline.after(60))

    return run_async(work())


def tree(disk: Path, target: Path) -> dict[str, object]:
    """What debugfs finds on the disk."""
    target.mkdir()
    subprocess.run(["/usr/sbin/debugfs", "-R", f"rdump / {target}", disk], check=True, capture_output=True)
    return content(target)


def content(folder: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for base, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(base) / name
            inner = str(path.relative_to(folder))
            if inner != "lost+found":
                found[inner] = f"→ {path.readlink()}" if path.is_symlink() else path.is_dir() or path.read_bytes()
    return found


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_CACHE_DIR", str(tmp_path / "cache"))


def test_a_disk_holds_the_folder_and_is_made_once(tmp_path: Path) -> None:
    files = {"a/index.js": b"x", "@b/c d/é.js": b"y" * 100_000, "big": os.urandom(5 << 20)}
    source = fill(tmp_path / "node_modules", files)
    (source / ".bin").mkdir()
    (source / ".bin/a").symlink_to("../a/index.js")
    (source / "empty").mkdir()
    disk, cached = make(source)
    assert not cached
    assert tree(disk, tmp_path / "read") == content(source)
    assert make(source) == (disk, True)


def test_thousands_of_small_files_fit(tmp_path: Path) -> None:
    files = {f"{n % 50}/{n}.js": b"x" * (n % 9000) for n in range(4000)}
    source = fill(tmp_path / "node_modules", files)
    disk, _ = make(source)
    assert tree(disk, tmp_path / "read") == content(source)


def test_a_change_makes_another_disk(tmp_path: Path) -> None:
    source = fill(tmp_path / "node_modules", {"a.js": b"x", "b.js": b"y"})
    keys = {measure(source).key}
    (source / "a.js").write_bytes(b"z")
    os.utime(source / "a.js", ns=(1, 1))
    keys.add(measure(source).key)
    (source / "a.js").chmod(0o755)
    keys.add(measure(source).key)
    (source / "b.js").unlink()
    (source / "b.js").symlink_to("a.js")
    keys.add(measure(source).key)
    (source / "b.js").unlink()
    (source / "b.js").symlink_to("c.js")
    keys.add(measure(source).key)
    assert len(keys) == 5


def test_only_a_large_folder_becomes_a_disk(tmp_path: Path) -> None:
    suite = Suite("client", tmp_path, ("run",), "test", {}, "/artifacts", 60.0, ())
    assert large(suite) is None
    modules = fill(tmp_path / "node_modules", {"a/small.js": b"x"})
    assert large(suite) is None
    fill(modules, {f"a/{n}": b"" for n in range(LARGE_ENTRIES)})
    found = large(suite)
    assert found is not None
    assert found.entries > LARGE_ENTRIES
