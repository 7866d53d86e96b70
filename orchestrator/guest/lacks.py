"""What a guest lacks that this program needs, and what to add to its image: one explained error each. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from orchestrator.errors import MachineError

BASE: Final = 'include = ["orchestrator:base"] in its recipe'


class Lack(Enum):
    """What is not there, for the sentence "machine X has no …"."""

    AGENT = "guest agent"
    ADDRESS = "address on the user network"
    SSHD = "SSH server that listens"
    SYSTEMD = "systemd"
    WRITABLE_ROOT = "writable root file system"


# For each provider of images, what brings it.
REMEDIES: Final[Mapping[Lack, Mapping[str, str]]] = MappingProxyType(
    {
        Lack.AGENT: {
            "debian": f'{BASE}, or packages = ["qemu-guest-agent"]',
            "nixos": "services.qemuGuest.enable = true",
            "disk": "install qemu-guest-agent in the disk, or for SSH only: sshd, and cloud-init or systemd 253",
            "oci": "install qemu-guest-agent in the image, or for SSH only: openssh-server and systemd 253",
        },
        Lack.ADDRESS: {
            "debian": f"{BASE}: it gives the first card 10.0.2.15 by systemd-networkd",
            "nixos": "networking.useDHCP = true",
            "disk": "install cloud-init in the disk, or configure DHCP for its first card",
            "oci": "systemd-networkd in the image (the package systemd has it)",
        },
        Lack.SSHD: {
            "debian": f'{BASE}, or packages = ["openssh-server"]',
            "nixos": "services.openssh.enable = true",
            "disk": "install and enable openssh-server in the disk",
            "oci": "install openssh-server in the image",
        },
        Lack.SYSTEMD: {
            "debian": f'{BASE}, or packages = ["systemd-sysv"]',
            "nixos": "its configuration must not replace /sbin/init",
            "disk": "use a disk of a distribution with systemd",
            "oci": "install systemd-sysv in the image: /sbin/init must be systemd",
        },
        Lack.WRITABLE_ROOT: {
            "debian": f'{BASE}, or kernel_parameters = ["rw"]',
            "nixos": 'boot.kernelParams = ["rw"]',
            "disk": "rw instead of ro in the boot loader's kernel parameters, or / with rw in its /etc/fstab",
            "oci": "remove the entry of / from its /etc/fstab",
        },
    }
)


@dataclass(frozen=True, slots=True)
class Lacks:
    """Makes the errors of one machine.

    Attributes:
        providers: those that can make its image.
        where: places with evidence.
    """

    machine: str
    providers: Collection[str] = ()
    where: Sequence[str] = ()

    def error(self, lack: Lack, why: str, *, evidence: Sequence[str] = ()) -> MachineError:
        """The machine has no such thing.

        Args:
            why: what was seen of it.
        """
        return MachineError(
            f"machine {self.machine} has no {lack.value}",
            subject=self.machine,
            why=why,
            evidence=evidence,
            where=self.where,
            hint=self.remedy(lack),
        )

    def remedy(self, lack: Lack) -> str:
        """What to add, for each provider that the image can have."""
        known = REMEDIES[lack]
        mine = {name: known[name] for name in self.providers if name in known} or {"debian": known["debian"]}
        if len(mine) == 1:
            return f"add to the image: {next(iter(mine.values()))}"
        return "add to the image: " + "; ".join(f"{name}: {text}" for name, text in mine.items())
