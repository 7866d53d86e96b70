"""Folders whose name holds what other programs' texts give a meaning: each program gets the name as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_qemu import run_async
from real_sshd import sshd
from test_environment_reaper_client import named
from test_images_debian import build, debugfs, place
from test_images_runscript import image, start
from topology_parts import link, machine, network

from orchestrator.deadline import Deadline
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.ssh_files import write_ssh_files
from orchestrator.environment.state import MachineState
from orchestrator.environment.teardown import orphans, remove_traces
from orchestrator.images.cache import ImageCache
from orchestrator.images.debian_base import hook_word
from orchestrator.net.networks import NetworkPaths, nics_of, start_switch
from orchestrator.process import launch
from orchestrator.process_id import ProcessId
from orchestrator.snapshots.memory import unescaped
from orchestrator.topology.model import NetworkKind
from orchestrator.vm.accelerator import QEMU
from orchestrator.vm.arguments import MachinePaths, Memory, QemuSettings, net_options, script_arguments
from orchestrator.vm.option_values import value
from orchestrator.vm.qmp import connect

pytestmark = pytest.mark.slow

__all__ = ["image", "place"]  # fixtures
ODD = "a b,,c,'d\"e\\f%g$h${HOME}ü?#[x]{y}\nz "


@pytest.fixture
def odd() -> Iterator[Path]:
    """A short folder with the odd name, so that sockets in it have a name."""
    folder = Path(tempfile.mkdtemp(prefix="o", dir="/tmp"))
    (folder / ODD).mkdir(mode=0o700)
    yield folder / ODD
    shutil.rmtree(folder)


def in_environment(odd: Path, monkeypatch: pytest.MonkeyPatch) -> EnvironmentPaths:
    """An environment whose folders all have the odd name."""
    monkeypatch.setenv("ORCH_STATE_DIR", str(odd / "state"))
    monkeypatch.setenv("ORCH_RAM_DIR", str(odd))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(odd))
    env_paths = EnvironmentPaths.of("shop")
    env_paths.make()
    return env_paths


@pytest.mark.parametrize("kind", [NetworkKind.VDE, NetworkKind.SOCKET])
def test_qemu_and_its_switch_find_every_path(odd: Path, monkeypatch: pytest.MonkeyPatch, kind: NetworkKind) -> None:
    env_paths = in_environment(odd, monkeypatch)
    run_folder = odd / "runs/r1"
    paths, networks = env_paths.machine("server", run_folder), env_paths.networks(run_folder)
    for folder in (paths.work, paths.sockets, paths.logs, networks.logs):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    one, lan = machine("server", links=(link("lan", 2),), memory=32, cpus=1), network("lan", kind)
    client = machine("client", links=(link("lan", 1),))
    ram = odd / "server.ram"
    ram.touch()
    os.truncate(ram, 32 << 20)
    started: list[ProcessId] = []

    async def scenario() -> None:
        if kind is NetworkKind.VDE:
            started.append(await start_switch(lan, networks, Deadline.after(10)))
        nics = nics_of(one, {"server": one, "client": client}, {"lan": lan}, networks)
        arguments = script_arguments(one, paths, nics, QemuSettings(accelerator="tcg", memory=Memory(ram)))
        script = ["-net", "nic,netdev=user.0", "-netdev", f"user,id=user.0,{net_options(one)}"]
        started.append(launch([QEMU, "-S", "-no-user-config", *script, *arguments], log=paths.qemu_log))
        monitor = await connect("server", paths.qmp, Deadline.after(20))
        assert await monitor.run_state() == "prelaunch"
        await monitor.close()
        assert paths.serial_log.exists() and paths.journal.exists(), "the logs are where they belong"
        assert str(ram) in Path(f"/proc/{started[-1].pid}/maps").read_text().replace("\\012", "\n")
        assert set(orphans(env_paths)) == set(started), "a killed command's are found by their command line"

    try:
        run_async(scenario())
    finally:
        for process in started:
            run_async(process.end())
        remove_traces(env_paths)


def test_a_path_with_a_comma_is_pasted_into_no_run_script(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of nixos-rebuild paste disk and temporary folder as they are."""
    env_paths = in_environment(odd, monkeypatch)
    try:
        paths = env_paths.machine("server", odd)
        assert "," not in f"{paths.disk}{paths.scratch}"
        assert str(paths.disk).startswith("/var/tmp/"), "on a disk"
        assert env_paths.workshop.stat().st_mode & 0o777 == 0o700
        paths.work.mkdir(parents=True)
        paths.disk.touch()
    finally:
        remove_traces(env_paths)
    assert not env_paths.workshop.exists()
    monkeypatch.setenv("ORCH_STATE_DIR", "/plain/state")
    assert EnvironmentPaths.of("shop").machine_folder("server") == Path(
        "/plain/state/environments/shop/machines/server"
    )


def test_our_run_script_escapes_its_disk(image: Path, odd: Path) -> None:
    disk = odd / "my disk,1.qcow2"
    _, told = start(image, NIX_DISK_IMAGE=str(disk))
    assert disk.read_text() == "overlay\n", "made under its own name"
    argv = told["argv"]
    assert isinstance(argv, list)
    (drive,) = [word for word in argv if ",id=drive1" in word]
    assert drive == f"cache=writeback,file={str(disk).replace(',', ',,')},id=drive1,if=none,index=1,werror=report"
    shown = subprocess.run(
        [QEMU, "-M", "none", "-display", "none", "-monitor", "stdio", "-drive", f"file={value(disk)},if=none,id=d"],
        input="info block\nquit\n",
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert shown.returncode == 0 and "my disk,1.qcow2" in shown.stdout, shown.stderr


def test_ssh_reads_what_it_is_given(odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a b", "a'b", 'a"b', "a\\b", "100%h", "a$b", "aüb", "a,b", "a#b", "a\\", "a${HOME}b", "a\nb", " ", ODD]
    server_folder = tmp_path / "sshd"
    server_folder.mkdir()
    with sshd(server_folder) as server:
        host_key = (server_folder / "host_key.pub").read_text().strip()
        state = MachineState(ProcessId(1, 2, "boot"), "/image", {22: server.target.port}, host_key)
        for name in names:
            monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
            monkeypatch.setenv("ORCH_STATE_DIR", str(odd.parent / "states" / name))
            env_paths = EnvironmentPaths.of("shop")
            env_paths.make()
            shutil.copy(server_folder / "id_ed25519", env_paths.user_key)
            write_ssh_files(env_paths, {"server": state})
            text = env_paths.ssh_config.read_text()
            env_paths.ssh_config.write_text(text.replace("User root", f"User {server.target.user}"))
            done = subprocess.run(
                ["ssh", "-F", str(env_paths.ssh_config), "server", "echo", "reached"],
                capture_output=True,
                text=True,
                timeout=30,
                check=False,
                stdin=subprocess.DEVNULL,
            )
            assert done.stdout == "reached\n", (name, done.stderr)
            remove_traces(env_paths)


def test_an_image_is_built_from_and_in_such_folders(place: Path, odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tiny.toml", "render.py"):
        shutil.copy(place / name, odd)
    (odd / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(odd / "tmp"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    built = build(odd, [])
    shutil.copy(built.path / "root.raw", place / "root.raw")
    assert built.path.is_relative_to(odd)
    assert not (built.path / "sources").exists()
    monkeypatch.chdir(place)
    plain = type(built)(built.name, place, built.key, built.provider, built.cached, built.seconds)
    assert debugfs(plain, "cat /opt/new/x") == "mock"
    assert debugfs(plain, "cat /etc/old") == "mock"


def test_mmdebstrap_reads_the_path_of_its_hook(odd: Path) -> None:
    """It splits the words of a hook with this module of Perl's."""
    if shutil.which("perl") is None:
        pytest.skip("perl is not installed")
    path = odd / "early.tar"
    program = 'use Text::ParseWords; print join("\\0", shellwords($ARGV[0]));'
    done = subprocess.run(
        ["perl", "-e", program, f"tar-in {hook_word(path)} /"], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.split("\0") == ["tar-in", str(path), "/"]


def test_a_place_in_the_list_of_mounts() -> None:
    assert unescaped("/a\\040b\\011\\012\\134x") == "/a b\t\n\\x"


def test_what_is_kept_in_files_is_read_as_it_was(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_paths = in_environment(odd, monkeypatch)
    run_folder = odd / " runs\n"
    run_folder.mkdir()
    env_paths.remember_run(run_folder)
    assert env_paths.unfinished_run == run_folder
    cache = ImageCache(odd / "cache/images")

    async def nothing(_: Path) -> None:
        pass

    async def obtained() -> Path:
        path, _ = await cache.obtain("a", "app", "k", nothing, waiting=lambda *_: None, deadline=Deadline.after(5))
        return path

    entry = run_async(obtained())
    user = odd / "state \n"
    user.mkdir()
    cache.pin(entry, user)
    assert cache.list_images()[0].pinned_by == (str(user),)
    remove_traces(env_paths)


def test_strays_of_a_path_that_qemu_was_given_with_its_commas_doubled(tmp_path: Path) -> None:
    env_paths = EnvironmentPaths("shop", tmp_path / "state", tmp_path / "a,b")
    with named("qemu-system-x86_64", f"socket,path={value(env_paths.sockets)}/server/qmp,server=on") as process:
        assert orphans(env_paths) == [process]


def test_the_command_line_works_from_such_a_checkout(odd: Path) -> None:
    root = Path(__file__).resolve().parents[2]
    for name in ("orchestrator", "debian-images", "stack", "standin", "suite"):
        shutil.copytree(root / name, odd / name, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    shutil.copy(root / "orchestrator.toml", odd)
    for words in (("validate",), ("graph",), ("config", "--json"), ("images", "list"), ("snapshot", "list")):
        done = subprocess.run(
            [sys.executable, "-m", "orchestrator", *words],
            cwd=odd,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "HOME": str(odd), "PYTHONPATH": str(odd), "TMPDIR": str(odd)},
        )
        assert done.returncode == 0, (words, done.stderr)


def test_machine_paths_are_escaped_one_by_one() -> None:
    paths = MachinePaths(Path("/w,1"), Path("/s,2"), Path("/l,3"))
    texts = script_arguments(machine(), paths, (), QemuSettings(accelerator="tcg", memory=Memory(Path("/m,4"))))
    nics = nics_of(
        machine("server", links=(link("lan", 2),)),
        {"server": machine("server", links=(link("lan", 2),))},
        {"lan": network("lan")},
        NetworkPaths(Path("/n,5"), Path("/l,3")),
    )
    pasted = [*texts, *(netdev for nic in nics for netdev in nic.netdevs)]
    for part in ("/s,2", "/l,3", "/m,4", "/n,5"):
        found = [text for text in pasted if part.replace(",", ",,") in text]
        assert found, part
        assert not [text for text in pasted if part in text]
