"""What is wrong with the host is said at once, before or instead of a boot."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest
from host import HERE, Host, edited_topology, free_space_mount

from orchestrator.environment.lock import hold
from orchestrator.environment.paths import EnvironmentPaths

QEMU = "qemu-system-x86_64"
SOON = 15.0  # seconds; on a busy machine, Python alone may need two


def wrapper(folder: Path, text: str) -> str:
    """A PATH on which QEMU is the given shell script."""
    folder.mkdir()
    script = folder / QEMU
    script.write_text(f"#!/bin/sh\n{text}\n")
    script.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def test_without_qemu(bare: Host, tmp_path: Path) -> None:
    for folder in os.environ["PATH"].split(":"):
        for program in Path(folder).iterdir() if Path(folder).is_dir() else ():
            link = tmp_path / program.name
            if not program.name.startswith("qemu-system") and not link.is_symlink():
                link.symlink_to(program)
    done = bare.run("up", PATH=str(tmp_path))
    done.expect(3, rf"error: {QEMU} is not installed", r"next: +orchestrator host-setup", within=SOON)
    bare.assert_nothing_left()


def test_an_old_qemu(bare: Host, tmp_path: Path) -> None:
    path = wrapper(tmp_path / "bin", "echo 'QEMU emulator version 7.2.0 (Debian 1:7.2+dfsg-7)'")
    done = bare.run("up", PATH=path)
    done.expect(3, r"error: QEMU 7\.2\.0 is too old, 10\.0 is needed", "bookworm-backports", within=SOON)
    bare.assert_nothing_left()


def test_a_qemu_that_ends_at_once(bare: Host, tmp_path: Path) -> None:
    real = shutil.which(QEMU)
    path = wrapper(
        tmp_path / "bin",
        f'[ "$1" = --version ] && exec {real} --version\necho "cannot set up guest memory: testing" >&2\nexit 1',
    )
    done = bare.run("up", PATH=path)
    done.expect(
        3, r"error: QEMU of machine (server|client) exited with 1", "cannot set up guest memory: testing", within=SOON
    )
    bare.assert_nothing_left(within=1)


def test_no_space_for_the_state_folder(bare: Host) -> None:
    state = bare.root / "state"
    state.mkdir(exist_ok=True)
    done = bare.run("up", before=free_space_mount(state, "64m"))
    done.expect(3, r"error: .*/state.* has 6\d MiB free, 2048 MiB are needed", "next: ", within=SOON)
    bare.assert_nothing_left()


def test_too_little_memory(bare: Host, tmp_path: Path) -> None:
    file = edited_topology(tmp_path, ('memory = "2GiB"', 'memory = "1024GiB"'))
    done = bare.run("--file", str(file), "up")
    done.expect(3, r"error: the machines need \d+ MiB of memory", r"client 1048704 MiB", r"next: .*memory", within=SOON)
    bare.assert_nothing_left()


def test_a_fixed_port_that_is_taken(bare: Host, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        file = edited_topology(tmp_path, ('ports = ["80"]', f'ports = ["{port}:80"]'))
        done = bare.run("--file", str(file), "up")
    done.expect(3, rf"error: port {port} of 127\.0\.0\.1, wanted for server:80, is taken", "next: ", within=SOON)
    bare.assert_nothing_left()


def test_several_shortages_are_told_together(bare: Host, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        file = edited_topology(
            tmp_path, ('ports = ["80"]', f'ports = ["{port}:80"]'), ('memory = "2GiB"', 'memory = "1024GiB"')
        )
        done = bare.run("--file", str(file), "up")
    done.expect(3, "error: this host cannot run the environment now", "MiB of memory", f"port {port}", within=SOON)


def test_a_held_lock_names_its_holder(bare: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in bare.environment().items():
        monkeypatch.setenv(name, value)
    with hold(EnvironmentPaths.of("vm-tests").lock, "vm-tests", "orchestrator run --grep tea"):
        done = bare.run("up")
    done.expect(
        5,
        r"error: environment vm-tests is held by another command",
        rf"why: +pid {os.getpid()}, `orchestrator run --grep tea`, since 20",
        "next: ",
        within=SOON,
    )
    assert bare.processes() == {}


@pytest.mark.parametrize("kind", ["open", "link"])
def test_a_socket_folder_that_is_not_private(bare: Host, tmp_path: Path, kind: str) -> None:
    folder = bare.runtime / f"orch-{os.getuid()}"
    if kind == "open":
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
    else:
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    try:
        done = bare.run("up")
    finally:
        folder.unlink() if kind == "link" else folder.rmdir()
    done.expect(3, rf"error: {folder} is not this user's own folder", "next: .*XDG_RUNTIME_DIR", within=SOON)
    bare.assert_nothing_left()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_socket_folder_of_somebody_else(bare: Host) -> None:
    folder = bare.runtime / f"orch-{os.getuid()}"
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    try:
        done = bare.run("up")
    finally:
        folder.rmdir()
    done.expect(3, rf"error: {folder} is not this user's own folder", within=SOON)


def test_a_runtime_folder_too_long_for_sockets(bare: Host, tmp_path: Path) -> None:
    long = tmp_path / ("x" * 80)
    long.mkdir(mode=0o700)
    done = bare.run("up", XDG_RUNTIME_DIR=str(long))
    done.expect(3, "longer than 107 bytes", "next: .*XDG_RUNTIME_DIR", within=SOON)
    assert not list(long.iterdir())


def test_every_error_of_a_topology_at_once(bare: Host, tmp_path: Path) -> None:
    file = edited_topology(
        tmp_path,
        ('memory = "2GiB"', 'memry = "2GiB"'),
        ('address = "192.168.1.1"', 'address = "10.9.9.9"'),
        ('depends_on = ["backend"]', 'depends_on = ["backed"]'),
    )
    done = bare.run("--file", str(file), "up")
    done.expect(
        2,
        r"edited\.toml:\d+:\d+: .*memry.*memory",
        r"edited\.toml:\d+:\d+: .*10\.9\.9\.9",
        r"edited\.toml:\d+:\d+: .*backed.*backend",
        within=SOON,
    )
    bare.assert_nothing_left()


def test_a_variant_that_is_not_there(bare: Host) -> None:
    bare.run("up", "--variant", "mok").expect(2, "mok", "mock", "minimal", "full", within=SOON)


def test_an_application_without_its_parts(bare: Host, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/alicia").write_text("#!/bin/sh\n")
    (tmp_path / "bin/alicia").chmod(0o755)
    done = bare.run("up", "--app", str(tmp_path))
    done.expect(2, "share/alicia/frontend", "share/alicia/migrations", "!bin/alicia is missing", within=SOON)
    bare.assert_nothing_left()


def test_a_file_that_is_not_there(bare: Host) -> None:
    bare.run("--file", str(HERE / "nowhere.toml"), "up").expect(2, r"nowhere\.toml", within=SOON)


def test_what_does_not_run_cannot_be_visited(bare: Host) -> None:
    for words in (["exec", "server", "--", "true"], ["shell", "server"], ["restart", "nginx"], ["ssh-config"]):
        bare.run(*words).expect(3, "error: environment vm-tests does not run", "next: +orchestrator up", within=SOON)
    assert bare.run("status").expect(3).stdout.startswith("vm-tests: down")
    bare.run("down").expect(0, within=SOON)
    bare.run("down").expect(0, "does not exist; nothing to do", within=SOON)
