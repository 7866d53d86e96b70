"""The manifest of a recipe's program, the commands for debugfs, and what changes the key of an image."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.errors import ImageError
from orchestrator.images.debian_content import Content
from orchestrator.images.manifest import BaseTree, Kind, LayerEntry, debugfs_errors, debugfs_script, load_manifest

BASE = BaseTree(
    {"/etc": Kind.DIRECTORY, "/etc/old": Kind.FILE, "/bin": Kind.SYMLINK},
    {"root": 0, "joe": 7},
    {"root": 0, "joe": 8},
)


def test_a_byte_order_mark_is_no_part_of_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b'\xef\xbb\xbf{"entries": []}')
    assert load_manifest(tmp_path) == ()


def test_the_script_for_debugfs() -> None:
    entries = [
        LayerEntry(Kind.FILE, "/etc/old", 0o640, "joe", "joe", Path("/src/a b"), "5ha"),
        LayerEntry(Kind.SYMLINK, "/opt/x/l", to="/dev/null"),
    ]
    problems: list[str] = []
    assert debugfs_script(entries, BASE, problems).splitlines() == [
        "rm /etc/old",
        "cd /etc",
        "write sources/5ha old",
        "cd /",
        "sif /etc/old mode 0100640",
        "sif /etc/old uid 7",
        "sif /etc/old gid 8",
        "mkdir /opt",
        "sif /opt mode 040755",
        "sif /opt uid 0",
        "sif /opt gid 0",
        "mkdir /opt/x",
        "sif /opt/x mode 040755",
        "sif /opt/x uid 0",
        "sif /opt/x gid 0",
        "symlink /opt/x/l /dev/null",
    ]
    assert problems == []


def test_names_with_blanks_and_quotes_are_one_word_for_debugfs() -> None:
    entry = LayerEntry(Kind.SYMLINK, '/etc/a "b"', to="/to a")
    assert debugfs_script([entry], BASE, []) == 'symlink "/etc/a ""b""" "/to a"\n'


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (LayerEntry(Kind.FILE, "/etc/n", owner="ann", source=Path("/s")), "no user ann"),
        (LayerEntry(Kind.FILE, "/bin/n", source=Path("/s")), "/bin is a symlink"),
        (LayerEntry(Kind.FILE, "/etc", source=Path("/s")), "cannot replace the directory"),
        (LayerEntry(Kind.DIRECTORY, "/etc/old"), "cannot replace the file"),
    ],
)
def test_what_does_not_fit_the_base_is_refused(entry: LayerEntry, why: str) -> None:
    problems: list[str] = []
    debugfs_script([entry], BASE, problems)
    (line,) = problems
    assert line.startswith(f"{entry.target}: ")
    assert why in line


def manifest(folder: Path, *entries: dict[str, str]) -> Path:
    (folder / "manifest.json").write_text(json.dumps({"entries": entries}))
    return folder


@pytest.mark.parametrize("target", ["relative", "/a/../b", "/a\n", "/a\x00b", "/", "//a"])
def test_targets_that_are_no_plain_path_are_refused(tmp_path: Path, target: str) -> None:
    with pytest.raises(ImageError, match="manifest is wrong"):
        load_manifest(manifest(tmp_path, {"type": "directory", "target": target, "mode": "0755"}))


def test_the_same_target_twice_and_a_missing_source_are_refused(tmp_path: Path) -> None:
    twice = {"type": "directory", "target": "/a", "mode": "0755"}
    lost = {"type": "file", "target": "/b", "mode": "0644", "source": "nowhere"}
    with pytest.raises(ImageError) as error:
        load_manifest(manifest(tmp_path, twice, twice, lost))
    assert len(error.value.evidence) == 2
    with pytest.raises(ImageError, match=r"no usable manifest\.json"):
        load_manifest(tmp_path / "none")


def test_the_layer_key_follows_content_owner_and_mode_but_not_the_place(tmp_path: Path) -> None:
    def key(name: str, content: str, mode: str = "0644", owner: str = "root") -> str:
        (tmp_path / name).write_text(content)
        entry = {"type": "file", "target": "/b", "mode": mode, "source": name, "owner": owner}
        return Content(load_manifest(manifest(tmp_path, entry)), (), (), {}).key("base")

    plain = key("one", "x")
    assert key("two", "x") == plain
    assert len({plain, key("one", "y"), key("one", "x", "0600"), key("one", "x", owner="joe")}) == 4


def test_debugfs_says_errors_only_on_stderr() -> None:
    assert debugfs_errors("debugfs 1.47.0 (5-Feb-2023)\n\n") == []
    assert debugfs_errors("debugfs 1.47.0 (5-Feb-2023)\nrm: File not found by ext2_lookup\n") == [
        "rm: File not found by ext2_lookup"
    ]
