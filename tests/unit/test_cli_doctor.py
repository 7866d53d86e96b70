"""doctor: the judgement of each item without the host, then the whole screen on this one."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from cli_process import Cli

from orchestrator.cli import doctor_items as look
from orchestrator.cli import doctor_space as room
from orchestrator.cli.doctor import screen, verdict
from orchestrator.cli.doctor_items import Item, State
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.images.cache import ImageCache
from orchestrator.images.debian_base import BUILDER
from orchestrator.images.debian_host import HostFacts
from orchestrator.images.provider import provider_of
from orchestrator.images.providers.debian import DebianImage
from orchestrator.images.recipe_base import base_key
from orchestrator.images.recipe_load import load_recipe
from orchestrator.topology.load import load_topology
from orchestrator.topology.model import Topology
from orchestrator.vm import accelerator
from orchestrator.vm.accelerator import Accelerator


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def topology(cli: Cli) -> Topology:
    return load_topology(cli.folder / "orchestrator.toml")


def facts(**changes: object) -> HostFacts:
    values: dict[str, object] = {
        "missing": {},
        "free": 1 << 40,
        "rootless": False,
        "user": "u",
        "subids": 0,
        "namespaces": True,
    }
    return HostFacts(**{**values, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("missing", "used", "cached", "state"),
    [
        ({}, True, False, State.OK),
        ({"mmdebstrap": "mmdebstrap"}, True, False, State.MISSING),
        ({"mmdebstrap": "mmdebstrap"}, True, True, State.WARNING),  # its base layers are there already
        ({"debugfs": "e2fsprogs"}, True, True, State.MISSING),
        ({"qemu-img": "qemu-utils"}, True, True, State.MISSING),
        ({"debugfs": "e2fsprogs"}, False, False, State.WARNING),  # images come from Nix
    ],
)
def test_debian_tools(missing: dict[str, str], used: bool, cached: bool, state: State) -> None:
    item = look.debian_tools(facts(missing=missing), used=used, cached=cached)
    assert item.state is state
    assert item.next == ("orchestrator host-setup" if missing else "")


def test_rootless_says_every_step() -> None:
    bare = facts(rootless=True, subids=0, namespaces=False)
    item = asyncio.run(look.rootless(bare, used=True, cached=False))
    assert item.state is State.MISSING
    assert "subordinate ids" in item.reason
    assert "user namespaces" in item.reason
    assert "usermod --add-subuids" in item.next
    assert "sysctl" in item.next
    assert asyncio.run(look.rootless(bare, used=True, cached=True)).state is State.WARNING
    assert asyncio.run(look.rootless(facts(), used=True, cached=False)).state is State.OK


def test_accelerator_is_explained() -> None:
    slow = Accelerator("tcg", "this host has no /dev/kvm", 10.0, "10.0.2")
    item = look.accelerator_item(slow, known=True, forced="")
    assert (item.state, item.text) == (State.WARNING, "tcg, time limits × 10")
    assert "this host has no /dev/kvm; the probe runs a guest" in item.reason
    assert "an answer of this boot is kept" in item.reason
    forced = look.accelerator_item(slow, known=True, forced="tcg")
    assert "not probed" in forced.reason
    assert forced.next == "unset ORCH_ACCELERATOR"
    assert look.accelerator_item(Accelerator("kvm", "ran", 1.0, "10.0.2"), known=False, forced="").state is State.OK


def test_memory(topology: Topology) -> None:
    def meminfo(mebibytes: int) -> str:
        return f"MemTotal: 1 kB\nMemAvailable: {mebibytes * 1024} kB\n"

    assert room.memory(topology, meminfo(1024), running=False).state is State.OK
    short = room.memory(topology, meminfo(1023), running=False)
    assert short.state is State.MISSING
    assert "alpha 384 MiB" in short.reason
    assert room.memory(topology, meminfo(10), running=True).state is State.OK


def test_socket_paths(topology: Topology) -> None:
    def item(length: int) -> Item:
        return room.socket_paths(topology, EnvironmentPaths("tiny", Path("/s"), Path("/" + "x" * (length - 1))))

    rest = len("/alpha/qmp-side")
    assert item(107 - rest).state is State.OK
    long = item(108 - rest)
    assert long.state is State.MISSING
    assert long.text.startswith("108 of 107 bytes, /xxx")


def test_disks(tmp_path: Path) -> None:
    paths = EnvironmentPaths("tiny", tmp_path / "not" / "there", tmp_path)
    items = room.disks(paths, tmp_path, tmp_path / "cache", images_needed=1 << 60)
    assert [(item.name, item.state) for item in items[:1]] == [("disk: cache", State.MISSING)]
    assert "needed to build the images that are missing" in items[0].reason
    assert str(tmp_path / "not" / "there") in items[1].text


def test_kvm_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = tmp_path / "kvm"
    monkeypatch.setattr(accelerator, "MODULES", tmp_path)
    assert look.kvm_device(device).text == "not there"
    device.touch(mode=0o600)
    assert look.kvm_device(device).state is State.OK
    (tmp_path / "kvm_pvm").mkdir()
    item = look.kvm_device(device)
    assert (item.state, item.text) == (State.WARNING, "KVM without hardware (module kvm_pvm)")
    assert "ordinary ones hang or abort" in item.reason
    (tmp_path / "kvm_pvm").rmdir()
    if os.geteuid() != 0:
        device.chmod(0)
        assert "kvm" in look.kvm_device(device).next


def test_nix(tmp_path: Path) -> None:
    nowhere = str(tmp_path)
    assert look.nix(used=True, path=nowhere).state is State.MISSING
    assert look.nix(used=False, path=nowhere).state is State.OK
    (tmp_path / "nix").write_text("#!/bin/sh\n")
    (tmp_path / "nix").chmod(0o755)
    assert look.nix(used=True, path=nowhere).text == "nix"


def test_python_packages_are_all_here() -> None:
    item = look.packages()
    assert item.state is State.OK
    assert "paramiko" in item.text


def test_base_layers(topology: Topology, tmp_path: Path) -> None:
    cache = ImageCache(tmp_path / "images")
    source = provider_of(topology.images["base"], "debian")
    assert isinstance(source, DebianImage)
    recipe = source.debian
    assert not source.ready("base", cache, "")
    entry = cache.path_of("base", "base", base_key(load_recipe(recipe), BUILDER))
    entry.mkdir(parents=True)
    (entry / "entry.json").write_text("{}")
    assert source.ready("base", cache, "")


def test_screen_explains_what_is_not_well() -> None:
    items = [
        Item("good", State.OK, "fine", "a reason nobody needs"),
        Item("bad", State.MISSING, "gone\x1b[31m", "because " * 20, "do this"),
    ]
    text = screen(items, color=False)
    assert text.splitlines()[0] == "ok       good  fine"
    assert "nobody needs" not in text
    assert "\x1b" not in text
    assert "next: do this" in text
    assert "nobody needs" in screen(items, color=False, verbose=True)
    assert max(len(line) for line in screen(items, color=False, columns=70).splitlines()) <= 70
    assert "\x1b[32mok" in screen(items, color=True)
    assert verdict(items) == "\nnot ready: bad\n"
    assert verdict(items[:1]) == "\nready: orchestrator up\n"


def test_doctor_without_qemu(cli: Cli) -> None:
    tools = cli.folder / "tools"
    tools.mkdir()
    (tools / "timeout").symlink_to("/usr/bin/timeout")
    (tools / "sh").symlink_to("/bin/sh")
    done = cli("doctor", "--json", PATH=str(tools))
    assert done.returncode == 3
    data = json.loads(done.stdout)
    assert data["ready"] is False
    items = {item["name"]: item for item in data["items"]}
    assert items["QEMU"]["state"] == "missing"
    assert "qemu-system-x86_64 is not installed" in items["QEMU"]["text"]
    assert items["vde_switch"]["state"] == "missing"
    assert items["topology"]["state"] == "ok"


def test_doctor_tells_recorded_environments(cli: Cli) -> None:
    cli.record(alive=True, name="living")
    cli.record(alive=False, name="dead")
    broken = cli.paths("broken").folder
    broken.mkdir()
    (broken / "state.json").write_text("{")
    done = cli("doctor", "--json", ORCH_ACCELERATOR="tcg")
    items = {item["name"]: item for item in json.loads(done.stdout)["items"]}
    assert items["environment living"]["text"].startswith("2 of 2 machines live, ready")
    assert items["environment living"]["state"] == "ok"
    assert items["environment dead"]["next"] == "orchestrator -n dead down"
    assert items["environment broken"]["state"] == "warning"


def test_doctor_of_a_bad_topology_and_of_a_missing_key(cli: Cli) -> None:
    keyed = cli("doctor", "--variant", "keyed", ORCH_ACCELERATOR="tcg")
    assert keyed.returncode == 3
    assert f"needs {cli.folder / 'key'}" in keyed.stdout
    (cli.folder / "orchestrator.toml").write_text("name = 1\n")
    bad = cli("doctor", ORCH_ACCELERATOR="tcg")
    assert bad.returncode == 3
    assert "missing  topology" in bad.stdout


def test_exit_code_is_the_verdict(cli: Cli) -> None:
    done = cli("doctor", "--json", ORCH_ACCELERATOR="tcg")
    data = json.loads(done.stdout)
    missing = [item["name"] for item in data["items"] if item["state"] == "missing"]
    assert data["ready"] is not bool(missing)
    assert done.returncode == (3 if missing else 0)


def test_a_home_that_is_none_is_reported(cli: Cli) -> None:
    done = cli("doctor", "--json", HOME="/proc", ORCH_STATE_DIR="", ORCH_CACHE_DIR="")
    assert done.returncode == 3, done.stderr
    items = {item["name"]: item for item in json.loads(done.stdout)["items"]}
    assert items["disk: state"]["state"] == "missing" and "/proc" in items["disk: state"]["text"]
    assert items["accelerator"]["text"].startswith(("tcg", "kvm")), "what can be told is told"


@pytest.mark.parametrize("kind", ["full", "ro"])
def test_a_home_that_cannot_be_written_is_reported(cli: Cli, kind: str) -> None:
    """A full or read-only file system below the home, the cache, the state and the temporary folder."""
    home = cli.folder / "home"
    home.mkdir()
    option = {"full": "size=4k", "ro": "ro"}[kind]
    fill = 'head -c 8192 /dev/zero > "$0/full" 2>/dev/null' if kind == "full" else "true"
    script = f'mount -t tmpfs -o {option} tmpfs "$0" && {{ {fill}; exec "$@"; }}'
    how = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    variables = {name: str(home) for name in ("HOME", "TMPDIR", "ORCH_STATE_DIR", "ORCH_CACHE_DIR")}
    command = [*how, "sh", "-c", script, str(home), sys.executable, "-m", "orchestrator", "doctor", "--json"]
    done = subprocess.run(
        command,
        cwd=cli.folder,
        env={**cli.environment, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare" in done.stderr:
        pytest.skip("this host makes no mount namespaces")
    assert done.returncode == 3 and done.stderr == "", done.stderr
    items = {item["name"]: item for item in json.loads(done.stdout)["items"]}
    for name in ("disk: cache", "disk: state"):
        assert items[name]["state"] == "missing" and str(home) in items[name]["text"]
    assert {"QEMU", "accelerator", "memory", "environments"} <= items.keys(), "all the rest is looked at"


def test_what_cannot_be_looked_at_is_an_item(cli: Cli) -> None:
    """No folder at all takes a temporary file."""
    home = cli.folder / "home"
    home.mkdir()
    script = (
        'for one in "$0" /tmp /var/tmp; do '
        'mount --bind "$one" "$one" && mount -o remount,ro,bind "$one" || exit 9; done; '
        'cd / && mount -o remount,ro,bind / 2>/dev/null; cd "$0" && exec "$@"'
    )
    how = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    if str(home).startswith(("/tmp", "/var/tmp")):
        script = script.replace('"$0" /tmp', "/tmp").replace('cd "$0"', "cd /proc")
    command = [*how, "sh", "-c", script, str(home), sys.executable, "-m", "orchestrator", "doctor", "--json"]
    variables = {"HOME": "/proc", "ORCH_STATE_DIR": "", "ORCH_CACHE_DIR": "", "TMPDIR": "/proc"}
    done = subprocess.run(
        command, env={**cli.environment, **variables}, capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode == 9 or "unshare" in done.stderr:
        pytest.skip("this host makes no mount namespaces")
    assert done.returncode == 3 and "Traceback" not in done.stderr, done.stderr
    items = {item["name"]: item for item in json.loads(done.stdout)["items"]}
    assert items["temporary folder"]["state"] == "missing"
    assert "No usable temporary directory" in items["disks"]["reason"]
    assert items["QEMU"]["state"] == "ok"
