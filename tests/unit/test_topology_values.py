"""Single values and checks of the topology file: what is taken, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from topology_samples import completed, one, write

from orchestrator.topology.check_kind import CHECK_KINDS
from orchestrator.topology.load import load_topology
from orchestrator.topology.model import PortForward
from orchestrator.topology.network_values import derived_mac


@pytest.mark.parametrize(
    ("forward", "why"),
    [
        ('"0.0.0.0:80:80"', 'ports are opened on 127.0.0.1 only, not on "0.0.0.0": a test machine must not'),
        ('"[::1]:80:80"', 'ports are opened on 127.0.0.1 only, not on "[::1]"'),
        ('"80/tcp"', 'expected a port from 1 to 65535, as "80" or "8080:80", found the string "80/tcp"'),
        ('"0"', "expected a port from 1 to 65535"),
        ('"70000:80"', "expected a port from 1 to 65535"),
        ("80", 'expected a port like "80" or "8080:80", found the integer 80 (did you mean "80"?)'),
    ],
)
def test_ports_that_are_refused(forward: str, why: str, tmp_path: Path) -> None:
    found = one(tmp_path, f'[machines.server]\nimage = "server"\nports = [{forward}]\n')
    assert found.startswith(f'item 1 of "ports" in machine "server": {why}')


def test_ports(tmp_path: Path) -> None:
    text = '[machines.server]\nimage = "server"\nports = ["80", "8080:81", "127.0.0.1:8081:82"]\n'
    topology = load_topology(write(tmp_path, completed(text)))
    assert topology.machines["server"].ports == (PortForward(0, 80), PortForward(8080, 81), PortForward(8081, 82))


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30", 30.0),
        ("0.5", 0.5),
        ('"90s"', 90.0),
        ('"10m"', 600.0),
        ('"1m30s"', 90.0),
        ('"500ms"', 0.5),
        ('"1h"', 3600.0),
        ('"10"', 10.0),
    ],
)
def test_times(written: str, seconds: float, tmp_path: Path) -> None:
    text = f'[services.web]\nmachine = "server"\nunit = "web.service"\ntimeout = {written}\n'
    assert load_topology(write(tmp_path, completed(text))).services["web"].timeout == seconds


@pytest.mark.parametrize(
    "written",
    [
        "0",
        "-1",
        "true",
        '"ten"',
        "nan",
        "inf",
        '""',
        '"25h"',
        "9" * 400,
        "-" + "9" * 400,
        "0x" + "f" * 9000,
        "[]",
    ],
)
def test_times_that_are_refused(written: str, tmp_path: Path) -> None:
    text = f'[services.web]\nmachine = "server"\nunit = "web.service"\ntimeout = {written}\n'
    assert one(tmp_path, text).startswith('"timeout" in service "web": expected ')


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("512", 'expected a size with its unit, like "512MiB" or "2GiB", found the integer 512'),
        ('"1G"', 'expected a size like "512MiB" or "2GiB", found the string "1G"'),
        ('"128MiB"', 'expected at least 256MiB, found the string "128MiB"'),
    ],
)
def test_sizes_that_are_refused(written: str, why: str, tmp_path: Path) -> None:
    found = one(tmp_path, f'[machines.server]\nimage = "server"\nmemory = {written}\n')
    assert found == f'"memory" in machine "server": {why}'


@pytest.mark.parametrize(
    ("check", "why"),
    [
        ("", f"has nothing to check; it needs exactly one of {', '.join(CHECK_KINDS.own_names())}"),
        ('tcp = "a:1"\nfile = "/x"', "has file and tcp; it can be of one kind only"),
    ],
)
def test_a_check_has_one_kind(check: str, why: str, tmp_path: Path) -> None:
    text = f'[services.web]\nmachine = "server"\nunit = "web.service"\n[services.web.checks.it]\n{check}\n'
    assert one(tmp_path, text) == f'check "it" in service "web" {why}'


URL = '"http" in {}: expected a URL like "http://server/health", '


@pytest.mark.parametrize(
    ("check", "why"),
    [
        ('http = "server/health"', URL + 'found "server/health": it does not begin with http:// or https://'),
        ('http = "http:///x"', URL + 'found "http:///x": it has no host'),
        ('http = "http://a:b/"', URL + 'found "http://a:b/": a port is a number from 1 to 65535'),
        ('http = "http://a:0/"', URL + 'found "http://a:0/": a port is a number from 1 to 65535'),
        ('http = "http://10.77.0.256/"', URL + 'found "http://10.77.0.256/": 10.77.0.256 is not an IPv4 address'),
        ('http = "http://ä_b/"', URL + 'found "http://ä_b/": a host name is ASCII'),
        ('http = "http://a b/"', URL + 'found "http://a b/": it contains a blank or a control character'),
        ('http = "http://a/%zz"', URL + 'found "http://a/%zz": a % in it is not followed by two hexadecimal digits'),
        (f'http = "http://a/{"x" * 70_000}"', URL + f'found "http://a/{"x" * 50}…": it is longer than 2000 characters'),
        ('http = "http://a/"\nca = "ca.pem"', '"ca" in {}: it needs an https:// URL'),
        ('http = "http://a/"\nverify = false', '"verify" in {}: it needs an https:// URL'),
        ('http = "https://a/"\nca = "ca.pem"\nverify = false', '"verify" in {}: use either "ca" or "verify"'),
        ('http = "https://a/"\nca = "none.pem"', '"ca" in {}: there is no file "'),
        ('http = "https://a/"\nca = "orchestrator.toml"', '"ca" in {}: "'),
        ('http = "http://a/"\nheaders = { "a b" = "" }', '"headers" in {}: "a b" is not the name of a header'),
        ('http = "http://u:p@a/"', '"http" in {}: a URL here cannot contain a user or a password'),
        ('exec = ["a"]\nstdout = "("', '"stdout" in {}: "(" is not a regular expression: missing )'),
        ('exec = ["a"]\nstdout = "a(?=b)"', '"stdout" in {}: "a(?=b)" is not a regular expression: RE2 has no look'),
        ("exec = ['a']\nstdout = '(a)\\1'", '"stdout" in {}: "(a)\\1" is not a regular expression: RE2 has no back'),
        ('exec = ["a"]\nstdout = ".{1,900}"', '"stdout" in {}: ".{1,900}" is not a regular expression: it is too'),
        ('exec = ["a"]\nstdout = "(.{99}){99}"', '"stdout" in {}: "(.{99}){99}" is not a regular expression: invalid'),
        ('tcp = "a:0"', '"tcp" in {}: expected host:port like "127.0.0.1:7880", found "a:0": a port is a number'),
        (
            'tcp = "::1:80"',
            '"tcp" in {}: expected host:port like "127.0.0.1:7880", found "::1:80": write an IPv6 address',
        ),
        (f'file = "/{"x" * 256}"', '"file" in {}: a path has at most 4095 bytes, and each of its parts 255'),
        ('unit = "getty@.service"', '"unit" in {}: "getty@.service" is a template; name one instance of it'),
        ('unit = "@a.service"', '"unit" in {}: expected a systemd unit with its suffix'),
        ('exec = "a b"', '"exec" in {}: expected an array, found the string "a b"'),
        ("exec = []", '"exec" in {}: expected a command like'),
        ('exec = ["a", 1]', 'item 2 of "exec" in {}: expected a string, found the integer 1'),
        ('tcp = "7880"', '"tcp" in {}: expected host:port like "127.0.0.1:7880", found "7880"'),
        ('tcp = "a:1"\nuser = "root"', '"user" belongs to exec checks, but {} is of kind tcp'),
        ('tcp = "a:1"\nfrom = "sever"', 'machine "sever" in {} is not defined (did you mean "server"?)'),
        ('file = "x"', '"file" in {}: expected an absolute path, found "x"'),
        ('unit = "web"', '"unit" in {}: expected a systemd unit with its suffix, like "nginx.service", found "web"'),
        ('http = "http://a"\njson = { at = 1979-05-27 }', '"json" in {}: JSON knows no date or time 1979-05-27'),
        ('http = "http://a"\nheaders = { A = 1 }', '"A" of "headers" in {}: expected a string, found the integer 1'),
    ],
)
def test_checks_that_are_refused(check: str, why: str, tmp_path: Path) -> None:
    text = f'[services.web]\nmachine = "server"\nunit = "web.service"\n[services.web.checks.it]\n{check}\n'
    assert one(tmp_path, text).startswith(why.replace("{}", 'check "it" in service "web"'))


def test_mac_addresses_are_fixed_and_different(tmp_path: Path) -> None:
    machines = "".join(
        f'[machines.m{i}]\nimage = "server"\nnetworks.lan.address = "10.20.0.{i + 10}"\n' for i in range(40)
    )
    text = completed(f'[networks.lan]\nsubnet = "10.20.0.0/24"\n{machines}')
    first, second = (load_topology(write(tmp_path / name, text)) for name in ("one", "two"))
    macs = [link.mac for machine in first.machines.values() for link in machine.links]
    assert len(set(macs)) == len(macs) == 42
    assert all(mac.startswith("52:54:00:") for mac in macs)
    assert macs == [link.mac for machine in second.machines.values() for link in machine.links]
    other = load_topology(write(tmp_path, text.replace('name = "shop"', 'name = "stop"')))
    assert other.machines["m0"].links[0].mac != macs[0]


def test_a_written_mac_keeps_others_away(tmp_path: Path) -> None:
    topology = load_topology(write(tmp_path, completed("")))
    derived = topology.machines["server"].links[0].mac
    text = '[machines.client]\nimage = "client"\n[machines.client.networks.lan]\n'
    text += f'address = "192.168.1.1"\nmac = "{derived}"\n'
    moved = load_topology(write(tmp_path, completed(text)))
    assert moved.machines["client"].links[0].mac == derived
    assert moved.machines["server"].links[0].mac not in ("", derived)


def test_derived_macs_step_aside() -> None:
    # Found by search: the first three bytes of these digests are 12:34:56, or equal.
    assert not derived_mac("shop", "m2073958", "lan", frozenset()).endswith("12:34:56")
    first = derived_mac("shop", "m4325", "lan", frozenset())
    assert derived_mac("shop", "m6756", "lan", frozenset()) == first
    assert derived_mac("shop", "m6756", "lan", frozenset({first})) != first


def test_derived_macs_of_one_topology_differ(tmp_path: Path) -> None:
    text = "".join(
        f'[machines.{name}]\nimage = "server"\nnetworks.lan.address = "192.168.1.{number}"\n'
        for name, number in (("m4325", 11), ("m6756", 12))
    )
    machines = load_topology(write(tmp_path, completed(text))).machines
    assert machines["m4325"].links[0].mac != machines["m6756"].links[0].mac
