"""A second environment beside the first: another kind of network, small machines, nothing shared."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from conftest import Shared
from host import HERE, Done, Host

NAME = "second"


@pytest.fixture(scope="module")
def second(shared: Shared) -> Iterator[Done]:
    """Two machines on a network of kind socket, up while the shared environment is."""
    host = shared.host
    done = host.run("--file", str(HERE / "pair.toml"), "-n", NAME, "up", limit=400)
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


def test_small_means_small(vm: Host, second: Done) -> None:
    script = "nproc; awk '/MemTotal/ { print ($2 < 524288 && $2 > 400000) }' /proc/meminfo"
    assert vm.guest("left", script, name=NAME) == "1\n1\n"


def test_no_unit_of_the_stack_runs_before_it_is_started(vm: Host, second: Done) -> None:
    """This environment has no such services, so the boot alone decided."""
    units = ("postgresql", "postgresql-setup", "alicia-migrate", "mock-llm", "mock-livekit", "alicia", "nginx")
    script = "for unit in " + " ".join(units) + "; do systemctl show -p ActiveState --value $unit; done"
    assert vm.guest("left", script, name=NAME).split() == ["inactive"] * len(units)


def test_down_of_one_leaves_the_other(vm: Host, second: Done) -> None:
    before = {machine: data["pid"] for machine, data in vm.status()["machines"].items()}
    vm.run("-n", NAME, "down").expect(0, within=10)
    assert not [line for line in vm.processes().values() if "left" in line or "right" in line]
    assert [folder.name for folder in (vm.root / "state/environments").iterdir()] == ["vm-tests"]
    after = {machine: data["pid"] for machine, data in vm.status()["machines"].items()}
    assert before == after
    vm.run("status").expect(0)
