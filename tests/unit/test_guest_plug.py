"""How a guest mounts a disk: found by its serial number, once, and with a reason where it cannot be."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from topology_parts import machine, topology

from orchestrator.environment.handover import handover_script, services_script
from orchestrator.guest.plug import MOUNT, MOUNT_DISK
from orchestrator.topology.model import Layer, Service, ServiceKind

MOUNTS = "sysfs /sys sysfs rw 0 0\n/dev/vda / ext4 rw 0 0\n"


class Guest:
    """A made-up root with block devices, and a mount program that writes down what it is told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("bin", "sys/block/vda", "sys/block/vdb", "sys/block/vdc", "sys/block/sr0", "proc/self"):
            (root / name).mkdir(parents=True)
        (root / "sys/block/vdb/serial").write_text("layer-data")  # without a newline, as the kernel has it
        (root / "sys/block/vdc/serial").write_text("layer-app")
        (root / "proc/self/mounts").write_text(MOUNTS)
        self.mounting(f"printf '%s\\n' \"$*\" >> {root}/told")

    def mounting(self, does: str) -> None:
        (self.root / "bin/mount").write_text(f"#!/bin/sh\n{does}\n")
        (self.root / "bin/mount").chmod(0o755)

    def run(self, script: str, *words: str) -> subprocess.CompletedProcess[str]:
        for path in ("/sys/block", "/proc/self/mounts"):
            script = script.replace(path, f"{self.root}{path}")
        environment = {"PATH": f"{self.root}/bin:/usr/bin:/bin"}
        argv = ["sh", "-e", "-c", script, "sh", *words]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)

    @property
    def told(self) -> list[str]:
        path = self.root / "told"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path / "guest")


def test_a_disk_is_mounted_at_its_place_once(guest: Guest, tmp_path: Path) -> None:
    place = tmp_path / "opt/my app"
    done = guest.run(MOUNT, "layer-app", str(place), "3", "layer app")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert guest.told == [f"-t ext4 -o ro,noload,nodev,nosuid /dev/vdc {place}"]
    assert place.is_dir()
    (guest.root / "proc/self/mounts").write_text(f"{MOUNTS}/dev/vdc /opt/my\\040app ext4 ro 0 0\n")
    assert guest.run(MOUNT, "layer-app", str(place), "3", "layer app").returncode == 0
    assert len(guest.told) == 1


def test_what_goes_wrong_is_said(guest: Guest, tmp_path: Path) -> None:
    done = guest.run(MOUNT, "layer-none", str(tmp_path / "x"), "2", "layer none")
    assert (done.returncode, done.stderr) == (71, "the disk of layer none (serial number layer-none) does not appear\n")
    guest.mounting("echo mount: unknown filesystem type >&2; exit 32")
    done = guest.run(MOUNT, "layer-app", str(tmp_path / "x"), "2", "layer app")
    assert done.returncode == 71
    assert done.stderr.splitlines() == [
        "mount: unknown filesystem type",
        f"layer app (/dev/vdc) cannot be mounted at {tmp_path}/x",
    ]
    (tmp_path / "file").touch()
    done = guest.run(MOUNT, "layer-app", str(tmp_path / "file/x"), "2", "layer app")
    assert done.returncode != 0
    assert "Not a directory" in done.stderr


def test_a_hand_over_mounts_the_layers_that_are_disks_before_anything_is_private(guest: Guest, tmp_path: Path) -> None:
    layers = {name: Layer(name, tmp_path, f"{tmp_path}/{name}'s") for name in ("app", "data")}
    box = machine("box")
    user = Service("user", "box", ServiceKind.DAEMON, "user.service", uses=("app", "data"))
    made = replace(topology(tmp_path, box, services={"user": user}), layers=layers)
    script = services_script(box, made, ["user"], ["app", "data"])  # never the hand-over: it is a guest's whole set-up
    assert guest.run(script).returncode == 0
    assert [line.split(maxsplit=4)[4:] for line in guest.told] == [
        [f"/dev/vdc {tmp_path}/app's"],
        [f"/dev/vdb {tmp_path}/data's"],
    ]
    whole = handover_script(box, made, "key", ["user"], ["app", "data"])
    assert whole.index("mount_disk layer-app") < whole.index("umask 077"), "everybody may look into a place"
    assert f"{tmp_path}/app's" not in handover_script(box, made, "key", ["user"], ["data"])
    assert MOUNT_DISK not in handover_script(box, made, "key", [], ["app", "data"]), "nobody needs it yet"
    guest.mounting("exit 32")
    assert guest.run(script + "echo went on").stdout == "", "no service starts without it"
