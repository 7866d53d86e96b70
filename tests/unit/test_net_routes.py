"""Ways over routers, the addresses of names, a router's rules, and the name server answering questions."""

from __future__ import annotations

import os
import random
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from fake_qemu import golden
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.net import name_server, router
from orchestrator.net.egress_filter import permitted
from orchestrator.net.guest_script import guest_network_script, hosts_lines
from orchestrator.net.routes import Known, known_as, routes, ways
from orchestrator.services.checks.dns import DnsError, decode, encode
from orchestrator.topology.model import Interface, Machine, MachineKind, Network, NetworkKind

NetworkMap = dict[str, Network]
MachineMap = dict[str, Machine]


def net(number: int, *, six: bool = True, nat: bool = False) -> Network:
    subnet6 = IPv6Network(f"fd00:{number}::/64") if six else None
    return Network(f"n{number}", NetworkKind.VDE, IPv4Network(f"10.{number}.0.0/24"), subnet6, nat)


def box(name: str, last: int, *networks: Network, router: bool = False, **fields: object) -> Machine:
    """A machine whose last number is the same on each of its networks."""
    links = tuple(
        Interface(
            network.name,
            network.subnet[last],
            24,
            f"52:54:00:00:{int(network.name[1:]):02x}:{last:02x}",
            network.subnet6[last] if network.subnet6 else None,
            64 if network.subnet6 else 0,
        )
        for network in networks
    )
    kind = MachineKind.ROUTER if router else MachineKind.PLAIN
    return replace(Machine(name, "image", 1, 512, links, kind=kind), **fields)  # type: ignore[arg-type]


def by_name(*things: Machine) -> MachineMap:
    return {thing.name: thing for thing in things}


ONE, TWO, THREE = net(1), net(2), net(3, six=False)
NETWORKS: NetworkMap = {network.name: network for network in (ONE, TWO, THREE)}
# n1 - r1 - n2 - r2 - n3, and a machine on n1 and n2 that is no router.
MACHINES = by_name(
    box("a", 10, ONE),
    box("b", 20, THREE),
    box("both", 30, ONE, TWO),
    box("r1", 1, ONE, TWO, router=True),
    box("r2", 2, TWO, THREE, router=True),
)


def told(machine: str, machines: MachineMap = MACHINES, networks: NetworkMap = NETWORKS) -> list[str]:
    return [f"{one.to} via {one.via} over {one.out}" for one in routes(machines[machine], machines, networks)]


def test_routes_lead_over_one_router_and_over_two() -> None:
    assert told("a") == [
        "10.2.0.0/24 via 10.1.0.1 over n1",
        "10.3.0.0/24 via 10.1.0.1 over n1",
        "fd00:2::/64 via fd00:1::1 over n1",
    ]
    assert told("b") == ["10.2.0.0/24 via 10.3.0.2 over n3", "10.1.0.0/24 via 10.3.0.2 over n3"]
    assert told("both") == ["10.3.0.0/24 via 10.2.0.2 over n2"]
    assert told("r1") == ["10.3.0.0/24 via 10.2.0.2 over n2"]
    assert told("r2") == ["10.1.0.0/24 via 10.2.0.1 over n2", "fd00:1::/64 via fd00:2::1 over n2"]


def test_a_name_is_an_address_that_is_reached() -> None:
    known = {name: known_as(machine, MACHINES, NETWORKS) for name, machine in MACHINES.items()}
    assert known["a"]["both"] == Known(IPv4Address("10.1.0.30"), IPv6Address("fd00:1::1e")), "on the shared network"
    assert known["b"]["both"] == Known(IPv4Address("10.2.0.30")), "on the nearest; no IPv6 leads there"
    assert known["b"]["r1"] == Known(IPv4Address("10.2.0.1"))
    assert known["r2"]["a"] == Known(IPv4Address("10.1.0.10"), IPv6Address("fd00:1::a"))
    without = by_name(*(machine for machine in MACHINES.values() if not machine.is_router))
    assert known_as(without["a"], without, NETWORKS)["b"] == Known(), "a machine on two networks is no router"


def test_nobody_has_a_way_into_a_network_with_nat() -> None:
    networks = NETWORKS | {"n1": net(1, nat=True)}
    assert told("b", networks=networks) == ["10.2.0.0/24 via 10.3.0.2 over n3"]
    assert told("a", networks=networks) == told("a")
    assert known_as(MACHINES["b"], MACHINES, networks)["a"] == Known()
    assert "a" not in "\n".join(hosts_lines(MACHINES["b"], MACHINES, networks)).split()
    assert known_as(MACHINES["both"], MACHINES, networks)["a"].address == IPv4Address("10.1.0.10")


@st.composite
def layouts(draw: st.DrawFn) -> tuple[MachineMap, NetworkMap]:
    networks = {f"n{n}": net(n, six=draw(st.booleans())) for n in range(1, draw(st.integers(2, 5)) + 1)}
    some = st.lists(st.sampled_from(list(networks.values())), min_size=1, unique_by=lambda one: one.name)
    machines = [box(f"m{n}", n, *draw(some), router=draw(st.booleans())) for n in range(1, draw(st.integers(2, 6)) + 1)]
    return by_name(*machines), networks


@given(layouts())
def test_every_route_ends_and_the_way_back_is_there(layout: tuple[MachineMap, NetworkMap]) -> None:
    machines, networks = layout
    for six in (False, True):
        for machine in machines.values():
            for target, way in ways(machine, machines, networks, six=six).items():
                here, hops = machine, 0
                while target not in [link.network for link in here.links]:
                    step = ways(here, machines, networks, six=six)[target]
                    assert step.hops == way.hops - hops, "each router is one step nearer"
                    here, hops = machines[step.router], hops + 1
                assert hops == way.hops
    for one in machines.values():
        for other in machines.values():
            there = known_as(one, machines, networks)[other.name]
            back = known_as(other, machines, networks)[one.name]
            assert (there.address is None) == (back.address is None)
            assert (there.address6 is None) == (back.address6 is None)


# ------------------------------------------------------------------ the script


def test_the_script_of_a_router_with_nat() -> None:
    networks = {"n1": net(1, nat=True), "n2": TWO}
    machines = by_name(
        box("gw", 1, ONE, TWO, router=True),
        box("shop", 2, TWO, aliases=("www", "shop.example.test"), dns=True),
    )
    golden("net/guest-script-router.sh", guest_network_script(machines["gw"], machines, networks))
    script = guest_network_script(machines["shop"], machines, networks)
    assert "'10.2.0.2 shop.example.test shop www' 'fd00:2::2 shop.example.test shop www'" in script
    assert "printf '%s\\n' 'nameserver 127.0.1.53' > /etc/resolv.conf" in script
    for machine in machines.values():
        text = guest_network_script(machine, machines, networks).encode()
        subprocess.run(["sh", "-n"], input=text, check=True)


def test_a_router_passes_nothing_to_or_from_the_user_network() -> None:
    machines = by_name(box("gw", 1, ONE, TWO, router=True, egress=True))
    script = guest_network_script(machines["gw"], machines, {"n1": ONE, "n2": TWO})
    assert "policy drop" in script and "masquerade" not in script
    accepted = [line.strip() for line in script.splitlines() if line.endswith("accept")]
    assert accepted == ['iifname { "$found_n1", "$found_n2" } oifname { "$found_n1", "$found_n2" } accept']


@pytest.mark.parametrize("refuses", ["", "check", "systemd-run"])
def test_rules_are_loaded_after_the_firewall_and_before_packets_are_passed_on(refuses: str, tmp_path: Path) -> None:
    """The script with programs that only write down what they are told, twice: systemd keeps the unit."""
    for folder in ("run/systemd/transient", "bin", "proc/sys/net/ipv4", "proc/sys/net/ipv6/conf/all"):
        (tmp_path / folder).mkdir(parents=True)
    for program, does in {
        "nft": f'[ "$1" != -c ] || [ "{refuses}" != check ] || {{ echo "Error: no such thing" >&2; exit 1; }}',
        "systemctl": f'sh -ec "$(cat {tmp_path}/unit)"',
        # As systemd: the unit is there from now on, and its command is run.
        "systemd-run": f'[ "{refuses}" != systemd-run ] || exit 1; touch {tmp_path}/run/systemd/transient/'
        f'{router.UNIT}.service; for last; do :; done; echo "$last" > {tmp_path}/unit; sh -ec "$last"',
    }.items():
        body = f'#!/bin/sh\necho "{program} $*" >> {tmp_path}/told\n{does}\n'
        (tmp_path / "bin" / program).write_text(body)
        (tmp_path / "bin" / program).chmod(0o755)
    script = "found_a=eth1\nfound_b=eth2\n" + router.script({"n1": "found_a", "n2": "found_b"}, {"n1": ONE, "n2": TWO})
    script = script.replace("/run/", f"{tmp_path}/run/").replace("/proc/", f"{tmp_path}/proc/")
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}

    def run() -> int:
        return subprocess.run(["sh", "-es"], input=script.encode(), env=environment, check=False).returncode

    assert run() == (router.RULES_REFUSED if refuses else 0)
    if refuses:
        assert not (tmp_path / "proc/sys/net/ipv4/ip_forward").exists()
        return
    assert run() == 0
    told = [line.split(" --property")[0] for line in (tmp_path / "told").read_text().splitlines()]
    checked, loaded = (f"nft {word} {tmp_path}/run/orchestrator/router.nft" for word in ("-c -f", "-f"))
    first = [checked, f"systemd-run --quiet --expand-environment=no --unit={router.UNIT}", loaded]
    assert told == [*first, checked, f"systemctl restart {router.UNIT}.service", loaded]
    assert "--property=After=nftables.service" in (tmp_path / "told").read_text()
    assert 'iifname { "eth1", "eth2" }' in (tmp_path / "run/orchestrator/router.nft").read_text()
    for switch in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
        assert (tmp_path / "proc/sys/net" / switch).read_text() == "1\n"


@pytest.mark.parametrize(("program", "code", "why"), [("nft", 72, "no program nft"), ("perl", 74, "no program perl")])
def test_an_image_that_lacks_a_program_says_which(program: str, code: int, why: str, tmp_path: Path) -> None:
    machines = by_name(box("gw", 1, ONE, TWO, router=program == "nft", dns=program == "perl"))
    script = guest_network_script(machines["gw"], machines, {"n1": ONE, "n2": TWO})
    part = next(line for line in script.splitlines() if f"command -v {program}" in line)
    done = subprocess.run(["/bin/sh", "-c", part], env={"PATH": str(tmp_path)}, capture_output=True, check=False)
    assert done.returncode == code
    assert why in done.stderr.decode()


def test_a_subnet6_does_not_open_ipv6_outside() -> None:
    frame = bytes(12) + b"\x86\xdd" + bytes([0x60]) + bytes(60)
    assert not permitted(frame, frozenset())


# ------------------------------------------------------------------ the name server

HOSTS = """127.0.0.1 localhost
10.2.0.2 shop.example.test shop WWW   # a comment
fd00:2::2 shop.example.test shop
# 10.9.9.9 gone
10.2.0.3 four
nonsense here
"""


@contextmanager
def serving(hosts: Path, unknown: int = name_server.NXDOMAIN) -> Iterator[socket.socket]:
    """A connection to the name server, which has its socket as systemd gives it: number 3."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening, socket.socket(type=socket.SOCK_DGRAM) as client:
        listening.bind(("127.0.0.1", 0))
        client.connect(listening.getsockname())
        client.settimeout(30)
        words = ["bash", "-c", f'exec perl "$@" 3<&{listening.fileno()}', "bash", str(name_server.PROGRAM), str(hosts)]
        process = subprocess.Popen([*words, str(unknown)], pass_fds=[listening.fileno()])
        try:
            yield client
            assert process.poll() is None, "it survives what it is asked"
        finally:
            process.kill()
            process.wait()


def ask(client: socket.socket, message: bytes) -> bytes:
    client.send(message)
    return client.recv(4096)


def test_the_name_server_answers_from_the_file_as_it_is_now(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS)
    with serving(hosts) as client:
        assert decode(ask(client, encode("shop", 1))) == ["10.2.0.2"]
        assert decode(ask(client, encode("Shop.Example.Test.", 28))) == ["fd00:2::2"]
        assert decode(ask(client, encode("www", 1))) == ["10.2.0.2"]
        assert decode(ask(client, encode("four", 28))) == [], "there is such a name, and it has no such address"
        assert decode(ask(client, encode("shop", 255))) == ["10.2.0.2", "fd00:2::2"]
        for name in ("gone", "here", "shop.example"):
            with pytest.raises(DnsError, match="NXDOMAIN"):
                decode(ask(client, encode(name, 1)))
        hosts.write_text(HOSTS + "10.2.0.9 gone\n")
        assert decode(ask(client, encode("gone", 1))) == ["10.2.0.9"]


def test_the_name_server_knows_the_names_of_addresses(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS)
    wanted = b"\x04shop\x07example\x04test\x00"
    with serving(hosts) as client:
        for address in (IPv4Address("10.2.0.2"), IPv6Address("fd00:2::2")):
            assert ask(client, encode(address.reverse_pointer, 12)).endswith(wanted)


def test_who_asks_elsewhere_too_is_not_told_that_a_name_does_not_exist(tmp_path: Path) -> None:
    with serving(tmp_path / "missing", name_server.SERVFAIL) as client, pytest.raises(DnsError, match="SERVFAIL"):
        decode(ask(client, encode("example.org", 1)))


def test_an_answer_that_is_too_large_says_so(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("".join(f"fd00::{n} many.example.test\n" for n in range(1, 60)))
    with serving(hosts) as client:
        answer = ask(client, encode("many.example.test", 28))
        assert len(answer) <= 512 and answer[2] & 2


def test_the_name_server_survives_nonsense(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text(HOSTS)
    dice = random.Random(1)
    with serving(hosts) as client:
        for _ in range(20):
            for _ in range(20):
                bad = bytearray(encode("shop", 1))
                for _ in range(dice.randint(1, 6)):
                    bad[dice.randrange(2, len(bad))] = dice.randrange(256)
                client.send(bytes(bad[: dice.randint(0, len(bad))]))
            answer = ask(client, b"\x77\x77" + encode("shop", 1)[2:])
            while answer[:2] != b"\x77\x77":  # those to what was still a question
                answer = client.recv(4096)
            assert decode(encode("shop", 1)[:2] + answer[2:]) == ["10.2.0.2"]


def test_the_script_keeps_a_name_server_that_runs(tmp_path: Path) -> None:
    for folder in ("run/orchestrator", "bin"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "bin/systemd-run").write_text(
        f"#!/bin/sh\nprintf '%s\\n' \"$@\" >> {tmp_path}/told\nmkdir -p {tmp_path}/run/systemd/transient\n"
        f"touch {tmp_path}/run/systemd/transient/orchestrator-names.socket\n"
    )
    (tmp_path / "bin/systemd-run").chmod(0o755)
    script = name_server.script(forwarded=False).replace("/run/", f"{tmp_path}/run/")
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}"}
    for _ in range(2):
        subprocess.run(["sh", "-es"], input=script.encode(), env=environment, check=True)
    words = (tmp_path / "told").read_text().splitlines()
    assert words.count("--socket-property=ListenDatagram=127.0.1.53:53") == 1
    assert words[-4:] == ["perl", f"{tmp_path}/run/orchestrator/names.pl", "/etc/hosts", "3"]
    assert (tmp_path / "run/orchestrator/names.pl").read_text() == name_server.PROGRAM.read_text()
