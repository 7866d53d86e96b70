"""Another file behind a disk: how the guest lets go of it, and QEMU's part with the real program."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from fake_qemu import run_async
from topology_parts import machine

from orchestrator.deadline import Deadline
from orchestrator.errors import MachineError
from orchestrator.guest.exchange import BUSY, UNMOUNT, exchange
from orchestrator.process import launch
from orchestrator.vm.accelerator import QEMU
from orchestrator.vm.arguments import MachinePaths, QemuSettings, script_arguments
from orchestrator.vm.option_values import ReadOnlyDisk
from orchestrator.vm.qmp import connect
from orchestrator.vm.user import qemu_user

MIB = 1 << 20
USERS = ["", qemu_user("test/exchange", "")] if os.geteuid() == 0 else [""]


class Guest:
    """A made-up root with a disk, and an umount program that does what a test says."""

    def __init__(self, root: Path, *, umount: str) -> None:
        self.root = root
        for name in ("bin", "sys/block/vda", "sys/block/vdb", "sys/fs/ext4/vdb", "proc/self"):
            (root / name).mkdir(parents=True)
        (root / "sys/block/vdb/serial").write_text("layer-app")  # without a newline, as the kernel has it
        self.mounts = root / "proc/self/mounts"
        self.mounts.write_text("/dev/vda / ext4 rw 0 0\n/dev/vdb /opt/my\\040app ext4 ro 0 0\n")
        (root / "bin/umount").write_text(f'#!/bin/sh\necho "$*" >> {root}/told\n{umount.format(root=root)}\n')
        (root / "bin/umount").chmod(0o755)

    def run(self, serial: str = "layer-app") -> subprocess.CompletedProcess[str]:
        script = UNMOUNT
        for path in ("/sys/block", "/sys/fs/ext4", "/proc/self/mounts"):
            script = script.replace(path, f"{self.root}{path}")
        environment = {"PATH": f"{self.root}/bin:/usr/bin:/bin"}
        argv = ["sh", "-c", script, "sh", serial, "/opt/my app", "2"]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)

    @property
    def told(self) -> list[str]:
        path = self.root / "told"
        return path.read_text().splitlines() if path.exists() else []


def test_a_disk_is_unmounted_and_let_go(tmp_path: Path) -> None:
    guest = Guest(tmp_path, umount="rmdir {root}/sys/fs/ext4/vdb")
    assert (guest.run().returncode, guest.told) == (0, ["/opt/my app"])


def test_a_disk_that_is_not_mounted_is_left_alone(tmp_path: Path) -> None:
    guest = Guest(tmp_path, umount="exit 1")
    guest.mounts.write_text("/dev/vda / ext4 rw 0 0\n")
    (tmp_path / "sys/fs/ext4/vdb").rmdir()
    assert (guest.run().returncode, guest.told) == (0, [])


def test_a_program_that_uses_it_is_told_of(tmp_path: Path) -> None:
    guest = Guest(tmp_path, umount="echo 'umount: /opt/my app: target is busy.' >&2; exit 32")
    done = guest.run()
    assert (done.returncode, done.stderr) == (BUSY, "umount: /opt/my app: target is busy.\n")


def test_a_mount_that_a_program_keeps_of_its_own_is_seen(tmp_path: Path) -> None:
    done = Guest(tmp_path, umount="exit 0").run()
    assert (done.returncode, done.stderr) == (BUSY, "a program keeps a mount of /opt/my app of its own\n")


def test_a_disk_that_is_not_there_is_told(tmp_path: Path) -> None:
    done = Guest(tmp_path, umount="exit 0").run("layer-data")
    assert (done.returncode, done.stderr) == (71, "no disk has the serial number layer-data\n")


@pytest.mark.parametrize("user", USERS, ids=["root", "own"][: len(USERS)])
def test_qemu_takes_another_file_behind_the_same_device_again_and_again(tmp_path: Path, user: str) -> None:
    paths = MachinePaths(tmp_path / "work", tmp_path / "s", tmp_path / "logs")
    for folder in (paths.work, paths.sockets, paths.logs):
        folder.mkdir(mode=0o700)
    files = [tmp_path / f"{name}.ext4" for name in "abc"]
    for file in files:
        file.write_bytes(bytes(MIB))
        file.chmod(0o644)
    settings = QemuSettings("tcg", user=user, disks=[ReadOnlyDisk("layer-app", "layer-app", files[0])])
    one = machine("server", memory=32, cpus=1)
    argv = [QEMU, "-S", "-no-user-config", "-nodefaults", *script_arguments(one, paths, [], settings)]
    process = launch(argv, log=paths.qemu_log)
    tmp_path.chmod(0o700)

    async def scenario() -> None:
        monitor = await connect("server", paths.qmp, Deadline.after(20))
        limit = Deadline.after(20)
        for file in files[1:]:
            await exchange(monitor, "layer-app", file, limit)
        nodes = await monitor.execute("query-named-block-nodes", {"flat": True})
        disks = [node for node in nodes if node["drv"] == "raw"]
        assert len(disks) == 1, "what was behind it before is closed"
        shown = await monitor.execute("query-block")
        [device] = [one for one in shown if "layer-app" in one["qdev"]]
        assert device["inserted"]["node-name"] == disks[0]["node-name"]
        with pytest.raises(MachineError, match="refused qom-get"):
            await exchange(monitor, "layer-none", files[0], limit)
        await monitor.execute("quit")
        await monitor.close()

    try:
        run_async(scenario())
    finally:
        run_async(process.end())
