"""What a host must have: the one list that `host-setup`, `doctor`, the builder of images and scripts/e2e go by. Pure.

Programs are looked for, not packages: a QEMU built by hand counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from orchestrator.vm.accelerator import QEMU


class Purpose(StrEnum):
    """Who needs it."""

    MACHINES = "machines"  # everybody
    DEBIAN_IMAGES = "debian images"  # who builds images from Debian packages
    ROOTLESS = "images without root"  # who does so as a user
    DEVELOPMENT = "development"  # who runs the tests of the orchestrator


@dataclass(frozen=True, slots=True)
class Need:
    """Something a host must have.

    Attributes:
        name: what it is called where it is missing.
        reason: what it is for.
        programs: all of them must be on PATH.
        files: patterns of absolute paths; one of them must exist. Empty: none is asked for.
        qemu: whether the programs are QEMU's, whose version counts.
        packages: package manager → package; a manager that has none is not in it.
    """

    name: str
    reason: str
    purpose: Purpose
    packages: Mapping[str, str]
    programs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    qemu: bool = False


def _packages(
    apt: str, *, dnf: str | None = None, pacman: str | None = None, zypper: str | None = None, nix: str | None = None
) -> dict[str, str]:
    found = {"apt": apt, "dnf": dnf, "pacman": pacman, "zypper": zypper, "nix": nix}
    return {manager: package for manager, package in found.items() if package is not None}


def _same(package: str) -> dict[str, str]:
    return dict.fromkeys(("apt", "dnf", "pacman", "zypper", "nix"), package)


_ALWAYS: Final = (
    Need(
        "QEMU",
        "runs the virtual machines",
        Purpose.MACHINES,
        _packages("qemu-system-x86", dnf="qemu-system-x86", pacman="qemu-system-x86", zypper="qemu-x86", nix="qemu"),
        programs=(QEMU,),
        qemu=True,
    ),
    Need(
        "qemu-img",
        "makes their disks",
        Purpose.MACHINES,
        _packages("qemu-utils", dnf="qemu-img", pacman="qemu-img", zypper="qemu-img", nix="qemu"),
        programs=("qemu-img",),
        qemu=True,
    ),
    Need(
        "vde_switch",
        "connects them: one switch for each network",
        Purpose.MACHINES,
        _same("vde2"),
        programs=("vde_switch",),
    ),
    Need(
        "ssh-keygen",
        "ssh, scp and rsync into the machines",
        Purpose.MACHINES,
        _packages("openssh-client", dnf="openssh", pacman="openssh", zypper="openssh-common", nix="openssh"),
        programs=("ssh-keygen",),
    ),
    Need(
        "certificates",
        "verify the servers that packages come from",
        Purpose.MACHINES,
        {**_same("ca-certificates"), "nix": "cacert"},
        files=(
            "/etc/ssl/certs/ca-certificates.crt",
            "/etc/pki/tls/certs/ca-bundle.crt",
            "/etc/ssl/ca-bundle.pem",
            "/etc/ssl/cert.pem",
        ),
    ),
)
_IMAGES: Final = (
    Need(
        "mmdebstrap",
        "builds the Debian images from packages",
        Purpose.DEBIAN_IMAGES,
        _packages("mmdebstrap", dnf="mmdebstrap", nix="mmdebstrap"),
        programs=("mmdebstrap",),
    ),
    Need(
        "e2fsprogs",
        "makes their file system, and writes files into it",
        Purpose.DEBIAN_IMAGES,
        _same("e2fsprogs"),
        programs=("mke2fs", "debugfs", "e2fsck"),
    ),
    Need(
        "tar", "packs what goes into them", Purpose.DEBIAN_IMAGES, {**_same("tar"), "nix": "gnutar"}, programs=("tar",)
    ),
    Need(
        "Debian's keys",
        "verify the packages in them",
        Purpose.DEBIAN_IMAGES,
        _packages("debian-archive-keyring", dnf="debian-keyring", pacman="debian-archive-keyring"),
        files=("/usr/share/keyrings/debian-archive-keyring.gpg", "/usr/share/keyrings/debian-archive-keyring.pgp"),
    ),
    Need(
        "newuidmap",
        "builds images without root",
        Purpose.ROOTLESS,
        _packages("uidmap", dnf="shadow-utils-subid", pacman="shadow", zypper="shadow", nix="shadow"),
        programs=("newuidmap", "newgidmap"),
    ),
    Need("unshare", "builds images without root", Purpose.ROOTLESS, _same("util-linux"), programs=("unshare",)),
)


def _tested(name: str, package: str, reason: str, *, program: str = "", file: str = "") -> Need:
    programs, files = ((program,) if program else ()), ((file,) if file else ())
    return Need(name, reason, Purpose.DEVELOPMENT, {"apt": package}, programs, files)


_DEVELOPMENT: Final = (
    _tested("shellcheck", "shellcheck", "checks the shell scripts", program="shellcheck"),
    _tested("node", "nodejs", "runs the tests of the browser-test reporter", program="node"),
    _tested("tesseract", "tesseract-ocr", "texts on screens are read in a test", program="tesseract"),
    _tested("Chromium", "chromium", "opens the reports in the tests of their page", program="chromium"),
    _tested("zsh", "zsh", "completion is tested in it", program="zsh"),
    _tested("fish", "fish", "completion is tested in it", program="fish"),
    _tested("tcsh", "tcsh", "completion is tested in it", program="tcsh"),
    _tested("sshd", "openssh-server", "a real server for the tests of SSH", program="sshd"),
    _tested("nginx", "nginx", "reads the rendered configuration", program="nginx"),
    _tested(
        "PostgreSQL",
        "postgresql",
        "a real server for the tests of migrations",
        file="/usr/lib/postgresql/*/bin/postgres",
    ),
    _tested("sfdisk", "fdisk", "partitions the disks that are like cloud images", program="sfdisk"),
    _tested("mtools", "mtools", "writes their EFI system partition", program="mcopy"),
    _tested("GRUB", "grub-common", "makes their boot loader", program="grub-mkimage"),
    _tested("GRUB for a BIOS", "grub-pc-bin", "its part for a BIOS", file="/usr/lib/grub/i386-pc/boot.img"),
    _tested("GRUB for UEFI", "grub-efi-amd64-bin", "its part for UEFI", file="/usr/lib/grub/x86_64-efi/moddep.lst"),
)
NEEDS: Final[tuple[Need, ...]] = (*_ALWAYS, *_IMAGES, *_DEVELOPMENT)

# Packages wanted for their programs only → the services that come with them, which must not start.
SERVICES: Final[Mapping[str, tuple[str, ...]]] = {
    "openssh-server": ("ssh.service", "ssh.socket"),
    "nginx": ("nginx.service",),
    "postgresql": ("postgresql.service",),
}


def needs_for(*purposes: Purpose) -> Iterator[Need]:
    """The needs with one of these purposes, in order. Pure."""
    return (need for need in NEEDS if need.purpose in purposes)


def programs_of(*purposes: Purpose) -> dict[str, str]:
    """Program → Debian package. Pure.

    >>> programs_of(Purpose.ROOTLESS)["newuidmap"]
    'uidmap'
    """
    return {program: need.packages["apt"] for need in needs_for(*purposes) for program in need.programs}
