"""Processors of guests: which QEMU runs them, and what their machine needs to be told. Pure.

A guest's processor is seen from its run script, whoever wrote it: the script names the QEMU.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from orchestrator.topology.words import Cpu


@dataclass(frozen=True, slots=True)
class Architecture:
    """A processor.

    Attributes:
        name: as QEMU and `uname -m` call it.
        debian: as Debian calls it.
        machine: the machine type; empty: QEMU's default.
        console: the serial console, as Linux calls it.
        devices: what QEMU's default machine has and this one lacks, as options of QEMU.
        emulated: the processor under TCG.
        vmgenid: whether QEMU has this device for it.
    """

    name: str
    debian: str
    machine: str = ""
    console: str = "ttyS0"
    devices: tuple[str, ...] = ()
    emulated: str = "max"
    vmgenid: bool = True

    @property
    def program(self) -> str:
        """Its QEMU."""
        return f"qemu-system-{self.name}"


X86_64: Final = Architecture("x86_64", "amd64")
# A virt machine has no display adapter; pointer authentication by the letter of ARM costs an emulated guest a third.
AARCH64: Final = Architecture(
    "aarch64",
    "arm64",
    machine="virt",
    console="ttyAMA0",
    devices=("-device virtio-gpu-pci",),
    emulated="max,pauth-impdef=on",
    vmgenid=False,
)
ARCHITECTURES: Final[Mapping[str, Architecture]] = MappingProxyType({one.debian: one for one in (X86_64, AARCH64)})
"""By Debian's names, as a recipe has them."""


# QEMU's oldest processor of 64 bits, whose vendor under KVM is the host's, and what the level adds to it. `enforce`: a
# host that lacks one of these does not start the machine without it.
LEVELS: Final[Mapping[str, str]] = MappingProxyType(
    {Cpu.X86_64_V2: "qemu64-v1,-svm,+ssse3,+sse4.1,+sse4.2,+popcnt,enforce"}
)
"""The levels of x86-64 as processors of QEMU."""


def architecture_of(script: str) -> Architecture:
    """The processor of the guest that a run script starts; x86_64 where it names none that is known.

    >>> architecture_of('exec /nix/store/x-qemu/bin/qemu-system-aarch64 -machine virt').debian
    'arm64'
    """
    found = re.search(r"^\s*exec\s+\S*qemu-system-([a-z0-9_]+)", script, re.MULTILINE)
    return next((one for one in ARCHITECTURES.values() if found and one.name == found[1]), X86_64)


def processor_of(cpu: str) -> str:
    """The processor, as `uname -m` calls it, of a CPU type of QEMU.

    >>> processor_of("max-x86_64-cpu"), processor_of("max-arm-cpu")
    ('x86_64', 'aarch64')
    """
    return "aarch64" if cpu.endswith("-arm-cpu") else X86_64.name
