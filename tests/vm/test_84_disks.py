"""Disks that nobody prepared for us: one with cloud-init and an agent, one with neither, reached by SSH only.

Both are made of Debian's packages (cloud_disk.py), once for each cache, and boot together in one environment. A
container image of the same system is the third.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cloud_disk
import pytest
from conftest import MEASURES, keep, opened
from host import Host

from orchestrator.folders import cache_root

pytestmark = pytest.mark.long  # two disks and a kernel are built first
MACHINES = ("agent", "plain")
TOPOLOGY = """
name = "disks"
[networks.lan]
subnet = "10.77.0.0/24"
[images.agent]
disk = "{agent}"
[images.plain]
disk = "{plain}"
[machines.agent]
image = "agent"
memory = "512MiB"
networks.lan = {{ address = "10.77.0.10" }}
[machines.plain]
image = "plain"
memory = "512MiB"
networks.lan = {{ address = "10.77.0.11" }}
[services.login]
machine = "plain"
unit = "systemd-logind.service"
checks.ssh = {{ tcp = "localhost:22" }}
[services.reach]
machine = "agent"
unit = "systemd-logind.service"
depends_on = ["login"]
checks.ssh = {{ tcp = "plain:22" }}
checks.key = {{ file = "/root/.ssh/authorized_keys" }}
"""
CONTAINER = """
name = "container"
[images.container]
oci = "{archive}"
[machines.container]
image = "container"
memory = "512MiB"
[services.ssh]
machine = "container"
unit = "ssh.service"
checks.port = {{ tcp = "localhost:22" }}
"""


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """Both machines, READY."""
    root = tmp_path_factory.mktemp("disks")
    made = cloud_disk.make(cache_root() / "test-disks")  # a minute or two, once for each cache
    topology = root / "orchestrator.toml"
    topology.write_text(TOPOLOGY.format(**made))
    with opened(root / "host", topology) as host:
        done = host.run("up", "--fresh", limit=600)
        if done.code != 0:
            keep(host, "disks-up")
            done.expect(0)
        MEASURES.append(f"two cloud disks from nothing to READY: {done.seconds:.0f} s")
        yield host


def state(host: Host) -> dict[str, dict[str, object]]:
    (file,) = (host.root / "state").glob("environments/*/state.json")
    found: dict[str, dict[str, object]] = json.loads(file.read_text())["machines"]
    return found


def test_a_guest_without_an_agent_is_ready_in_the_same_way(disks: Host) -> None:
    assert {name: state(disks)[name]["ssh_only"] for name in MACHINES} == {"agent": False, "plain": True}
    (note,) = (event["message"] for event in disks.events("note") if "SSH only" in event["message"])
    assert note.startswith("it has no guest agent and is reached by SSH only")
    assert {machine["state"] for machine in disks.status()["machines"].values()} == {"running"}
    for name in MACHINES:
        assert disks.guest(name, "cat /proc/sys/kernel/hostname; exit 3", code=3) == f"{name}\n"
        journal = (disks.latest / "machines" / name / "journal.jsonl").read_text()
        assert "Server listening on" in journal, "the stream of the journal needs no agent"


def test_keys_are_of_this_environment_and_in_no_image(disks: Host) -> None:
    (public,) = (disks.root / "state").glob("environments/*/*.pub")
    for name in MACHINES:
        assert disks.guest(name, "cat /root/.ssh/authorized_keys").strip() == public.read_text().strip()
        shown = disks.guest(name, "cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub").strip()
        assert str(state(disks)[name]["host_key"]).startswith(shown)
        image = Path(str(state(disks)[name]["image"]))
        secret = public.read_text().split()[1].encode()
        assert all(secret not in file.read_bytes() for file in image.glob("*.json"))
        command = Path(f"/proc/{json.loads(json.dumps(state(disks)[name]['process']))['pid']}/cmdline").read_bytes()
        assert secret not in command and b"PRIVATE" not in command


def test_a_machine_that_is_reached_by_ssh_only_restarts(disks: Host) -> None:
    before = disks.guest("plain", "cat /proc/sys/kernel/random/boot_id")
    disks.run("restart", "machine:plain", limit=300).expect(0)
    assert disks.guest("plain", "cat /proc/sys/kernel/random/boot_id") != before
    disks.run("status", "--checks", limit=60).expect(0)


def test_its_state_cannot_be_saved_and_the_reason_is_said(disks: Host) -> None:
    done = disks.run("snapshot", "save", "mine")
    done.expect(3, "machine plain cannot be saved", "it has no guest agent")


def test_a_container_image_is_a_machine_with_a_kernel_of_debian(disks: Host, tmp_path: Path) -> None:
    archive = cloud_disk.make(cache_root() / "test-disks")["container"]
    topology = tmp_path / "container.toml"
    topology.write_text(CONTAINER.format(archive=archive))
    try:
        done = disks.run("-n", "container", "up", "--file", str(topology), "--fresh", limit=900).expect(0)
        MEASURES.append(f"a container image from its archive to READY: {done.seconds:.0f} s")
        said = disks.guest("container", "cat /proc/1/comm; ls /boot /etc/fstab 2>&1; uname -r", name="container")
        lines = said.splitlines()
        assert lines[0] == "systemd"
        assert any("/etc/fstab" in line and "No such file" in line for line in lines), "its second layer hides it"
        assert lines[-1].endswith("-cloud-amd64")
        modules = disks.guest("container", 'test -d "/lib/modules/$(uname -r)" && lsmod', name="container")
        assert "virtio_net" in modules
    finally:
        keep(disks, "container")
        disks.run("-n", "container", "down")
