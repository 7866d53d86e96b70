"""Recipes and layer manifests: what is accepted, what is refused, what changes a key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orchestrator.errors import ImageError
from orchestrator.images.manifest import (
    BaseTree,
    Kind,
    LayerEntry,
    debugfs_errors,
    debugfs_script,
    layer_key,
    load_manifest,
)
from orchestrator.images.recipe import load_recipe

MINIMAL = 'name = "x"\nsuite = "trixie"\nsize = "1GiB"\npackages = ["a"]\n'
SHIPPED = Path(__file__).parents[2] / "debian-images"
BASE = BaseTree(
    {"/etc": Kind.DIRECTORY, "/etc/old": Kind.FILE, "/bin": Kind.SYMLINK},
    {"root": 0, "joe": 7},
    {"root": 0, "joe": 8},
)


def recipe(folder: Path, text: str) -> Path:
    path = folder / "x.toml"
    path.write_text(text)
    return path


def test_the_shipped_recipes_load() -> None:
    server, client = load_recipe(SHIPPED / "server.toml"), load_recipe(SHIPPED / "client.toml")
    assert {"postgresql-17-pgvector", "nginx-light", "openssh-server"} <= set(server.packages)
    assert "chromium-headless-shell" in client.packages
    assert server.kernel_parameters == client.kernel_parameters
    consoles = [one for one in server.kernel_parameters if one.startswith("console=")]
    assert consoles[-1].startswith("console=ttyS0")
    assert any(file.content.strip() == "create_main_cluster = false" for file in server.before)
    assert server.layer is not None
    assert server.layer.program.is_file()


def test_a_byte_order_mark_is_no_part_of_a_recipe_or_a_manifest(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load_recipe(tmp_path / "x.toml").name == "x"
    (tmp_path / "manifest.json").write_bytes(b'\xef\xbb\xbf{"entries": []}')
    assert load_manifest(tmp_path) == ()


def test_includes_are_joined_and_the_includer_wins(tmp_path: Path) -> None:
    (tmp_path / "common.toml").write_text('suite = "bookworm"\npackages = ["z"]\n[customize]\none = "1"\n')
    loaded = load_recipe(recipe(tmp_path, 'include = ["common.toml"]\n' + MINIMAL + '[customize]\ntwo = "2"\n'))
    assert loaded.packages == ("a", "z")
    assert loaded.suite == "trixie"
    assert loaded.customize == "1\n2"


def test_all_problems_are_said(tmp_path: Path) -> None:
    with pytest.raises(ImageError) as error:
        load_recipe(recipe(tmp_path, 'name = 1\nsuite = "x"\nsize = "big"\ncpus = 0\npackages = "a"\nnonsense = 1\n'))
    text = "\n".join(error.value.evidence)
    for key in ("name", "size", "cpus", "packages", "nonsense"):
        assert key in text


@pytest.mark.parametrize("line", ['size = "0MiB"', 'size = "1023KiB"', 'memory = "512KiB"'])
def test_a_size_that_nothing_fits_into_is_refused(tmp_path: Path, line: str) -> None:
    others = MINIMAL.replace('size = "1GiB"\n', "") if line.startswith("size") else MINIMAL
    with pytest.raises(ImageError) as error:
        load_recipe(recipe(tmp_path, f"{others}{line}\n"))
    assert error.value.evidence == (f'{line.split()[0]}: expected a size from 1MiB, like "512MiB" or "3GiB"',)


def test_missing_broken_and_circular_recipes(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="there is no recipe"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(ImageError, match="is not TOML"):
        load_recipe(recipe(tmp_path, "a = "))
    with pytest.raises(ImageError, match="includes itself"):
        load_recipe(recipe(tmp_path, 'include = ["x.toml"]\n' + MINIMAL).resolve())


def test_what_changes_the_base_key(tmp_path: Path) -> None:
    plain = load_recipe(recipe(tmp_path, MINIMAL)).base_key("1")
    for same in ("memory = 9\n", "cpus = 3\n", 'kernel_parameters = ["x"]\n', '[layer]\nprogram = "p"\n'):
        assert load_recipe(recipe(tmp_path, MINIMAL + same)).base_key("1") == plain
    for other in ('mirror = "http://m"\n', 'dpkg_exclude = ["/x"]\n', '[customize]\na = "b"\n'):
        assert load_recipe(recipe(tmp_path, MINIMAL + other)).base_key("1") != plain
    assert load_recipe(recipe(tmp_path, MINIMAL)).base_key("2") != plain


def test_the_script_for_debugfs() -> None:
    entries = [
        LayerEntry(Kind.FILE, "/etc/old", 0o640, "joe", "joe", Path("/src/a b"), "5ha"),
        LayerEntry(Kind.SYMLINK, "/opt/x/l", to="/dev/null"),
    ]
    assert debugfs_script(entries, BASE).splitlines() == [
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
    with pytest.raises(ImageError) as error:
        debugfs_script([entry], BASE)
    assert why in error.value.evidence[0]


def manifest(folder: Path, *entries: dict[str, str]) -> Path:
    (folder / "manifest.json").write_text(json.dumps({"entries": entries}))
    return folder


@pytest.mark.parametrize("target", ["relative", "/a b", "/a/../b", '/a"', "/a\n", "/<2>", "/"])
def test_targets_that_debugfs_would_misread_are_refused(tmp_path: Path, target: str) -> None:
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
        return layer_key("base", load_manifest(manifest(tmp_path, entry)), {})

    plain = key("one", "x")
    assert key("two", "x") == plain
    assert len({plain, key("one", "y"), key("one", "x", "0600"), key("one", "x", owner="joe")}) == 4


def test_debugfs_says_errors_only_on_stderr() -> None:
    assert debugfs_errors("debugfs 1.47.0 (5-Feb-2023)\n\n") == []
    assert debugfs_errors("debugfs 1.47.0 (5-Feb-2023)\nrm: File not found by ext2_lookup\n") == [
        "rm: File not found by ext2_lookup"
    ]
