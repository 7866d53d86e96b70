"""The installed QEMU takes what we give it: the boot sector of the probe, every argument, QMP."""

# ruff: noqa: ASYNC110 - what is waited for are files and processes, for milliseconds
from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from fake_qemu import link, machine, network, run_async

from orchestrator.deadline import Deadline
from orchestrator.net.networks import NetworkPaths, nics_of
from orchestrator.process import ProcessId, exit_code, launch, watch_end
from orchestrator.topology.model import NetworkKind
from orchestrator.vm.accelerator import EXIT_SEEN, QEMU, boot_sector
from orchestrator.vm.arguments import MachinePaths, net_options, script_arguments
from orchestrator.vm.qmp import connect


async def code_of(process: ProcessId) -> int | None:
    deadline = Deadline.after(5)
    while exit_code(process) is None and not deadline.expired:
        await asyncio.sleep(0.01)
    return exit_code(process)


def test_the_boot_sector_ends_qemu_with_our_code(tmp_path: Path) -> None:
    assert len(boot_sector()) == 512
    assert boot_sector()[510:] == b"\x55\xaa"
    disk = tmp_path / "boot.img"
    disk.write_bytes(boot_sector())
    done = subprocess.run(
        [
            QEMU, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc,accel=tcg", "-m", "16",
            "-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
            "-drive", f"file={disk},format=raw,if=floppy,readonly=on",
        ],
        timeout=30, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == EXIT_SEEN == 85, done.stderr


def test_qemu_accepts_our_arguments_and_is_driven_over_qmp(tmp_path: Path) -> None:
    """The guest's processors never run (``-S``): this is about the command line and the sockets."""
    paths = MachinePaths(tmp_path / "work", tmp_path / "s", tmp_path / "logs")
    for folder in (paths.work, paths.sockets, paths.logs):
        folder.mkdir()
    both = machine("server", links=(link("lan", 2),), ports=((0, 80),), memory=32, cpus=1)
    others = {"server": both, **{n: machine(n, links=(link("lan", k),)) for n, k in (("client", 1), ("third", 3))}}
    nics = nics_of(both, others, {"lan": network("lan", NetworkKind.SOCKET)}, NetworkPaths(paths.sockets, paths.logs))
    argv = [
        QEMU, "-S", "-no-user-config",
        # as the run scripts have it
        "-net", "nic,netdev=user.0,model=virtio", "-netdev", f"user,id=user.0,{net_options(both)}",
        *script_arguments(both, paths, nics, accelerator="tcg"),
    ]  # fmt: skip

    async def scenario(process: ProcessId) -> None:
        monitor = await connect("server", paths.qmp, Deadline.after(20))
        side = await connect("server", paths.qmp_side, Deadline.after(5))
        assert await monitor.run_state() == "prelaunch"
        ports = await side.forwarded_ports()
        assert set(ports) == {22, 80}
        for port in ports.values():
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
        await side.screenshot(tmp_path / "shot.png")
        assert (tmp_path / "shot.png").read_bytes().startswith(b"\x89PNG")
        for wire in ("lan.client", "lan.third"):
            assert (paths.sockets / wire).is_socket()
        for private in (paths.qmp, paths.agent, paths.console):
            assert private.stat().st_mode & 0o077 == 0
        await side.close()
        await monitor.execute("quit")
        await watch_end(process)
        await monitor.close()

    process = launch(argv, log=paths.qemu_log)
    try:
        run_async(scenario(process))
        # Threads of QEMU may end some milliseconds after its first one.
        assert run_async(code_of(process)) == 0, paths.qemu_log.read_text()
        assert paths.serial_log.exists()
    finally:
        run_async(process.end())
