"""Four environments at once, and eight commands at once on one of them: everybody is answered, and truthfully."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from conftest import Shared
from host import HERE, Done, Host, collected

NAMES = ("one", "two", "three", "four")
PAIR = ("--file", str(HERE / "pair.toml"))


@pytest.fixture(scope="module")
def four(shared: Shared) -> Iterator[dict[str, Done]]:
    """Four of the small pair. The shared environment is down: four are what is promised."""
    host = shared.host
    host.run("down").expect(0)
    found = {NAMES[0]: host.run(*PAIR, "-n", NAMES[0], "up", limit=400)}
    running = {name: host.start(*PAIR, "-n", name, "up") for name in NAMES[1:]}
    with collected(*running.values()):
        found |= {name: one.wait(400) for name, one in running.items()}
    yield found
    host.run("down", "--all", limit=100)
    host.run("up", limit=400)


def test_all_four_are_ready_and_share_nothing(vm: Host, four: dict[str, Done]) -> None:
    for done in four.values():
        done.expect(0, "READY")
    everything = {one["name"]: one for one in vm.run("status", "--all", "--json").expect(0).json}
    assert {name: one["state"] for name, one in everything.items()} == dict.fromkeys(NAMES, "ready")
    machines = [machine for one in everything.values() for machine in one["machines"].values()]
    assert len({machine["pid"] for machine in machines}) == 8
    ports = [port for machine in machines for port in machine["ports"].values()]
    assert len(set(ports)) == len(ports) == 8


def test_each_reaches_its_own_neighbour(vm: Host, four: dict[str, Done]) -> None:
    """All have the same addresses and, from one saved state, once the same memory."""
    for name in NAMES:
        vm.guest("left", f"echo {name} > /run/mark", name=name)
    serve = "systemd-run -q --collect python3 -m http.server -d /run 80"
    ask = "curl -sS -m 5 http://left/mark"  # the server's firewall lets port 80 in
    for name in NAMES:
        vm.guest("left", serve, name=name)
    for name in NAMES:
        script = f"for n in 1 2 3 4 5 6 7 8 9; do {ask} 2>/dev/null && break; sleep 1; done"
        assert vm.guest("right", script, name=name).split() == [name]
    keys = {vm.guest("left", "cat /etc/ssh/ssh_host_ed25519_key.pub", name=name) for name in NAMES}
    assert len(keys) == 4


def test_eight_commands_at_once_on_one(vm: Host, four: dict[str, Done]) -> None:
    """Those that only look see it; of those that need it for themselves one has it, and the others say who."""
    commands = (
        ("status",),
        ("status", "--json"),
        ("exec", "left", "--", "hostname"),
        ("exec", "right", "--", "hostname"),
        ("logs", "--lines", "5"),
        ("status", "--checks"),
        (*PAIR, "up"),
        ("restart", "reach"),
    )
    running = [vm.start("-n", "two", *words) for words in commands]
    with collected(*running):
        done = [one.wait(120) for one in running]
    codes = [one.code for one in done]
    assert set(codes[:5]) == {0}, [one.shown() for one in done if one.code]
    assert done[1].json["name"] == "two"
    assert (done[2].stdout, done[3].stdout) == ("left\n", "right\n")
    assert set(codes[5:]) in ({0}, {0, 5}), [one.shown() for one in done[5:]]
    for one in done[5:]:
        if one.code == 5:
            one.expect(5, "environment two is held by another command", r"pid \d+")
    vm.run("-n", "two", "status", "--checks").expect(0)


def test_down_all_leaves_nothing(vm: Host, four: dict[str, Done]) -> None:
    vm.run("down", "--all", limit=60).expect(0)
    vm.assert_nothing_left(5)
