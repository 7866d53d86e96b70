"""What `orchestrator host-setup` decides and does on invented hosts."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from host_scene import BACKPORTS, BOB, FAKE_SYSTEMCTL, MADISON, Host

from orchestrator.cli import host_setup
from orchestrator.errors import HostError
from orchestrator.host import look
from orchestrator.host.apt import backports_source, commands, qemu_source
from orchestrator.host.look import System, missing_subids, parse_os_release
from orchestrator.host.needs import NEEDS, Purpose
from orchestrator.host.setup import Shortfall, by_hand, current_user, purposes_of
from orchestrator.images import debian_host

BOOKWORM = System("debian", "12", "apt", "Debian 12")
TRIXIE = System("debian", "13", "apt", "Debian 13")
FEDORA = System("fedora", "43", "dnf", "Fedora 43")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(tmp_path, monkeypatch)


def test_a_bare_host_is_told_all_it_lacks_and_why(host: Host) -> None:
    found = asyncio.run(host.examine())
    assert {lack.need.name for lack in found.lacks} == {
        "QEMU", "qemu-img", "vde_switch", "ssh-keygen", "mmdebstrap", "e2fsprogs", "newuidmap",
    }  # fmt: skip
    assert found.subids == "100000-165535"
    lines = host_setup.lines_of(found)
    assert any("runs the virtual machines; 10.0 or newer" in line for line in lines)
    assert any("subordinate ids" in line and "bob" in line for line in lines)


def test_after_the_installation_nothing_is_missing(host: Host) -> None:
    assert host.install().is_empty
    installs = [call for call in host.calls() if " install " in call or call.startswith("usermod")]
    assert any("-t bookworm-backports qemu-system-x86 qemu-utils" in call for call in installs)
    assert all("backports" not in call or "vde2" not in call for call in installs)
    assert installs[-1] == "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 bob"


def test_backports_are_added_once_and_only_where_they_are_missing(host: Host) -> None:
    (host.folder / "madison").write_text(MADISON)
    assert host.install().is_empty
    added = (host.folder / "backports.sources").read_text()
    assert "URIs: http://mirror.example/debian\nSuites: bookworm-backports\n" in added
    assert any("adding" in line for line in host.told)


def test_an_old_qemu_is_not_enough_and_its_version_is_told(host: Host) -> None:
    host.fake("qemu-system-x86_64", "#!/bin/sh\necho QEMU emulator version 7.2.1\n")
    found = asyncio.run(host.examine())
    lack = next(lack for lack in found.lacks if lack.need.name == "QEMU")
    assert "version 7.2.1 is here" in lack.reason


def test_a_mirror_without_a_new_qemu_is_an_error_that_says_so(host: Host) -> None:
    (host.folder / "os-release").write_text("ID=debian\nVERSION_ID=13\nPRETTY_NAME='Debian 13'\n")
    (host.folder / "madison").write_text(MADISON)
    with pytest.raises(HostError) as caught:
        host.install()
    assert "Debian 13 offer no QEMU 10" in caught.value.what
    assert "7.2+dfsg" in caught.value.why


def test_an_unreachable_mirror_names_command_and_next_step(host: Host) -> None:
    (host.folder / "unreachable").touch()
    with pytest.raises(HostError) as caught:
        host.install()
    assert caught.value.what == "apt-get install failed (exit code 100)"
    assert "install --no-install-recommends vde2" in caught.value.evidence[0]
    assert "Could not connect to mirror" in caught.value.evidence[-1]
    assert "cannot be reached" in caught.value.hint
    assert any("Failed to fetch" in line for line in host.output)


def test_locked_package_lists_are_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    (host.folder / "locked").touch()
    monkeypatch.setattr("orchestrator.host.apt._BETWEEN", 0.01)
    assert host.install().is_empty
    assert len([call for call in host.calls() if call.endswith(" update")]) == 2


def test_services_wanted_for_their_programs_are_masked_unless_they_exist(host: Host) -> None:
    host.fake("systemctl", FAKE_SYSTEMCTL)
    asyncio.run(host.apt().install(["zsh", "nginx", "openssh-server"]))
    calls = [call for call in host.calls() if call.startswith("systemctl")]
    assert calls == ["systemctl mask ssh.service", "systemctl mask ssh.socket"]


@pytest.mark.parametrize(
    ("candidate", "madison", "expected"),
    [
        ("1:10.0.13+ds-0+deb13u1", "", []),
        ("1:7.2+dfsg-7", MADISON + BACKPORTS, ["-t", "bookworm-backports"]),
        ("1:7.2+dfsg-7", MADISON, None),
        ("(none)", "", None),
        ("", "", None),
    ],
)
def test_where_qemu_comes_from(candidate: str, madison: str, expected: list[str] | None) -> None:
    assert qemu_source(candidate, madison) == expected


def test_backports_come_from_the_mirror_in_use() -> None:
    security = MADISON.replace("mirror.example/debian", "security.example/debian-security")
    assert "URIs: http://mirror.example/debian\n" in backports_source("bookworm", security + MADISON)
    assert "URIs: http://deb.debian.org/debian\n" in backports_source("bookworm", "")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ("", "100000-165535"),
        ("bob:100000:65536\n", ""),
        ("1000:100000:65536\n", ""),
        ("bob:100000:1000\n", "101000-166535"),
        ("amy:100000:65536\neve:300000:65536\n", "365536-431071"),
        ("# no line of it\nbob:x:y\n", "100000-165535"),
    ],
)
def test_subordinate_ids_never_overlap(table: str, expected: str) -> None:
    assert missing_subids("bob", 1000, [table, table]) == expected


def test_ids_missing_in_one_table_are_missing() -> None:
    assert missing_subids("bob", 1000, ["bob:100000:65536\n", ""]) == "165536-231071"


@pytest.mark.parametrize(
    ("text", "manager"),
    [
        ("ID=debian\nVERSION_ID=13", "apt"),
        ("ID=ubuntu", "apt"),
        ('ID="opensuse-tumbleweed"\nID_LIKE="opensuse suse"', "zypper"),
        ('ID=rocky\nID_LIKE="rhel centos fedora"', "dnf"),
        ("ID=nixos", "nix"),
        ("ID=arch", "pacman"),
        ("ID=plan9", ""),
        ("", ""),
    ],
)
def test_the_package_manager_follows_from_the_distribution(text: str, manager: str) -> None:
    assert parse_os_release(text).manager == manager


def lacking(system: System, *names: str, subids: str = "") -> Shortfall:
    lacks = tuple(look.Lack(need) for need in NEEDS if need.name in names)
    return Shortfall(system, BOB, lacks, subids)


def test_by_hand_every_distribution_gets_its_own_names() -> None:
    needed = ("QEMU", "mmdebstrap", "newuidmap")
    assert by_hand(lacking(FEDORA, *needed)) == ["dnf install qemu-system-x86 mmdebstrap shadow-utils-subid"]
    arch = by_hand(lacking(System("arch", "", "pacman", "Arch Linux"), *needed))
    assert arch[0] == "pacman -S --needed qemu-system-x86 shadow"
    assert arch[1] == "# mmdebstrap: Arch Linux has no package of it that we know"
    nix = by_hand(lacking(System("nixos", "", "nix", "NixOS"), *needed))
    assert nix == ["nix shell nixpkgs#qemu nixpkgs#mmdebstrap nixpkgs#shadow"]
    assert "qemu-system-x86 mmdebstrap uidmap" in by_hand(lacking(System("x", "", "", "x"), *needed))[0]


def test_by_hand_on_debian_12_qemu_comes_from_backports() -> None:
    lines = by_hand(lacking(BOOKWORM, "QEMU", "vde_switch", subids="100000-165535"))
    assert lines[0].endswith("> /etc/apt/sources.list.d/backports.list")
    assert "apt-get install --no-install-recommends vde2" in lines
    assert "apt-get install --no-install-recommends -t bookworm-backports qemu-system-x86" in lines
    assert lines[-1] == "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 bob"
    assert commands(TRIXIE, ["qemu-system-x86"])[-1] == "apt-get install --no-install-recommends qemu-system-x86"
    assert commands(TRIXIE, ["nginx"])[0].startswith("systemctl mask nginx.service")


def test_who_called_sudo_is_who_builds_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert current_user({"SUDO_USER": "bob", "SUDO_UID": "1000"}) == BOB
    assert current_user({}).is_root
    assert Purpose.ROOTLESS not in purposes_of(current_user({}), debian_images=True, development=False)


@pytest.mark.parametrize(
    ("images", "found", "wanted"),
    [("auto", "", True), ("auto", "nix", False), ("nixos", "", False), ("debian", "nix", True)],
)
def test_who_needs_the_tools_of_debian_images(images: str, found: str, wanted: bool) -> None:
    assert host_setup.wants_debian(images, lambda tool: "/bin/x" if tool == found else None) is wanted


def test_the_builder_of_images_asks_for_the_same_programs() -> None:
    assert set(debian_host.TOOLS) == {"mmdebstrap", "mke2fs", "debugfs", "e2fsck", "tar", "qemu-img"}
    assert set(debian_host.ROOTLESS_TOOLS) == {"newuidmap", "newgidmap", "unshare"}
