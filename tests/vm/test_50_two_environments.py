"""A second environment beside the first: another kind of network, small machines, nothing shared."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Shared
from host import Done, Host, edited_topology

NAME = "second"
LOOPBACK = "0x7f000001"  # a name every resolver knows


@pytest.fixture(scope="module")
def listeners() -> Iterator[list[int]]:
    """Two ports of this host: the first is open for `left`."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        yield [one.getsockname()[1], other.getsockname()[1]]


@pytest.fixture(scope="module")
def pair(listeners: list[int], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The topology of both, `left` with a list of what it may reach."""
    left = f'[machines.left]\negress = ["10.0.2.2:{listeners[0]}", "{LOOPBACK}:{listeners[0]}"]'
    return edited_topology(tmp_path_factory.mktemp("pair"), ("[machines.left]", left), source="pair.toml")


@pytest.fixture(scope="module")
def second(shared: Shared, pair: Path) -> Iterator[Done]:
    """Two machines on a network of kind socket, up while the shared environment is."""
    host = shared.host
    done = host.run("--file", str(pair), "-n", NAME, "up", limit=400)
    yield done
    host.run("-n", NAME, "down")


def test_both_run_side_by_side(vm: Host, second: Done) -> None:
    second.expect(0, "READY", "service reach: healthy")
    everything = vm.run("status", "--all", "--json").expect(0).json
    assert {one["name"]: one["state"] for one in everything} == {"vm-tests": "ready", NAME: "ready"}
    ports = [port for one in everything for m in one["machines"].values() for port in m["ports"].values()]
    assert len(set(ports)) == len(ports) == 5


def test_its_machines_reach_each_other_and_nothing_of_the_first(vm: Host, second: Done) -> None:
    script = """
for there in left right; do ping -c 1 -W 10 $there >/dev/null && echo "$there answers"; done
try() { timeout 5 bash -c "exec 3<>/dev/tcp/$1/80" 2>/dev/null && echo "$1 reached"; }
try 192.168.1.2 & try 192.168.1.1 & wait
grep -w server /etc/hosts || echo 'no server here'"""
    said = "left answers\nright answers\nno server here\n"
    for machine in ("left", "right"):
        assert vm.guest(machine, script, name=NAME) == said
    assert vm.guest("client", "timeout 5 ping -c 1 -W 4 192.168.1.11 >/dev/null || echo alone") == "alone\n"


def test_egress_is_each_machines_own(vm: Host, second: Done) -> None:
    """The host's side of QEMU's user network stands for the world: a test reaches no other."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        script = f"timeout 10 bash -c 'exec 3<>/dev/tcp/10.0.2.2/{port}' 2>/dev/null && echo out || echo shut"
        assert vm.guest("right", script, name=NAME) == "out\n"
        assert vm.guest("left", script, name=NAME) == "shut\n"
        assert vm.guest("client", script) == "shut\n"


def test_only_listed_destinations_are_reached(vm: Host, second: Done, listeners: list[int]) -> None:
    """By root in the guest, whatever it does to its own network."""
    script = f"""
try() {{ timeout 10 bash -c "exec 3<>/dev/tcp/$1/$2" 2>/dev/null && echo "$2 out" || echo "$2 shut"; }}
try 10.0.2.2 {listeners[0]}; try 10.0.2.2 {listeners[1]}
ip route replace default via 10.0.2.2; try 1.1.1.1 53
echo 'nameserver 10.0.2.3' > /etc/resolv.conf; timeout 10 getent ahostsv4 example.org || echo no name
: > /etc/resolv.conf
grep '# egress$' /etc/hosts"""
    out, shut = listeners
    said = f"{out} out\n{shut} shut\n53 shut\nno name\n10.0.2.2 {LOOPBACK} # egress\n"
    assert vm.guest("left", script, name=NAME) == said
    told = (vm.started_in(NAME) / "networks" / "egress-left.log").read_text()
    for refused in (f"tcp 10.0.2.2:{shut}", "tcp 1.1.1.1:53", "udp 10.0.2.3:53"):
        assert f"refused {refused}\n" in told


def test_small_means_small(vm: Host, second: Done) -> None:
    script = "nproc; awk '/MemTotal/ { print ($2 < 524288 && $2 > 400000) }' /proc/meminfo"
    assert vm.guest("left", script, name=NAME) == "1\n1\n"


def test_no_unit_of_the_stack_runs_before_it_is_started(vm: Host, second: Done) -> None:
    """This environment has no such services, so the boot alone decided."""
    units = ("postgresql", "postgresql-setup", "alicia-migrate", "mock-llm", "mock-livekit", "alicia", "nginx")
    script = "for unit in " + " ".join(units) + "; do systemctl show -p ActiveState --value $unit; done"
    assert vm.guest("left", script, name=NAME).split() == ["inactive"] * len(units)


def test_a_machine_whose_gate_is_gone_is_told(vm: Host, second: Done, pair: Path) -> None:
    gates = [pid for pid, line in vm.processes().items() if "egress_filter" in line]
    assert len(gates) == 1
    os.kill(gates[0], signal.SIGKILL)
    done = vm.run("--file", str(pair), "-n", NAME, "up", limit=60).expect(3)
    assert "the egress of left is gone" in done.stderr
    assert re.search(r"left +running", vm.run("--file", str(pair), "-n", NAME, "status").expect(3).stdout)


def test_down_of_one_leaves_the_other(vm: Host, second: Done) -> None:
    before = {machine: data["pid"] for machine, data in vm.status()["machines"].items()}
    vm.run("-n", NAME, "down").expect(0, within=10)
    assert not [line for line in vm.processes().values() if "left" in line or "right" in line]
    assert [folder.name for folder in (vm.root / "state/environments").iterdir()] == ["vm-tests"]
    after = {machine: data["pid"] for machine, data in vm.status()["machines"].items()}
    assert before == after
    vm.run("status").expect(0)
