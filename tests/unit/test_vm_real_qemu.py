"""The installed QEMU takes what we give it: the boot sector of the probe, every argument, QMP."""

# ruff: noqa: ASYNC110 - what is waited for are files and processes, for milliseconds
from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fake_qemu import run_async
from topology_parts import link, machine, network

from orchestrator.deadline import Deadline, completes_before
from orchestrator.driver.keys import KEYS, chord, press
from orchestrator.errors import MachineError, OrchestratorError, UsageError
from orchestrator.net.networks import NetworkPaths, nics_of
from orchestrator.process import exit_code, launch
from orchestrator.process_id import ProcessId, watch_end
from orchestrator.tasks import run_all
from orchestrator.topology.model import NetworkKind
from orchestrator.vm.accelerator import EXIT_SEEN, QEMU, boot_sector
from orchestrator.vm.arguments import MachinePaths, QemuSettings, net_options, script_arguments
from orchestrator.vm.forwards import add_forward, forwards, remove_forward
from orchestrator.vm.qmp import connect
from orchestrator.vm.user import qemu_user
from orchestrator.vm.vnc import has_vnc, open_display


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
            QEMU,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-machine",
            "pc,accel=tcg",
            "-m",
            "16",
            "-no-reboot",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=1",
            "-drive",
            f"file={disk},format=raw,if=floppy,readonly=on",
        ],
        timeout=30,
        capture_output=True,
        check=False,
    )
    assert done.returncode == EXIT_SEEN == 85, done.stderr


# As root, QEMU runs as somebody else; as anybody else, as who it is.
OWN = pytest.param(qemu_user("test/server", ""), id="own")
USERS = ["", OWN] if os.geteuid() == 0 else [""]


@contextmanager
def qemu(tmp_path: Path, user: str) -> Iterator[tuple[ProcessId, MachinePaths]]:
    """A machine of 32 MiB with our arguments, its processors never running (``-S``)."""
    paths = MachinePaths(tmp_path / "work", tmp_path / "s", tmp_path / "logs")
    for folder in (paths.work, paths.sockets, paths.logs):
        folder.mkdir(mode=0o700)
    both = machine("server", links=(link("lan", 2),), ports=((0, 80),), memory=32, cpus=1)
    others = {"server": both, **{n: machine(n, links=(link("lan", k),)) for n, k in (("client", 1), ("third", 3))}}
    nics = nics_of(both, others, {"lan": network("lan", NetworkKind.SOCKET)}, NetworkPaths(paths.sockets, paths.logs))
    argv = [
        QEMU,
        "-S",
        "-no-user-config",
        # as the run scripts have it
        "-net",
        "nic,netdev=user.0,model=virtio",
        "-netdev",
        f"user,id=user.0,{net_options(both)}",
        *script_arguments(both, paths, nics, QemuSettings(accelerator="tcg", user=user, vnc=True)),
    ]
    tmp_path.chmod(0o700)
    process = launch(argv, log=paths.qemu_log)
    try:
        yield process, paths
    finally:
        run_async(process.end())


@pytest.mark.parametrize("user", USERS)
def test_qemu_accepts_our_arguments_and_is_driven_over_qmp(tmp_path: Path, user: str) -> None:
    """This is about the command line and the sockets."""

    async def scenario(process: ProcessId, paths: MachinePaths) -> None:
        monitor = await connect("server", paths.qmp, Deadline.after(20))
        side = await connect("server", paths.qmp_side, Deadline.after(5))
        assert await monitor.run_state() == "prelaunch"
        ports = await side.forwarded_ports()
        assert set(ports) == {22, 80}
        for port in ports.values():
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
        await run_all(*(one.screenshot(tmp_path / f"shot-{n}.png") for n in range(2) for one in (side, monitor)))
        for number in range(2):
            assert (tmp_path / f"shot-{number}.png").read_bytes().startswith(b"\x89PNG")
        for wire in ("lan.client", "lan.third"):
            assert (paths.sockets / wire).is_socket()
        for private in (paths.qmp, paths.agent, paths.console, tmp_path / "shot-0.png"):
            assert private.stat().st_mode & 0o077 == 0
        await side.close()
        await monitor.execute("quit")
        await watch_end(process)
        await monitor.close()

    with qemu(tmp_path, user) as (process, paths):
        run_async(scenario(process, paths))
        # Threads of QEMU may end some milliseconds after its first one.
        assert run_async(code_of(process)) == 0, paths.qemu_log.read_text()
        assert paths.serial_log.exists()


@pytest.mark.parametrize("user", USERS)
def test_qemu_has_no_privileges_and_cannot_start_programs(tmp_path: Path, user: str) -> None:
    async def scenario(process: ProcessId, paths: MachinePaths) -> None:
        monitor = await connect("server", paths.qmp, Deadline.after(20))
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        status = dict(line.split(":\t", 1) for line in lines if "\t" in line)
        wanted = user.partition(":")[0] or str(os.geteuid())
        assert set(status["Uid"].split()) == {wanted}
        assert status["Seccomp"] == "2", "filtered"
        assert status["NoNewPrivs"] == "1"
        if user:
            assert (set(status["Gid"].split()), status["Groups"].split()) == ({wanted}, [wanted])
            assert {status[kind].strip("0") for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb")} == {""}
        started = tmp_path / "started"
        with suppress(OrchestratorError):  # refused, or QEMU is ended by the filter
            await monitor.execute("migrate", {"uri": f"exec:touch {started}"})
        await completes_before(process_ended(process), Deadline.after(2))
        assert not started.exists()
        await monitor.close()

    def process_ended(process: ProcessId) -> Callable[[], Awaitable[None]]:
        return lambda: watch_end(process)

    with qemu(tmp_path, user) as (process, paths):
        run_async(scenario(process, paths))


@pytest.mark.parametrize("user", USERS)
def test_a_state_is_written_where_qemu_may_open_nothing(tmp_path: Path, user: str) -> None:
    async def scenario(paths: MachinePaths) -> None:
        monitor = await connect("server", paths.qmp, Deadline.after(20))
        async with monitor.passed_fd(tmp_path / "state", os.O_WRONLY | os.O_CREAT) as name:
            await monitor.execute("migrate", {"uri": f"file:{name}"})
            while (await monitor.execute("query-migrate"))["status"] not in ("completed", "failed"):
                await asyncio.sleep(0.01)
        assert (tmp_path / "state").stat().st_size > 10_000
        assert (tmp_path / "state").stat().st_mode & 0o077 == 0
        assert await monitor.execute("query-fdsets") == []
        if user:
            with pytest.raises(MachineError, match="refused"):
                await monitor.execute("screendump", {"filename": str(tmp_path / "own"), "format": "png"})
        await monitor.close()

    with qemu(tmp_path, user) as (_, paths):
        run_async(scenario(paths))


@pytest.mark.parametrize("user", USERS)
def test_a_viewer_gets_the_display_on_a_private_socket(tmp_path: Path, user: str) -> None:
    async def greeting(path: Path) -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(path))
        said = await reader.readexactly(12)
        writer.write(said)
        count = (await reader.readexactly(1))[0]
        kinds = await reader.readexactly(count)
        writer.write(kinds[:1])
        said += await reader.readexactly(4)  # no password is asked for: nobody else can open the socket
        writer.close()
        return said

    async def scenario(paths: MachinePaths) -> None:
        side = await connect("server", paths.qmp_side, Deadline.after(20))
        assert not paths.vnc.exists()
        await open_display(side, paths.vnc)
        assert paths.vnc.stat().st_mode & 0o077 == 0
        made = paths.vnc.stat().st_ino
        assert await greeting(paths.vnc) == b"RFB 003.008\n\0\0\0\0"
        await open_display(side, paths.vnc)
        assert paths.vnc.stat().st_ino == made, "it is opened once"
        paths.vnc.unlink()
        await open_display(side, paths.vnc)
        assert await greeting(paths.vnc) == b"RFB 003.008\n\0\0\0\0"
        await side.close()

    with qemu(tmp_path, user) as (_, paths):
        run_async(scenario(paths))


def test_ports_are_forwarded_and_freed_while_it_runs(tmp_path: Path) -> None:
    async def scenario(paths: MachinePaths) -> None:
        side = await connect("server", paths.qmp_side, Deadline.after(20))
        first = await add_forward(side, 8080)
        second = await add_forward(side, 8080)
        assert first.guest == second.guest == 8080
        assert first.host != second.host
        with pytest.raises(UsageError, match=f"port {first.host} of this host cannot be forwarded"):
            await add_forward(side, 9, first.host)
        await remove_forward(side, first.host)
        assert await add_forward(side, 9, first.host) in await forwards(side)
        await side.close()

    with qemu(tmp_path, "") as (_, paths):
        run_async(scenario(paths))


def test_every_key_of_qemu_has_its_name(tmp_path: Path) -> None:
    async def scenario(paths: MachinePaths) -> None:
        side = await connect("server", paths.qmp_side, Deadline.after(20))
        schema = await side.execute("query-qmp-schema")
        [codes] = [one["values"] for one in schema if one["meta-type"] == "enum" and "ctrl_r" in one["values"]]
        assert set(codes) >= KEYS
        await press(side, chord("ctrl-alt-f2"))
        await press(side, chord("0x1c"))
        await side.close()

    with qemu(tmp_path, "") as (_, paths):
        run_async(scenario(paths))


def test_whether_a_qemu_has_vnc_is_tried_once(tmp_path: Path) -> None:
    cache = tmp_path / "cache/vnc.json"
    assert run_async(has_vnc(QEMU, cache)) is True
    kept = json.loads(cache.read_text())
    assert list(kept.values()) == [True]
    without = tmp_path / "qemu-without"
    without.write_text("#!/bin/sh\necho 'VNC support is disabled' >&2\nexit 1\n")
    without.chmod(0o755)
    assert run_async(has_vnc(str(without), cache)) is False
    assert len(json.loads(cache.read_text())) == 2
    cache.write_text(json.dumps(dict.fromkeys(kept, False)))
    assert run_async(has_vnc(QEMU, cache)) is False, "the answer is kept"
    assert run_async(has_vnc(str(tmp_path / "no-such"), tmp_path / "other.json")) is False
