"""The Debian provider. mmdebstrap is a script that packs a small tree; mke2fs, debugfs and e2fsck are the real ones."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from event_records import of

from orchestrator.deadline import Deadline
from orchestrator.errors import ImageError, RecipeError, TimeLimit
from orchestrator.events import Event, EventBus
from orchestrator.events.machines import ImageOutput, ImageStateChanged
from orchestrator.images.cache import ImageCache
from orchestrator.images.contract import BuiltImage
from orchestrator.images.debian import build_debian
from orchestrator.images.debian_base import as_root, early_archive, mmdebstrap_argv
from orchestrator.images.debian_host import HostFacts, problems, search_path
from orchestrator.images.provider_kind import Build
from orchestrator.images.recipe_load import load_recipe

RECIPE = """
name = "tiny"
suite = "trixie"
size = "64MiB"
memory = "256MiB"
packages = ["bb", "aa", "bb"]
kernel_parameters = ["root=/dev/vda"]
[files."/etc/early"]
early = true
mode = "0600"
content = "x"
[run]
one = "echo one"
[layer]
program = "render.py"
arguments = ["--machine", "tiny"]
"""

RENDER = """
import json, pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
variant = sys.argv[sys.argv.index("--variant") + 1]
if variant == "broken":
    sys.exit("no such variant")
(out / "x").write_text(variant)
json.dump({"entries": [
    {"type": "file", "target": "/opt/new/x", "source": "x", "mode": "0640", "owner": "alicia", "group": "alicia"},
    {"type": "file", "target": "/etc/old", "source": "x", "mode": "0755"},
    {"type": "directory", "target": "/var/mine", "mode": "0700", "owner": "alicia", "group": "alicia"},
    {"type": "symlink", "target": "/etc/link", "to": "/dev/null"},
]}, open(out / "manifest.json", "w"))
"""

MMDEBSTRAP = f"""#!{sys.executable}
import os, sys, tarfile
print("I: installing packages")
open(os.environ["CALLS"], "a").write("x")
if os.path.exists(os.environ["CALLS"] + ".fail"):
    print("E: Unable to locate package aa")
    sys.exit(100)
with tarfile.open(sys.argv[-2], "w") as tar:
    tar.add(os.environ["TREE"], ".")
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for tool in ("mke2fs", "debugfs", "e2fsck", "tar"):
        if not shutil.which(tool, path=search_path()):
            pytest.skip(f"{tool} is not installed")
    if os.geteuid() != 0:
        pytest.skip("rootless builds need subordinate ids; tests/vm covers them")
    tree = tmp_path / "tree"
    for folder in ("boot", "etc", "var", "bin", "dev"):
        (tree / folder).mkdir(parents=True)
    (tree / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\nalicia:x:990:991::/:/bin/sh\n")
    (tree / "etc/group").write_text("root:x:0:\nalicia:x:991:\n")
    (tree / "etc/old").write_text("from the package")
    (tree / "boot/vmlinuz-6.1").write_text("kernel")
    (tree / "boot/initrd.img-6.1").write_text("initrd")
    (tmp_path / "tiny.toml").write_text(RECIPE)
    (tmp_path / "render.py").write_text(RENDER)
    (tmp_path / "path").mkdir()
    fake = tmp_path / "path/mmdebstrap"
    fake.write_text(MMDEBSTRAP)
    fake.chmod(0o755)
    other = tmp_path / "path/qemu-img"
    other.write_text("#!/bin/sh\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/path:{os.environ['PATH']}")
    monkeypatch.setenv("TREE", str(tree))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    return tmp_path


def build(
    place: Path,
    events: list[Event],
    variant: str = "mock",
    limit: float = 120,
    units: frozenset[str] = frozenset(),
) -> BuiltImage:
    bus = EventBus()
    bus.subscribe(events.append)
    return asyncio.run(
        build_debian(
            Build(
                "tiny-image",
                place,
                variant,
                (),
                units,
                ImageCache(place / "cache"),
                bus,
                Deadline.after(limit),
                asyncio.Lock(),
            ),
            place / "tiny.toml",
        )
    )


def debugfs(image: BuiltImage, command: str) -> str:
    argv = ["debugfs", "-R", command, str(image.path / "root.raw")]
    return subprocess.run(
        argv, capture_output=True, text=True, check=True, env={**os.environ, "PATH": search_path()}
    ).stdout


def test_an_image_is_built_in_two_layers_and_cached(place: Path) -> None:
    events: list[Event] = []
    image = build(place, events)
    assert not image.cached
    assert image.run_script.name == "run-tiny-vm"
    assert (image.path / "vmlinuz").read_text() == "kernel"
    assert (image.path / "initrd.img").read_text() == "initrd"
    assert (image.path / "kernel-params").read_text() == "root=/dev/vda\n"
    assert (image.path / "root.raw").stat().st_size == 64 << 20
    assert ("I: installing packages", "packages") in [(event.line, event.step) for event in of(events, ImageOutput)]
    assert [event.state for event in of(events, ImageStateChanged)] == [
        "building",
        "building",
    ]

    again = build(place, events)
    assert again.cached
    assert again.path == image.path
    assert (place / "calls").read_text() == "x"


def test_the_layer_has_its_owners_modes_links_and_replaces_files(place: Path) -> None:
    image = build(place, [])
    assert debugfs(image, "cat /opt/new/x") == "mock"
    assert debugfs(image, "cat /etc/old") == "mock"
    new = debugfs(image, "stat /opt/new/x")
    assert "Mode:  0640" in new
    assert "User:   990   Group:   991" in new
    assert "Mode:  0755" in debugfs(image, "stat /etc/old")
    assert "Mode:  0755" in debugfs(image, "stat /opt/new")
    mine = debugfs(image, "stat /var/mine")
    assert "Type: directory" in mine
    assert "Mode:  0700" in mine
    assert 'Fast link dest: "/dev/null"' in debugfs(image, "stat /etc/link")


def test_the_boot_starts_no_service_of_the_topology(place: Path) -> None:
    wants = place / "tree/etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    for unit in ("redis.service", "cron.service", "ssh.service"):
        (wants / unit).symlink_to(f"/usr/lib/systemd/system/{unit}")
    image = build(place, [], units=frozenset(["redis.service", "ssh.service"]))
    listed = debugfs(image, "ls -p /etc/systemd/system/multi-user.target.wants")
    assert "cron.service" in listed
    assert "ssh.service" in listed, "without it nobody gets in"
    assert "redis.service" not in listed


def test_an_owner_that_the_image_does_not_have_is_told_with_its_place(place: Path) -> None:
    text = RECIPE + '[files."/opt/mine"]\ncontent = ""\nowner = "ann"\ngroup = "bob"\n'
    (place / "tiny.toml").write_text(text)
    with pytest.raises(RecipeError, match="does not fit what it installs") as error:
        build(place, [])
    (line,) = error.value.evidence
    assert line == f"{place}/tiny.toml:17:8: /opt/mine: the image has no user ann"


def test_other_content_makes_another_image_on_the_same_base(place: Path) -> None:
    one, two = build(place, []), build(place, [], variant="full")
    assert one.path != two.path
    assert debugfs(two, "cat /opt/new/x") == "full"
    assert debugfs(one, "cat /opt/new/x") == "mock"
    assert (place / "calls").read_text() == "x"


def test_another_package_makes_another_base(place: Path) -> None:
    build(place, [])
    (place / "tiny.toml").write_text(RECIPE.replace('"bb", "aa"', '"bb", "cc"'))
    assert not build(place, []).cached
    assert (place / "calls").read_text() == "xx"


def test_a_failed_package_step_says_its_last_lines_and_keeps_the_log(place: Path) -> None:
    (place / "calls.fail").touch()
    with pytest.raises(RecipeError, match="the packages or steps of the recipe failed") as error:
        build(place, [])
    assert error.value.evidence[0] == f"{place}/tiny.toml:6:19: there is no package aa in trixie for amd64"
    (log,) = error.value.where
    assert "Unable to locate" in Path(log).read_text()
    assert ImageCache(place / "cache").list_images() == []


def test_an_image_for_another_processor_says_what_the_host_lacks(place: Path) -> None:
    tool = place / "path/mmdebstrap"
    tool.write_text("#!/bin/sh\necho E: arm64 can neither be executed natively nor via binfmt_misc >&2\nexit 25\n")
    with pytest.raises(ImageError, match="mmdebstrap exited with 25") as error:
        build(place, [])
    assert "install qemu-user-static and binfmt-support" in error.value.hint


def test_a_build_that_takes_too_long_names_image_log_and_option(place: Path) -> None:
    tool = place / "path/mmdebstrap"
    tool.write_text("#!/bin/sh\necho I: still running\nexec sleep 600\n")
    with pytest.raises(TimeLimit, match="image tiny-image was not built within") as error:
        build(place, [], limit=3)
    (log,) = error.value.where
    assert "still running" in Path(log).read_text()
    assert "--wait-timeout" in error.value.hint


def test_a_layer_program_that_fails_is_quoted(place: Path) -> None:
    with pytest.raises(ImageError, match="could not be rendered") as error:
        build(place, [], variant="broken")
    assert error.value.evidence == ("no such variant",)


def test_the_mmdebstrap_command(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    recipe = load_recipe(tmp_path / "tiny.toml")
    argv = mmdebstrap_argv(recipe, early=Path("/a b/early.tar"), output=Path("/c/root.tar"), rootless=True)
    assert argv[:5] == ["mmdebstrap", "--mode=unshare", "--variant=minbase", "--format=tar", "--architectures=amd64"]
    assert "--include=aa,bb" in argv
    assert "--essential-hook=tar-in /a\\ b/early.tar /" in argv
    assert argv[-3:] == ["trixie", "/c/root.tar", "http://deb.debian.org/debian"]
    assert mmdebstrap_argv(recipe, early=Path("/e"), output=Path("/o"), rootless=False)[1] == "--mode=root"
    assert as_root(["rm"], rootless=True) == ["unshare", "--map-auto", "--map-root-user", "rm"]
    assert as_root(["rm"], rootless=False) == ["rm"]


def test_early_files_belong_to_root(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    archive = tmp_path / "early.tar"
    archive.write_bytes(early_archive(load_recipe(tmp_path / "tiny.toml")))
    with tarfile.open(archive) as tar:
        early = tar.getmember("./etc/early")
        assert (early.uid, early.mode) == (0, 0o600)
        script = tar.extractfile("./var/tmp/customize.sh")
        assert script is not None
        assert script.read() == b"echo 'orchestrator: step run one'\necho one\n"


def test_every_problem_of_the_host_is_said_at_once() -> None:
    bad = HostFacts(
        missing={"mmdebstrap": "mmdebstrap", "debugfs": "e2fsprogs"},
        free=5 << 20,
        rootless=True,
        user="joe",
        subids=0,
        namespaces=False,
    )
    found = problems(bad, needed=3 << 30)
    assert len(found) == 5
    assert "debugfs is missing (package e2fsprogs)" in found
    assert any("5 MiB are free" in line and "3072 MiB" in line for line in found)
    assert any("--add-subuids 100000-165535" in line and "joe" in line for line in found)
    good = HostFacts(missing={}, free=4 << 30, rootless=False, user="root", subids=0, namespaces=None)
    assert problems(good, needed=3 << 30) == []
