"""Addresses that are chosen, routers, NAT and aliases in the topology file: what is accepted, and every conflict."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from topology_samples import problems, write

from orchestrator.topology import graph
from orchestrator.topology.addresses import assign, assign6
from orchestrator.topology.effective import from_dict, to_dict, to_toml
from orchestrator.topology.load import load_topology
from orchestrator.topology.model import Topology

SUBNET = IPv4Network("10.1.0.0/28")  # 14 addresses
SUBNET6 = IPv6Network("fd00:1::/124")  # 15 numbers
NAMES = st.sets(st.text("abcdefgh", min_size=1, max_size=3), max_size=14)
HEAD = 'name = "shop"\nimages.base.debian = "base.toml"\n'

# Two networks of both families, one of them behind NAT.
ROUTED = (
    HEAD
    + """
[networks.home]
subnet = "10.1.0.0/24"
subnet6 = "fd00:1::/64"
nat = true
[networks.servers]
subnet = "10.2.0.0/24"
subnet6 = "fd00:2::/64"
[machines.phone]
image = "base"
networks = ["home"]
[machines.gw]
kind = "router"
image = "base"
networks.home.address = "10.1.0.1"
networks.servers = { address6 = "fd00:2::ff" }
[machines.shop]
image = "base"
networks = ["servers"]
aliases = ["shop.example.test", "www"]
dns = true
"""
)


def loaded(folder: Path, text: str) -> Topology:
    return load_topology(write(folder, text))


# ------------------------------------------------------------------ which addresses are chosen


@given(NAMES, st.sets(st.integers(1, 14), max_size=14))
def test_chosen_addresses_are_usable_different_and_never_taken(names: set[str], numbers: set[int]) -> None:
    written = {SUBNET[number] for number in numbers}
    found = assign(SUBNET, written, names)
    assert len(set(found.values())) == len(found) == min(len(names), 14 - len(written))
    assert set(found.values()) <= set(SUBNET.hosts()) - written
    assert list(found) == sorted(names)[: len(found)]
    assert list(found.values()) == sorted(found.values()), "in the order of the names"


@given(NAMES, st.text("abcdefgh", min_size=1, max_size=3))
def test_a_machine_that_is_added_moves_only_those_after_it(names: set[str], added: str) -> None:
    before, after = assign(SUBNET, (), names), assign(SUBNET, (), {*names, added})
    for name in names:
        if name < added:
            assert after[name] == before[name]


@given(st.permutations(["web", "db", "cache", "queue"]))
def test_the_order_of_the_file_does_not_matter(names: list[str]) -> None:
    assert assign(SUBNET, (), names) == assign(SUBNET, (), sorted(names))


@given(
    st.dictionaries(st.text("abcdefgh", min_size=1, max_size=3), st.integers(1, 300), max_size=15),
    st.sets(st.integers(1, 15), max_size=15),
)
def test_chosen_ipv6_addresses_have_the_number_of_ipv4_where_it_is_free(
    numbers: dict[str, int], taken: set[int]
) -> None:
    written = {SUBNET6[number] for number in taken}
    found = assign6(SUBNET6, written, numbers)
    assert len(set(found.values())) == len(found) == min(len(numbers), 15 - len(written))
    assert not set(found.values()) & {*written, SUBNET6.network_address}
    assert all(address in SUBNET6 for address in found.values())
    wanted = list(numbers.values())
    for name, number in numbers.items():
        if number <= 15 and number not in taken and wanted.count(number) == 1:
            assert found[name] == SUBNET6[number]


def test_addresses_of_a_file(tmp_path: Path) -> None:
    topology = loaded(tmp_path, ROUTED)
    found = {
        f"{machine.name} on {link.network}": " ".join(str(one) for one in link.addresses)
        for machine in topology.machines.values()
        for link in machine.links
    }
    assert found == {
        "phone on home": "10.1.0.2 fd00:1::2",  # .1 is written for another, although that comes later
        "gw on home": "10.1.0.1 fd00:1::1",
        "gw on servers": "10.2.0.1 fd00:2::ff",
        "shop on servers": "10.2.0.2 fd00:2::2",
    }
    assert topology.machines["gw"].is_router and not topology.machines["shop"].is_router
    assert topology.machines["shop"].links[0].prefix6 == 64


def test_everything_survives_both_written_forms(tmp_path: Path) -> None:
    topology = loaded(tmp_path, ROUTED)
    assert from_dict(json.loads(json.dumps(to_dict(topology)))) == topology
    again = load_topology(write(tmp_path / "again", to_toml(topology)))
    assert replace(again, path=topology.path, images=topology.images) == topology


def test_a_network_of_the_list_can_be_removed_by_none_and_changed_by_a_variant(tmp_path: Path) -> None:
    text = ROUTED.replace('name = "shop"\n', 'name = "shop"\nvariant = "alone"\n', 1)
    topology = loaded(tmp_path, text + '[variants.alone.machines.phone]\nnetworks = ["servers"]\n')
    assert [link.network for link in topology.machines["phone"].links] == ["servers"]


# ------------------------------------------------------------------ what is refused


def test_all_conflicts_are_told_at_once(tmp_path: Path) -> None:
    text = HEAD + (
        '[networks.small]\nsubnet = "10.1.0.0/30"\nsubnet6 = "fe80::/64"\n'
        '[networks.user]\nsubnet = "10.3.0.0/24"\nsubnet6 = "fec0::/48"\n'
        '[networks.four]\nsubnet = "10.4.0.0/24"\nnat = true\n'
        '[networks.six]\nsubnet = "10.5.0.0/24"\nsubnet6 = "fd00::/64"\n'
        '[networks.seven]\nsubnet = "10.6.0.0/24"\nsubnet6 = "fd00::/80"\n'
        '[machines.a]\nimage = "base"\nnetworks = ["small", "small", "smal"]\naliases = ["b", "X.y", "one", "one"]\n'
        '[machines.b]\nimage = "base"\nnetworks = ["small"]\naliases = ["one", "1.2", "localhost"]\n'
        '[machines.c]\nimage = "base"\nkind = "router"\nnetworks = ["small"]\n'
        '[machines.d]\nimage = "base"\nnetworks.four = { address6 = "fd00::1" }\n'
        '[machines.e]\nimage = "base"\nnetworks.six = { address = "10.5.0.9", address6 = "fd00::9" }\n'
        '[machines.f]\nimage = "base"\nnetworks.six = { address = "10.5.0.9", address6 = "fd00::9" }\n'
        '[machines.g]\nimage = "base"\nkind = "bridge"\nnetworks.six = { address6 = "fd01::1" }\n'
        '[machines.h]\nimage = "base"\nnetworks.six = { address6 = "fd00::" }\n'
    )
    found = [line.split(": ", 1)[1] for line in problems(write(tmp_path, text))]
    assert found == [
        '"subnet6" in network "small": "fe80::/64" overlaps fe80::/10: every interface has such an address of its own; '
        "private networks begin with fd",
        '"subnet6" in network "user": fec0::/48 overlaps fec0::/64, QEMU\'s user network of every machine',
        'network "four" has nat, but no machine of kind router is on it',
        '"subnet6" in network "seven": fd00::/80 overlaps fd00::/64 of network "six"',
        'machine "a" is on network "small" already',
        'network "smal" in machine "a" is not defined (did you mean "small"?)',
        'alias "b" of machine "a" is the name of a machine',
        'item 2 of "aliases" in machine "a": expected a host name like "db" or "db.example", found "X.y" '
        '(did you mean "x.y"?)',
        'alias "one" of machine "a" is there already',
        'alias "one" of machine "b" is an alias of machine "a"',
        'item 2 of "aliases" in machine "b": "1.2" ends in a number, so programs take it for an address',
        'item 3 of "aliases" in machine "b": "localhost" is every machine itself',
        '"kind" in machine "c": a router needs at least two networks',
        'network "small" of machine "c": no address of 10.1.0.0/30 is left for 3 machines',
        '"address6" in network "four" of machine "d": network "four" has no subnet6',
        '"address" in network "six" of machine "f": 10.5.0.9 is the address of machine "e"',
        '"address6" in network "six" of machine "f": fd00::9 is the address of machine "e"',
        '"kind" in machine "g": expected one of machine, router, found the string "bridge"',
        '"address6" in network "six" of machine "g": fd01::1 is outside fd00::/64',
        '"address6" in network "six" of machine "h": fd00:: is the first address of fd00::/64, which means every '
        "router on it",
    ]


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("10.0.0.0/24", 'expected an IPv6 network, found "10.0.0.0/24"'),
        ("fd00::", 'expected a network with its length, found "fd00::" (did you mean "fd00::/64"?)'),
        ("fd00::1/64", '"fd00::1/64" is an address inside a network (did you mean "fd00::/64"?)'),
        ("fd00::/127", '"fd00::/127" has no room for two machines; the length may be 126 at most'),
        ("::ffff:10.0.0.0/112", '"::ffff:10.0.0.0/112" overlaps ::ffff:0'),
        ("ff02::/64", '"ff02::/64" overlaps ff00::/8: these are addresses of groups'),
        ("nonsense", 'expected a network like "fd00:1::/64", found "nonsense"'),
    ],
)
def test_ipv6_subnets_that_are_refused(written: str, why: str, tmp_path: Path) -> None:
    text = HEAD + f'[networks.lan]\nsubnet = "10.1.0.0/24"\nsubnet6 = "{written}"\n[machines.a]\nimage = "base"\n'
    (found,) = problems(write(tmp_path, text))
    assert f'"subnet6" in network "lan": {why}' in found


@pytest.mark.parametrize("written", ["10.1.0.2", "fd00::1%eth0", "x"])
def test_ipv6_addresses_that_are_refused(written: str, tmp_path: Path) -> None:
    text = HEAD + '[networks.lan]\nsubnet = "10.1.0.0/24"\nsubnet6 = "fd00::/64"\n'
    text += f'[machines.a]\nimage = "base"\nnetworks.lan.address6 = "{written}"\n'
    (found,) = problems(write(tmp_path, text))
    assert '"address6" in network "lan" of machine "a": expected an IPv6 address' in found


# ------------------------------------------------------------------ views


def test_graph_shows_networks_where_they_tell_something(tmp_path: Path) -> None:
    topology = loaded(tmp_path, ROUTED)
    home, servers = graph.as_text(topology).splitlines()[-2:]
    assert re.split("  +", home) == [
        "home",
        "10.1.0.0/24, fd00:1::/64, nat",
        "phone 10.1.0.2 fd00:1::2, gw 10.1.0.1 fd00:1::1 (router)",
    ]
    assert servers.endswith("gw 10.2.0.1 fd00:2::ff (router), shop 10.2.0.2 fd00:2::2")
    drawn = graph.as_mermaid(topology).splitlines()
    assert '    n_home(("home<br>10.1.0.0/24, fd00:1::/64, nat"))' in drawn
    assert [line.strip() for line in drawn if "---" in line] == [
        "m_phone --- n_home",
        "m_gw --- n_home",
        "m_gw --- n_servers",
        "m_shop --- n_servers",
    ]
    data = json.loads(graph.as_json(topology))["networks"]
    assert data[0]["nat"] and data[0]["machines"]["gw"] == {"kind": "router", "addresses": ["10.1.0.1", "fd00:1::1"]}


def test_one_plain_network_is_left_out(tmp_path: Path) -> None:
    text = HEAD + '[networks.lan]\nsubnet = "10.1.0.0/24"\n[machines.a]\nimage = "base"\nnetworks = ["lan"]\n'
    topology = loaded(tmp_path, text)
    assert topology.machines["a"].links[0].address == IPv4Address("10.1.0.1")
    assert topology.machines["a"].links[0].address6 is None
    assert graph.as_text(topology) == "no services\n"
    assert "networks" not in json.loads(graph.as_json(topology))
    assert IPv6Address("fd00::1") not in topology.machines["a"].links[0].addresses
