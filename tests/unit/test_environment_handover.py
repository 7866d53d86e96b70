"""The hand-over's shell, pushed files, host places, and what the host must offer."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from fake_qemu import golden
from topology_parts import link, machine, network, topology

from orchestrator.environment.admission import admit, available_memory, disk_shortage, memory_shortage
from orchestrator.environment.handover import file_script, handover_script, journal_script, known_hosts_line, read_file
from orchestrator.environment.paths import EnvironmentPaths, environments, new_run_folder
from orchestrator.errors import HostError
from orchestrator.topology.load import missing_files
from orchestrator.topology.model import GuestFile, Service, ServiceKind

PAIR = {"server": machine("server", links=(link("lan", 2),)), "client": machine("client", links=(link("lan", 1),))}
SHOP = topology(Path("/shop"), *PAIR.values(), networks={"lan": network("lan")})
KEY = "ssh-ed25519 AAAA it's $mine"


def test_handover_text_is_shell() -> None:
    script = handover_script(PAIR["server"], SHOP, KEY)
    golden("vm/handover.sh", script + journal_script() + "\n")
    subprocess.run(["sh", "-n"], input=f"{script}\n{journal_script()}".encode(), check=True)


def test_handover_authorizes_one_key_and_prints_nothing(tmp_path: Path) -> None:
    """The whole script with its paths in a made-up root and programs that only listen."""
    for folder in (
        "etc/ssh",
        "root",
        "bin",
        "sys/class/net/ens4",
        "run/systemd/system",
        "dev/virtio-ports",
        "proc/sys/kernel",
        "sys/fs/cgroup/system.slice",
    ):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "sys/class/net/ens4/address").write_text("52:54:00:00:01:02\n")
    (tmp_path / "root/.ssh").mkdir(mode=0o700)
    (tmp_path / "root/.ssh/authorized_keys").write_text("baked in\n")
    started = f"printf '%s\\n' \"$@\" >> {tmp_path}/told"
    for program, does in (("ip", ":"), ("systemd-run", started)):
        (tmp_path / "bin" / program).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / "bin" / program).chmod(0o755)
    script = handover_script(PAIR["server"], SHOP, KEY) + journal_script()
    for path in ("/sys/class", "/sys/fs", "/proc/sys", "/etc/", "/root/", "/run/", "/dev/virtio-ports"):
        script = script.replace(path, f"{tmp_path}{path}")
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}

    def run() -> str:
        done = subprocess.run(["sh", "-s"], input=script, env=environment, capture_output=True, text=True, check=True)
        return done.stdout

    assert run() == ""
    assert (tmp_path / "proc/sys/kernel/hostname").read_text() == "server\n"
    assert (tmp_path / "root/.ssh/authorized_keys").read_text() == KEY + "\n"
    words = (tmp_path / "told").read_text().splitlines()
    assert words.count("--unit=orchestrator-journal.service") == 1
    (tmp_path / "sys/fs/cgroup/system.slice/orchestrator-journal.service").mkdir()
    assert run() == ""
    assert (tmp_path / "told").read_text().splitlines() == words, "a journal that is sent already is not sent twice"
    pump = words[-1]
    assert "journalctl --boot --follow --lines=all --output=json" in pump
    assert '[ "$name" = org.orchestrator.journal ]' in pump
    subprocess.run(["sh", "-n", "-c", pump], check=True)


VALUES = {"PLAIN": "x", "ODD": 'a "b" $HOME `id` \\n 100% %n', "LINES": "one\ntwo\tthree", "QUOTE": "it's"}


def test_the_environment_of_a_unit_is_a_drop_in_with_every_value_quoted(tmp_path: Path) -> None:
    shop = Service(
        "shop",
        "server",
        ServiceKind.DAEMON,
        "shop.service",
        environment=VALUES,
        environment_file=Path("secrets/shop.env"),
    )
    other = Service("other", "client", ServiceKind.DAEMON, "other.service", environment={"ON": "client"})
    plain = Service("plain", "server", ServiceKind.DAEMON, "plain.service")
    whole = replace(SHOP, services={one.name: one for one in (shop, other, plain)})
    assert "shop.service" not in handover_script(PAIR["server"], whole, KEY), "it is of a later stage"
    script = handover_script(PAIR["server"], whole, KEY, whole.services)
    assert "other.service" not in script
    assert "plain.service" not in script
    written = script[script.index("mkdir -p -m 0755 /run/systemd/system/shop.service.d") :]
    written = written.replace("/run/", f"{tmp_path}/run/")
    reload = f"#!/bin/sh\necho reloaded >> {tmp_path}/told\n"
    (tmp_path / "systemctl").write_text(reload)
    (tmp_path / "systemctl").chmod(0o755)
    subprocess.run(["sh", "-e"], input=written, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, text=True, check=True)
    assert (tmp_path / "told").read_text() == "reloaded\n"
    drop_in = (tmp_path / "run/systemd/system/shop.service.d/50-orchestrator.conf").read_text()
    assert f"EnvironmentFile={tmp_path}/run/orchestrator/environment/shop.env\n" in drop_in
    read = dict(assignment(line) for line in drop_in.splitlines() if line.startswith("Environment="))
    assert read == VALUES


def assignment(line: str) -> tuple[str, str]:
    """What systemd makes of ``Environment="…"``: C escapes undone, and ``%%`` is a percent sign."""
    word = line.removeprefix("Environment=")
    assert word[0] == word[-1] == '"'
    name, _, value = ast.literal_eval(word).replace("%%", "%").partition("=")
    return name, value


def test_the_environment_of_services_is_part_of_what_a_machine_gets(tmp_path: Path) -> None:
    shop = Service("shop", "server", ServiceKind.DAEMON, "shop.service", environment_file=tmp_path / "shop.env")
    whole = replace(SHOP, services={"shop": shop})
    target = "/run/orchestrator/environment/shop.env"
    assert whole.files_of("server") == (GuestFile(tmp_path / "shop.env", target, 0o600, required=True),)
    assert whole.files_of("client") == ()
    assert missing_files(whole) == (f'machine "server" needs {tmp_path}/shop.env, which does not exist',)


@pytest.mark.parametrize("name", ["a.env", "it's $HOME/x y.env", "-n", "deep/er/file"])
def test_pushed_files(tmp_path: Path, name: str) -> None:
    target = tmp_path / "made" / name
    content = bytes(range(256))
    for _ in range(2):
        script = file_script(str(target), 0o640)
        done = subprocess.run(["sh", "-c", script], input=content, capture_output=True, check=True)
        assert done.stderr == b""
        assert target.read_bytes() == content
        assert target.stat().st_mode & 0o777 == 0o640
        assert [path.name for path in target.parent.iterdir()] == [target.name]


def test_content_of_pushed_files(tmp_path: Path) -> None:
    missing = GuestFile(tmp_path / "none", "/x", required=False)
    assert read_file(missing) is None
    with pytest.raises(OSError, match="none"):
        read_file(GuestFile(tmp_path / "none", "/x"))
    (tmp_path / "some").write_bytes(b"\xff")
    assert read_file(GuestFile(tmp_path / "some", "/x")) == b"\xff"


def test_known_hosts_line() -> None:
    assert known_hosts_line(40001, "ssh-ed25519 AAAA root@server") == "[127.0.0.1]:40001 ssh-ed25519 AAAA"


# ------------------------------------------------------------------ places


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ORCH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    return tmp_path


def test_places_are_private_and_apart(home: Path) -> None:
    one, two = EnvironmentPaths.of("one"), EnvironmentPaths.of("two")
    assert one.sockets != two.sockets
    assert environments() == []
    for made in (one, two, one):
        made.make()
    assert environments() == ["one", "two"]
    for folder in (one.folder, one.sockets, one.sockets.parent):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert len(str(one.sockets)) < len(str(home / "run")) + 30


def test_the_same_name_in_another_state_folder_has_other_sockets(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = EnvironmentPaths.of("one").sockets
    monkeypatch.setenv("ORCH_STATE_DIR", str(home / "other"))
    assert EnvironmentPaths.of("one").sockets != first


def test_a_socket_folder_that_is_not_ours_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = EnvironmentPaths.of("one")
    parent = paths.sockets.parent
    parent.mkdir(parents=True)
    parent.chmod(0o755)
    with pytest.raises(HostError, match="own folder with mode 0700"):
        paths.make()
    parent.chmod(0o700)
    paths.make()
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    with pytest.raises(HostError, match="own folder"):
        paths.make()
    monkeypatch.undo()
    paths.sockets.rmdir()
    parent.rmdir()
    elsewhere = home / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    parent.symlink_to(elsewhere)
    with pytest.raises(HostError, match="own folder"):
        paths.make()
    assert list(elsewhere.iterdir()) == []


def test_a_state_folder_that_cannot_be_made(home: Path) -> None:
    (home / "state").write_text("a file")
    with pytest.raises(HostError, match="state folder of environment one cannot be made"):
        EnvironmentPaths.of("one").make()


def test_run_folders(tmp_path: Path) -> None:
    first, second = new_run_folder(tmp_path / "runs"), new_run_folder(tmp_path / "runs")
    assert first != second
    assert (tmp_path / "runs/latest").resolve() == second
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == sorted([first.name, second.name, "latest"])
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="run folder cannot be made"):
        new_run_folder(tmp_path / "file")


# ------------------------------------------------------------------ admission


def test_memory() -> None:
    assert available_memory("MemTotal: 1 kB\nMemAvailable:    2097152 kB\n") == 2048
    assert available_memory("") == 0
    machines = [machine("server", memory=1024), machine("client", memory=512)]
    needed = 1024 + 512 + 2 * 128 + 256
    assert memory_shortage(machines, needed) == ""
    assert memory_shortage(machines, needed - 1) == (
        "the machines need 2048 MiB of memory (server 1152 MiB, client 640 MiB, 256 MiB for the host), "
        "2047 MiB are available"
    )


def test_disk() -> None:
    assert disk_shortage(Path("/x"), 2048) == ""
    assert disk_shortage(Path("/x"), 2047).startswith("/x has 2047 MiB free, 2048 MiB are needed")


def test_all_shortages_are_told_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        small = machine("server", memory=1, ports=((port, 80), (0, 81)))
        with pytest.raises(HostError, match=f"port {port} of 127.0.0.1, wanted for server:80, is taken") as caught:
            admit([small], [])
        assert caught.value.evidence == ()
        with pytest.raises(HostError, match="this host cannot run the environment now") as caught:
            admit([small, machine("huge", memory=1 << 30)], [])
        assert len(caught.value.evidence) == 2
    admit([small], [])
