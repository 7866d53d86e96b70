"""Faults on real machines: each is measured by a probe in a guest, and nothing is left of it."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator

import pytest
from conftest import Shared
from host import Host

PING = "ping -q -c {count} -i 0.2 -W 2 server"


@pytest.fixture(scope="module", autouse=True)
def running(shared: Shared) -> None:
    """Tests before these may have taken it down."""
    shared.host.run("up", limit=600).expect(0)


@pytest.fixture(autouse=True)
def nothing_stays(vm: Host) -> Iterator[None]:
    yield
    vm.run("fault", "clear").expect(0)


def ping(vm: Host, count: int = 5) -> tuple[int, float]:
    """How many answers came, and the mean round trip in milliseconds."""
    text = vm.guest("client", f"{PING.format(count=count)} || true")
    received = re.search(r"(\d+) received", text)
    mean = re.search(r"= [\d.]+/([\d.]+)/", text)
    return int(received[1]) if received else 0, float(mean[1]) if mean else 0.0


def test_frames_come_later_and_at_once_again(vm: Host) -> None:
    before = ping(vm)[1]
    vm.run("fault", "add", "latency", "server.lan", "delay=100ms").expect(0, "fault latency-server-lan: .* began")
    received, mean = ping(vm)
    assert received == 5
    assert mean - before == pytest.approx(200, rel=0.2)
    assert vm.run("fault", "list", "--json").expect(0).json[-1]["active"]
    vm.run("fault", "clear").expect(0, r"ended after .*frames=\d+")
    assert ping(vm)[1] < 100


def test_machines_of_two_groups_do_not_reach_each_other(vm: Host) -> None:
    vm.run("fault", "add", "partition", "lan", 'groups=[["server"],["client"]]').expect(0)
    assert ping(vm, 2)[0] == 0
    assert "state UP" in vm.guest("client", "ip link"), "no cable was pulled"
    vm.run("fault", "clear").expect(0)
    assert ping(vm, 2)[0] == 2


def test_a_service_is_killed_and_runs_again_at_the_end(vm: Host) -> None:
    vm.run("fault", "add", "kill", "nginx").expect(0, "nginx.service is failed")
    vm.guest("client", "curl -sm5 http://server/", code=7)
    vm.run("fault", "clear").expect(0)
    vm.guest("client", "curl -sfm20 http://server/health")


def test_a_fault_of_a_killed_command_is_ended_by_the_next_one(vm: Host) -> None:
    running = vm.start("fault", "add", "pause", "server", "--for", "10m")
    running.until_says("began", 30)
    running.send(signal.SIGKILL)
    running.wait(10)
    assert ping(vm, 2)[0] == 0
    vm.run("up", limit=120).expect(0, "had left pause-server on; ended")
    assert ping(vm, 2)[0] == 2


def test_what_is_wrong_is_said_before_anything_is_broken(vm: Host) -> None:
    vm.run("fault", "add", "latency", "server.lan").expect(2, 'has no "delay"', within=10)
    vm.run("fault", "add", "latncy", "server").expect(2, "there is no fault 'latncy'", within=10)


@pytest.mark.long
@pytest.mark.parametrize(
    ("words", "machine", "probe", "seen"),
    [
        (
            "clock-skew server offset=-1h",
            "server",
            "date -u +%s",
            lambda text: abs(time.time() - 3600 - int(text)) < 60,
        ),
        (
            "disk-slow server bytes_per_second=256KiB",
            "server",
            "dd if=/dev/zero of=/var/tmp/x bs=64k count=16 oflag=direct 2>&1 | tail -n1; rm -f /var/tmp/x",
            lambda text: 200 < float(re.search(r"([\d.]+) kB/s", text)[1]) < 330,  # type: ignore[index]
        ),
        (
            "disk-error server operation=write",
            "server",
            "dd if=/dev/zero of=/var/tmp/x bs=64k count=1 oflag=direct 2>&1; rm -f /var/tmp/x; true",
            lambda text: "error" in text.lower(),
        ),
        ("disk-full client leave=4MiB", "client", "df -B1 --output=avail / | tail -n1", lambda text: int(text) < 21e6),
        (
            "mtu client.lan mtu=600",
            "client",
            "ping -c1 -M do -s 1000 server 2>&1; true",
            lambda text: "too long" in text,
        ),
        (
            'dns-fail client names=["server"]',
            "client",
            "getent hosts server; echo $?",
            lambda text: text.strip() == "2",
        ),
        (
            "loss server.lan percent=50 seed=3",
            "client",
            PING.format(count=40) + "; true",
            lambda text: "100%" not in text,
        ),
        (
            "memory-pressure server bytes=64MiB",
            "server",
            "systemctl is-active 'orchestrator-fault-*'",
            lambda text: "active" in text,
        ),
        ("freeze nginx", "client", "curl -sm3 http://server/; echo $?", lambda text: text.strip() == "28"),
    ],
)
def test_the_effect_is_what_was_asked(vm: Host, words: str, machine: str, probe: str, seen) -> None:  # type: ignore[no-untyped-def]
    vm.run("fault", "add", *words.split()).expect(0)
    text = vm.guest(machine, probe)
    vm.run("fault", "clear").expect(0)
    assert seen(text), text
    vm.guest("client", "curl -sfm20 http://server/health")
