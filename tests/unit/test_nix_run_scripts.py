"""The run scripts of NixOS, started as the orchestrator starts them: ours, nixpkgs' with 9p, the newer with helpers."""

# ruff: noqa: ASYNC110 - what is waited for are files and processes, for milliseconds
from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from fake_qemu import run_async
from nix_facts import MACHINES
from nix_run_scripts import FAKE_HELPER, FAKE_QEMU, arguments_of, executable, write_script
from topology_parts import machine

from orchestrator.deadline import Deadline
from orchestrator.errors import MachineError
from orchestrator.images.contract import find_run_script
from orchestrator.process import launch
from orchestrator.process_id import ProcessId, watch_end
from orchestrator.vm.arguments import MachinePaths, QemuSettings, net_options, script_arguments, script_environment
from orchestrator.vm.qmp import connect

SAMPLES = ("server-mock", "client", "run-script-shares", "run-script-shared-memory", "virtiofs")
SERVER = machine("server", ports=((0, 80),), memory=64, cpus=1)


@pytest.fixture
def paths(tmp_path: Path) -> MachinePaths:
    found = MachinePaths(tmp_path / "work", tmp_path / "s", tmp_path / "logs")
    for folder in (found.work, found.sockets, found.logs, found.scratch):
        folder.mkdir()
    return found


def start(paths: MachinePaths, script: Path, inherited: Mapping[str, str]) -> ProcessId:
    """As the orchestrator does it, the network cards left out."""
    text = script.read_text(encoding="utf-8")
    arguments = script_arguments(
        SERVER, paths, (), QemuSettings(accelerator="tcg", fixed_memory="memory-backend" in text)
    )
    environment = script_environment(SERVER, paths, inherited, "extra=1")
    return launch([str(script), *arguments], log=paths.qemu_log, env=environment, cwd=paths.work)


def fakes(folder: Path) -> dict[str, str]:
    """A PATH on which QEMU, qemu-img and virtiofsd are ours."""
    executable(folder / "path/qemu-system-x86_64", FAKE_QEMU)
    # The scripts make an empty file system and convert it; or, before 2024, the disk at once.
    executable(folder / "path/qemu-img", '#!/bin/sh\nfor target in "$@"; do :; done\necho disk > "$target"\n')
    executable(folder / "path/mkfs.ext4", "#!/bin/sh\n")
    executable(folder / "path/virtiofsd", FAKE_HELPER)
    return {"PATH": f"{folder}/path:{os.environ['PATH']}"}


async def appears(path: Path, process: ProcessId, log: Path) -> str:
    deadline = Deadline.after(20)
    while not path.exists():
        assert process.alive, log.read_text()
        assert not deadline.expired, log.read_text()
        await asyncio.sleep(0.01)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("sample", SAMPLES)
def test_qemu_gets_the_scripts_arguments_then_ours(tmp_path: Path, paths: MachinePaths, sample: str) -> None:
    write_script(tmp_path, sample)
    process = start(paths, find_run_script(tmp_path), fakes(tmp_path))
    try:
        seen: dict[str, Any] = json.loads(run_async(appears(paths.scratch / "record.json", process, paths.qemu_log)))
    finally:
        run_async(process.end())
    argv: list[str] = seen["argv"]
    ours = [*script_arguments(SERVER, paths, (), QemuSettings(accelerator="tcg", fixed_memory=has_backend(sample)))]
    assert argv[-len(ours) :] == ours
    assert seen["pid"] == process.pid  # the script became QEMU
    assert seen["cwd"] == str(paths.scratch)
    assert paths.disk.exists()
    assert f"user,id=user.0,{net_options(SERVER)}" in argv
    assert argv[argv.index("-append") + 1].endswith(" extra=1")
    assert f"cache=writeback,file={paths.disk},id=drive1,if=none,index=1,werror=report" in argv
    assert not process.alive


def has_backend(sample: str) -> bool:
    return any("memory-backend" in word for word in arguments_of(sample))


def test_a_memory_backend_of_the_script_keeps_its_size() -> None:
    assert [sample for sample in SAMPLES if has_backend(sample)] == ["run-script-shared-memory", "virtiofs"]
    for sample in SAMPLES:
        sizes = [
            word
            for word in script_arguments(
                SERVER,
                MachinePaths(Path("/w"), Path("/s"), Path("/l")),
                (),
                QemuSettings(accelerator="tcg", fixed_memory=has_backend(sample)),
            )
            if word == "-m"
        ]
        assert len(sizes) == (0 if has_backend(sample) else 1)


@pytest.mark.parametrize("machine_name", MACHINES)
def test_our_machines_share_nothing_and_leave_memory_to_us(machine_name: str) -> None:
    words = " ".join(arguments_of(machine_name))
    assert "-virtfs" not in words
    assert "vhost" not in words
    assert "memory-backend" not in words
    assert "local,path=" in " ".join(arguments_of("run-script-shares"))  # as nixpkgs has it by default


def test_helpers_of_the_script_end_with_the_machine(tmp_path: Path, paths: MachinePaths) -> None:
    write_script(tmp_path, "virtiofs", helpers=["virtiofsd --tag a", "virtiofsd --tag b", "virtiofsd --tag c"])
    process = start(paths, find_run_script(tmp_path), fakes(tmp_path))

    async def helpers() -> list[int]:
        await appears(paths.scratch / "record.json", process, paths.qemu_log)
        file = paths.scratch / "helpers"
        while not file.exists() or len(file.read_text().split()) < 3:
            await asyncio.sleep(0.01)
        return [int(word) for word in file.read_text().split()]

    try:
        pids = run_async(helpers())
        identities = [ProcessId.of(pid) for pid in pids]
        assert all(one is not None and one.alive for one in identities)
    finally:
        run_async(process.end())

    async def gone() -> bool:
        return all([await one.ended(Deadline.after(5)) for one in identities if one is not None])

    assert run_async(gone())


def stopped(script: Path) -> Path:
    """The script, whose machine has no kernel to boot and never runs: its devices are there all the same."""
    text = script.read_text(encoding="utf-8")
    text = re.sub(r"^ *-(?:kernel|initrd|append) .*\n", "", text, flags=re.MULTILINE)
    script.write_text(text.replace('"$@"', '-S "$@"'), encoding="utf-8")
    return script


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed")
@pytest.mark.parametrize("sample", (*MACHINES, "run-script-shares", "run-script-shared-memory"))
def test_real_qemu_takes_every_evaluated_script(tmp_path: Path, paths: MachinePaths, sample: str) -> None:
    """Nothing in it collides with the devices and options that the orchestrator adds."""
    process = start(paths, stopped(write_script(tmp_path, sample)), os.environ)

    async def scenario() -> None:
        monitor = await connect("server", paths.qmp, Deadline.after(15))
        assert await monitor.run_state() == "prelaunch"
        rng = [
            one
            for one in await monitor.execute("qom-list", {"path": "/machine/peripheral-anon"})
            if one["type"] == "child<virtio-rng-pci>"
        ]
        assert len(rng) == 1
        await monitor.execute("quit")
        await watch_end(process)
        await monitor.close()

    try:
        run_async(scenario())
    except MachineError as error:
        raise AssertionError(paths.qemu_log.read_text()) from error
    finally:
        run_async(process.end())


@pytest.mark.skipif(shutil.which("qemu-system-x86_64") is None, reason="QEMU is not installed")
def test_real_qemu_takes_our_machine_and_its_state_can_be_saved(tmp_path: Path, paths: MachinePaths) -> None:
    """The evaluated arguments in a real QEMU whose processors never run; kernel and store are empty files."""
    script = stopped(write_script(tmp_path, "server-mock"))
    process = start(paths, script, os.environ)

    async def scenario() -> None:
        monitor = await connect("server", paths.qmp, Deadline.after(20))
        assert await monitor.run_state() == "prelaunch"
        drives = {one["device"]: one["inserted"] for one in await monitor.execute("query-block") if "inserted" in one}
        assert drives["drive1"]["ro"] is False
        assert drives["drive2"]["ro"] is True
        assert drives["drive2"]["drv"] == "raw"
        devices = {one["type"] for one in await monitor.execute("qom-list", {"path": "/machine/peripheral-anon"})}
        assert not {name for name in devices if "9p" in name or "vhost" in name or "vsock" in name}
        assert "blocked-reasons" not in await monitor.execute("query-migrate")
        await monitor.execute("migrate", {"uri": f"file:{tmp_path}/state"})
        deadline = Deadline.after(30)
        while (status := await monitor.execute("query-migrate"))["status"] not in ("completed", "failed"):
            assert not deadline.expired, status
            await asyncio.sleep(0.05)
        assert status["status"] == "completed", status
        await monitor.execute("quit")
        await watch_end(process)
        await monitor.close()

    try:
        run_async(scenario())
    finally:
        run_async(process.end())
    assert (tmp_path / "state").stat().st_size > 0
