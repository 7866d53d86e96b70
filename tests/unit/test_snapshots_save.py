"""Saving machines, over fake QMP servers and real files: one moment for all, and they go on whatever happens."""

from __future__ import annotations

import os
from pathlib import Path

from save_scene import PAGE, staged
from simulated_time import run_simulated

from orchestrator.snapshots.manifest import files_of
from orchestrator.snapshots.memory import MIB, digest, touched
from orchestrator.snapshots.save import CAPABILITIES


def test_all_machines_are_stopped_before_any_is_saved_and_go_on_when_all_are(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "server", "client") as scene:
            await scene.save()
            prepared = scene.paths("migrate-set-capabilities", "migrate-set-parameters")
            stopped, saved, ended = scene.paths("stop"), scene.paths("migrate"), scene.paths("query-migrate")
            assert [len(prepared), len(stopped), len(saved)] == [4, 2, 2]
            assert max(prepared) < min(stopped), "what may be slow or refused comes while they run"
            assert max(stopped) < min(saved)
            assert max(ended) < min(scene.paths("cont"))
            assert max(scene.paths("cont")) < min(scene.paths("qom-get")), "what has time comes when they run again"
            assert scene.states() == ["running", "running"]
            given = scene.server.given
            assert given["migrate-set-capabilities"] == CAPABILITIES
            assert given["migrate-set-parameters"]["max-bandwidth"] >= 1 << 36, "QEMU's own limit is 128 MiB/s"
            assert files_of(scene.folder, "server").state.read_bytes() == b"QEVMserver"
            assert files_of(scene.folder, "server").state.stat().st_mode & 0o077 == 0

    run_simulated(scenario())


def test_what_is_saved_is_described_as_it_is(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "server", "client") as scene:
            saved = await scene.save()
            assert list(saved) == ["server", "client"]
            for name, one in saved.items():
                files, vm = files_of(scene.folder, name), scene.vms[name]
                assert (one.ram, one.state, one.disk) == (digest(files.ram), digest(files.state), digest(files.disk))
                assert files.ram.read_bytes() == vm.ram.read_bytes()
                assert files.disk.read_bytes() == (vm.folder / "disk.qcow2").read_bytes()
                assert files.state.read_bytes() == b"QEVM" + name.encode()
                assert PAGE <= touched(files.ram) < MIB, "what the guest never wrote is a hole in the copy too"
                assert (one.image, one.host_key) == ("/images/server", "ssh-ed25519 A")
                assert (one.machine_type, one.cpu) == ("pc-i440fx-10.0", "max-x86_64-cpu")
                layer = vm.folder / "layer.ext4"
                assert one.layers == {str(layer): digest(layer)}
            assert saved["server"].ram != saved["client"].ram

    run_simulated(scenario())


def test_nobody_else_can_read_a_snapshot(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as scene:
            before = os.umask(0)
            try:
                await scene.save()
            finally:
                os.umask(before)
            folder = scene.folder / "server"
            assert folder.stat().st_mode & 0o777 == 0o700
            modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
            names = ("ram", "state", "disk.qcow2", "serial.log", "journal.jsonl")
            assert modes == dict.fromkeys(names, 0o600)
            assert files_of(scene.folder, "server").serial.read_text() == "server login:\n"

    run_simulated(scenario())


def test_a_machine_that_never_said_anything_has_no_logs_to_save(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as scene:
            (scene.server.folder / "journal.jsonl").unlink()
            (scene.server.folder / "serial.log").unlink()
            await scene.save()
            assert sorted(p.name for p in (scene.folder / "server").iterdir()) == ["disk.qcow2", "ram", "state"]

    run_simulated(scenario())


def test_what_the_guest_wrote_until_it_stood_still_is_in_the_snapshot(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as scene:
            vm, copy = scene.server, files_of(scene.folder, "server").ram
            seen: list[bytes] = []

            def last_words() -> None:
                seen.append(copy.read_bytes())  # the first copy is complete
                vm.write(0, b"\x17" * PAGE)
                vm.write(100, b"\x18" * PAGE)

            vm.on_stop = last_words
            saved = await scene.save()
            assert len(seen[0]) == 2 * MIB
            assert seen[0] != copy.read_bytes()
            assert copy.read_bytes() == vm.ram.read_bytes()
            assert saved["server"].ram == digest(vm.ram)

    run_simulated(scenario())
