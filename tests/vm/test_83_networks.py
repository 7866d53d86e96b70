"""A client, a router and a server behind it: both families, NAT, names, a clone of the saved state, a reboot."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest
from conftest import MEASURES, keep, opened
from host import HERE, Done, Host

CLONE = "networks-2"
# What a program sees that reads no file: in a view of its own, /etc/hosts is empty and only DNS is asked.
DNS_ALONE = """unshare -m sh -ec '
printf "hosts: dns\\n" > /run/dns-alone
mount --bind /run/dns-alone /etc/nsswitch.conf
mount --bind /dev/null /etc/hosts
{}'"""
SEEN = "grep -o '^[^ ]*' /var/log/nginx/access.log | tail -n {} | sort"
GET = "curl -s{} -m 60 -o /dev/null -w '%{{http_code}} ' http://shop/"


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Done]]:
    with opened(tmp_path_factory.mktemp("networks"), HERE / "networks.toml") as host:
        done = host.run("up", limit=400)
        if done.code != 0:
            keep(host, "networks-up")
            done.expect(0)
        yield host, done


@pytest.fixture
def net(networks: tuple[Host, Done]) -> Host:
    return networks[0]


def test_checks_reach_the_server_by_literals_names_and_dns(networks: tuple[Host, Done]) -> None:
    networks[1].expect(0, "service web: healthy", "READY")


def both_families_cross_the_router(host: Host, name: str = "") -> None:
    """The client's requests arrive, and come from the router."""
    codes = host.guest("client", f"{GET.format(4)}; {GET.format(6)}", name=name)
    assert codes == "200 200 "
    assert host.guest("web", SEEN.format(2), name=name).split() == ["10.71.2.1", "fd71:2::1"]


def test_what_leaves_a_network_with_nat_has_the_address_of_the_router(net: Host) -> None:
    both_families_cross_the_router(net)


def test_nobody_opens_a_connection_into_a_network_with_nat(net: Host) -> None:
    assert "10.71.1." not in net.guest("web", "cat /etc/hosts; ip route"), "nobody told it the way"
    script = "ip route add 10.71.1.0/24 via 10.71.2.1; ping -c 1 -W 3 10.71.1.1 >/dev/null && echo in || echo out"
    assert net.guest("web", script) == "out\n"
    assert net.guest("gw", "ping -c 1 -W 10 10.71.1.1 >/dev/null && echo there") == "there\n"


def test_the_rules_of_a_router_outlive_a_firewall_that_begins_anew(net: Host) -> None:
    look = "nft list table inet orchestrator_router 2>/dev/null | grep -c masquerade"
    script = f"systemctl restart nftables.service; for n in $(seq 50); do {look} && break; sleep 0.2; done"
    assert net.guest("gw", f"nft flush ruleset; {script}").splitlines()[-1] == "1"


def test_a_network_without_nat_is_reached_by_name(net: Host) -> None:
    script = "for six in 4 6; do ping -$six -c 1 -W 10 client | grep -o '^64 bytes from [^:]* [^ ]*'; done"
    assert net.guest("web", script).splitlines() == [
        "64 bytes from client (10.71.3.1):",
        "64 bytes from client (fd71:3::1):",
    ]


def test_a_router_with_egress_gives_it_to_nobody(net: Host) -> None:
    """The client sends what is for the host to the router, which could take it there."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        knock = f"timeout 5 bash -c '</dev/tcp/10.0.2.2/{port}' 2>/dev/null && echo reached || echo blocked"
        assert net.guest("gw", knock) == "reached\n"
        listener.accept()[0].close()
        # One command: meanwhile the answers of sshd take the same way.
        there = f"ip route add 10.0.2.2 via 10.71.1.2; {knock}; ip route del 10.0.2.2"
        assert net.guest("client", there) == "blocked\n"
        listener.settimeout(0)
        with pytest.raises(BlockingIOError):
            listener.accept()


def names_are_answered(host: Host, name: str = "") -> None:
    asked = "getent ahosts web.example.test; getent hosts 10.71.2.2; getent hosts nosuch.example.test || echo none"
    lines = host.guest("client", DNS_ALONE.format(asked), name=name).splitlines()
    assert {line.split()[0] for line in lines[:-2]} == {"10.71.2.2", "fd71:2::2"}
    assert re.sub(" +", " ", lines[-2]) == "10.71.2.2 web.example.test"
    assert lines[-1] == "none"


def test_a_program_that_reads_no_file_resolves_names(net: Host) -> None:
    names_are_answered(net)
    begun = net.guest("client", "date +%s%N; for i in 1 2 3 4 5 6 7 8 9 10; do getent hosts no-$i; done; date +%s%N")
    before, after = begun.split()
    MEASURES.append(f"a name that DNS does not know, asked in a guest: {(int(after) - int(before)) / 1e7:.0f} ms")


def test_the_full_name_is_the_machines_own(net: Host) -> None:
    assert net.guest("web", "hostname; hostname -f") == "web\nweb.example.test\n"


def test_status_says_who_has_which_address(net: Host) -> None:
    shown = net.run("status").expect(0).stdout
    assert re.search(r"network front +10\.71\.1\.0/24, fd71:1::/64, nat +client 10\.71\.1\.1 fd71:1::1, gw", shown)
    machines = net.status()["machines"]
    assert machines["web"]["addresses"] == {"back": ["10.71.2.2", "fd71:2::2"]}


def test_a_clone_has_all_of_it_from_the_saved_state(net: Host) -> None:
    done = net.run("-n", CLONE, "up", "--warm", limit=200).expect(0, "READY")
    MEASURES.append(f"up of three machines on three networks from a saved state: {done.seconds:.1f} s")
    try:
        both_families_cross_the_router(net, CLONE)
        names_are_answered(net, CLONE)
    finally:
        net.run("-n", CLONE, "down").expect(0)


@pytest.mark.long
def test_all_of_it_is_there_after_a_reboot_of_the_router(net: Host) -> None:
    net.run("restart", "gw", limit=400).expect(0, "READY")
    both_families_cross_the_router(net)
    names_are_answered(net)
