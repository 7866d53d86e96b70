"""What a foreign guest is told at its first boot: the files of the seed, the credentials, the arguments of QEMU."""

from __future__ import annotations

import base64
import io
import json
import stat
from dataclasses import replace
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path

import pycdlib
from topology_parts import machine

from orchestrator.guest.seed import credentials, prepare, seed_files, told_host_key
from orchestrator.topology.model import Interface, Machine
from orchestrator.vm.arguments import MachinePaths

KEY = "ssh-ed25519 AAAA orchestrator-one"
HOST = ("-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n", "ssh-ed25519 BBBB")


def linked() -> Machine:
    link = Interface("lan", IPv4Address("10.1.0.5"), 24, "52:54:00:00:00:05")
    return replace(machine("server"), links=(link,))


def test_cloud_init_gets_keys_name_and_addresses() -> None:
    files = seed_files(linked(), KEY, HOST)
    assert set(files) == {"meta-data", "user-data", "network-config"}
    assert json.loads(files["meta-data"])["local-hostname"] == "server"
    begin, _, user = files["user-data"].partition("\n")
    assert begin == "#cloud-config"
    told = json.loads(user)
    assert told["users"] == [{"name": "root", "lock_passwd": False, "ssh_authorized_keys": [KEY]}]
    assert told["ssh_keys"] == {"ed25519_private": HOST[0], "ed25519_public": HOST[1] + "\n"}
    assert told["disable_root"] is False
    cards = json.loads(files["network-config"])["ethernets"]
    assert cards["user"]["match"] == {"macaddress": "52:54:00:12:34:56"}
    assert cards["user"]["addresses"] == ["10.0.2.15/24"]
    assert "optional" not in cards["user"], "the boot waits for it"
    assert (cards["lan"]["addresses"], cards["lan"]["optional"]) == (["10.1.0.5/24"], True)


def test_only_a_machine_that_may_reach_the_outside_has_a_route_there() -> None:
    closed = json.loads(seed_files(machine("server"), KEY, HOST)["network-config"])
    assert "routes" not in closed["ethernets"]["user"]
    assert "Gateway" not in credentials(machine("server"), KEY, HOST)["network.network.10-user"]
    opened = replace(machine("server"), egress=True)
    card = json.loads(seed_files(opened, KEY, HOST)["network-config"])["ethernets"]["user"]
    assert card["routes"] == [{"to": "0.0.0.0/0", "via": "10.0.2.2"}]
    assert "Gateway=10.0.2.2\nDNS=10.0.2.3\n" in credentials(opened, KEY, HOST)["network.network.10-user"]


def test_systemd_gets_the_same() -> None:
    told = credentials(linked(), KEY, HOST)
    assert told["ssh.authorized_keys.root"] == KEY + "\n"
    private, public = told["tmpfiles.extra"].splitlines()
    words = private.split()
    assert words[:6] == ["f+~", "/etc/ssh/ssh_host_ed25519_key", "0600", "root", "root", "-"]
    assert base64.b64decode(words[6]).decode() == HOST[0]
    assert base64.b64decode(public.split()[6]).decode() == HOST[1] + "\n"
    assert "MACAddress=52:54:00:00:00:05\n" in told["network.network.10-lan"]
    assert "Address=10.1.0.5/24\n" in told["network.network.10-lan"]


def test_the_seed_is_a_disk_that_cloud_init_finds_and_no_secret_is_an_argument(tmp_path: Path) -> None:
    work = tmp_path / "a, b"
    work.mkdir()
    paths = MachinePaths(work, tmp_path / "s", tmp_path / "l")
    assert told_host_key(paths) == ""
    arguments = prepare(linked(), KEY, paths)
    image = pycdlib.PyCdlib()
    image.open(str(paths.seed))
    assert image.pvd.volume_identifier.strip() == b"cidata"
    names = [child.file_identifier().decode("utf-16-be") for child in image.list_children(joliet_path="/")][2:]
    assert sorted(names) == ["meta-data", "network-config", "user-data"]
    content = io.BytesIO()
    image.get_file_from_iso_fp(content, rr_path="/user-data")
    image.close()
    told = json.loads(content.getvalue().decode().partition("\n")[2])
    assert told["ssh_keys"]["ed25519_public"] == told_host_key(paths) + "\n"
    for file in (paths.seed, *paths.credentials.iterdir()):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert arguments[1] == f"file={tmp_path}/a,, b/seed.iso,id=orch-seed,if=none,format=raw,readonly=on"
    shown = [value for word, value in pairwise(arguments) if word == "-smbios"]
    assert len(shown) == 4
    assert all(value.startswith("type=11,path=") and "PRIVATE" not in value for value in shown)
    one = (paths.credentials / "ssh.authorized_keys.root").read_text()
    encoded = base64.b64encode(f"{KEY}\n".encode()).decode()
    assert one == f"io.systemd.credential.binary:ssh.authorized_keys.root={encoded}"


def test_a_machine_that_starts_again_is_told_the_same(tmp_path: Path) -> None:
    paths = MachinePaths(tmp_path, tmp_path / "s", tmp_path / "l")
    first = prepare(machine("server"), KEY, paths)
    key, seed = told_host_key(paths), paths.seed.read_bytes()
    assert prepare(machine("server"), KEY, paths) == first
    assert (told_host_key(paths), paths.seed.read_bytes()) == (key, seed)
