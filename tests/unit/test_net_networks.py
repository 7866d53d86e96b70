"""Networks: netdev values, socket names, a real switch, and the guest's script run in a made-up guest."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from fake_qemu import golden, run_async
from topology_parts import link, machine, network

from orchestrator.deadline import Deadline
from orchestrator.errors import HostError
from orchestrator.net.guest_script import guest_network_script
from orchestrator.net.networks import (
    NetworkPaths,
    check_lengths,
    connects_again,
    nics_of,
    start_switch,
)
from orchestrator.topology.model import Machine, Network, NetworkKind

PATHS = NetworkPaths(Path("/run/o"), Path("/runs/r1/networks"))
THREE = {
    "server": machine("server", links=(link("lan", 2),)),
    "client": machine("client", links=(link("lan", 1),)),
    "second": machine("second", links=(link("lan", 3),)),
    "alone": machine("alone"),
}


def cards(machines: dict[str, Machine], networks: dict[str, Network]) -> str:
    text = ""
    for name, one in machines.items():
        text += f"{name}\n"
        for nic in nics_of(one, machines, networks, PATHS):
            text += "".join(f"  netdev {netdev}\n" for netdev in nic.netdevs) + f"  card {nic.netdev_id} {nic.mac}\n"
    return text


@pytest.mark.parametrize("kind", list(NetworkKind))
@pytest.mark.parametrize("count", [2, 3])
def test_machines_on_one_network(kind: NetworkKind, count: int) -> None:
    names = [*list(THREE)[:count], "alone"]
    golden(f"net/{kind.value}-{count}.txt", cards({n: THREE[n] for n in names}, {"lan": network("lan", kind)}))


def test_two_socket_networks_do_not_share_a_hub_or_a_wire() -> None:
    machines = {
        "server": machine("server", links=(link("lan", 2), link("back", 2, subnet=2))),
        "client": machine("client", links=(link("lan", 1), link("back", 1, subnet=2))),
    }
    networks = {
        "lan": network("lan", NetworkKind.SOCKET),
        "back": network("back", NetworkKind.SOCKET, subnet=2),
    }
    golden("net/two-socket-networks.txt", cards(machines, networks))


def test_both_ends_of_every_wire_meet() -> None:
    networks = {"lan": network("lan", NetworkKind.SOCKET)}
    netdevs = [d for m in THREE.values() for nic in nics_of(m, THREE, networks, PATHS) for d in nic.netdevs]
    ends = {
        side: sorted(d.split("addr.path=")[1].split(",")[0] for d in netdevs if f"server={side}" in d)
        for side in ("on", "off")
    }
    assert ends["on"] == ends["off"] == ["/run/o/lan.client", "/run/o/lan.second"]


def test_who_connects_to_another_machine_may_have_to_do_it_again() -> None:
    """Then it cannot give up its user: the sockets are that user's own."""
    three = {n: machine(n, links=(link("lan", k),)) for k, n in enumerate(("first", "second", "third"), 2)}
    paths = NetworkPaths(Path("/s"), Path("/l"))
    for kind, wanted in ((NetworkKind.SOCKET, [False, True, True]), (NetworkKind.VDE, [False] * 3)):
        lan = {"lan": network("lan", kind)}
        assert [connects_again(nics_of(one, three, lan, paths)) for one in three.values()] == wanted


def test_socket_names_are_measured_in_bytes() -> None:
    lan = network("lan")
    # /…/a/egress-out is 13 bytes longer than the folder
    check_lengths(NetworkPaths(Path("/" + "x" * 93), Path("/")), lan, ["a"])
    with pytest.raises(HostError, match="longer than 107 bytes") as caught:
        check_lengths(NetworkPaths(Path("/" + "x" * 94), Path("/")), lan, ["a"])
    assert "XDG_RUNTIME_DIR" in caught.value.hint
    with pytest.raises(HostError):
        check_lengths(NetworkPaths(Path("/" + "é" * 60), Path("/")), lan, ["a"])


def test_a_real_switch_starts_is_private_and_ends(tmp_path: Path) -> None:
    paths = NetworkPaths(tmp_path, tmp_path)

    async def scenario() -> None:
        process = await start_switch(network("lan"), paths, Deadline.after(10))
        try:
            assert process.alive
            assert paths.switch("lan").stat().st_mode & 0o077 == 0
            with pytest.raises(HostError, match="ended at once") as caught:
                nowhere = NetworkPaths(tmp_path / "missing", tmp_path)
                await start_switch(network("no", subnet=2), nowhere, Deadline.after(10))
            assert caught.value.evidence, "the switch's own words are kept"
        finally:
            await process.end()
        assert not process.alive

    run_async(scenario())


def test_a_missing_switch_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HostError, match="vde_switch is not installed"):
        run_async(start_switch(network("lan"), NetworkPaths(tmp_path, tmp_path), Deadline.after(5)))


def test_a_switch_that_never_listens_is_an_error_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "vde_switch"
    script.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    deadline = Deadline.after(0.3)
    try:
        with pytest.raises(HostError, match="did not start"):
            run_async(start_switch(network("lan"), NetworkPaths(tmp_path, tmp_path), deadline))
        assert deadline.elapsed < 20
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


# ------------------------------------------------------------------ the guest's script

TWO_NETWORKS = {
    "server": machine("server", links=(link("lan", 2), link("db-net", 9, subnet=7))),
    "client": machine("client", links=(link("lan", 1),)),
}


def test_guest_script_text() -> None:
    golden("net/guest-script.sh", guest_network_script(TWO_NETWORKS["server"], TWO_NETWORKS))
    golden("net/guest-script-alone.sh", guest_network_script(THREE["alone"], THREE))


@pytest.mark.parametrize("name", list(THREE))
def test_guest_script_is_shell(name: str) -> None:
    script = guest_network_script(THREE[name], THREE)
    subprocess.run(["sh", "-n"], input=script.encode(), check=True)


class Guest:
    """A root folder with network cards, where the script's programs only write down what they are told."""

    def __init__(self, root: Path, cards: dict[str, str]) -> None:
        self.root = root
        for folder in ("etc", "bin", "proc/sys/kernel"):
            (root / folder).mkdir(parents=True)
        for name, mac in cards.items():
            (root / "sys/class/net" / name).mkdir(parents=True)
            (root / "sys/class/net" / name / "address").write_text(mac + "\n")
        # Real guests have such a file between the cards.
        (root / "sys/class/net/bonding_masters").write_text("")
        (root / "bin/ip").write_text(f'#!/bin/sh\necho ip "$@" >> {root}/told\ncat >> {root}/told\n')
        (root / "bin/ip").chmod(0o755)

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        for path in ("/sys/class/net", "/etc/", "/proc/sys"):
            script = script.replace(path, f"{self.root}{path}")
        return subprocess.run(
            ["sh", "-s"],
            input="set -e\n" + script,
            env={"PATH": f"{self.root}/bin:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=False,
        )


def test_guest_script_in_a_guest_twice(tmp_path: Path) -> None:
    guest = Guest(tmp_path, {"lo": "00:00:00:00:00:00", "ens3": "52:54:00:00:07:09", "ens4": "52:54:00:00:01:02"})
    store = tmp_path / "store"
    store.write_text("read-only\n")
    (tmp_path / "etc/hosts").symlink_to(store)
    script = guest_network_script(TWO_NETWORKS["server"], TWO_NETWORKS)
    for _ in range(2):
        done = guest.run(script)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        assert (tmp_path / "etc/hosts").read_text() == (
            "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n192.168.1.2 server\n192.168.1.1 client\n"
        )
    assert not (tmp_path / "etc/hosts").is_symlink()
    assert (tmp_path / "etc/hosts").stat().st_mode & 0o777 == 0o644
    assert store.read_text() == "read-only\n"
    once = (
        "ip -batch -\n"
        "address replace 192.168.1.2/24 dev ens4\nlink set ens4 up\n"
        "address replace 192.168.7.9/24 dev ens3\nlink set ens3 up\n\n"
    )
    assert (tmp_path / "proc/sys/kernel/hostname").read_text() == "server\n"
    assert (tmp_path / "told").read_text() == once * 2


@pytest.mark.parametrize("egress", [True, False])
def test_names_outside_are_only_asked_for_where_somebody_answers(tmp_path: Path, egress: bool) -> None:
    guest = Guest(tmp_path, {"lo": "00:00:00:00:00:00"})
    store = tmp_path / "store"
    store.write_text("nameserver 10.0.2.3\n")
    (tmp_path / "etc/resolv.conf").symlink_to(store)
    done = guest.run(guest_network_script(machine("alone", egress=egress), {}))
    assert done.returncode == 0, done.stderr
    assert ("nameserver" in (tmp_path / "etc/resolv.conf").read_text()) is egress
    assert store.read_text() == "nameserver 10.0.2.3\n"


def test_guest_script_without_the_card_says_which_and_leaves_the_names(tmp_path: Path) -> None:
    guest = Guest(tmp_path, {"ens4": "52:54:00:00:01:02"})
    done = guest.run(guest_network_script(TWO_NETWORKS["server"], TWO_NETWORKS))
    assert done.returncode == 71
    assert "no network card with the address 52:54:00:00:07:09" in done.stderr
    assert not (tmp_path / "etc/hosts").exists()


def test_a_machine_without_links_still_knows_its_own_name(tmp_path: Path) -> None:
    guest = Guest(tmp_path, {"lo": "00:00:00:00:00:00"})
    done = guest.run(guest_network_script(THREE["alone"], THREE))
    assert done.returncode == 0, done.stderr
    assert "127.0.1.1 alone\n" in (tmp_path / "etc/hosts").read_text()
