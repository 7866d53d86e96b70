"""The checks of `doctor` on this host, one function each; nothing is changed."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.errors import OrchestratorError
from orchestrator.images import debian_host, nixos
from orchestrator.process import run
from orchestrator.topology.model import NetworkKind, Topology
from orchestrator.vm.accelerator import (
    MINIMUM_QEMU,
    PROBE_LIMIT,
    QEMU,
    WITHOUT_HARDWARE,
    Accelerator,
    probe,
    qemu_version,
    without_hardware,
)

MINIMUM_PYTHON = (3, 11)
BASE_SPACE = 3 << 30  # bytes a base layer takes while it is built
# With the base layers cached: two write the application layer, the third makes the overlay of each start.
ALWAYS_NEEDED = frozenset({"debugfs", "e2fsck", "qemu-img"})
SHORT = 20.0  # seconds for one look at the host
PACKAGES = ("httpx", "paramiko", "qemu.qmp", "rich", "subprocess-tee")


class State(StrEnum):
    OK = "ok"
    WARNING = "warning"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the screen.

    Attributes:
        text: what was found.
        reason: why it is a warning or missing, or how it was found out.
        next: the step that fixes it.
    """

    name: str
    state: State
    text: str
    reason: str = ""
    next: str = ""


def failed(name: str, error: OrchestratorError, state: State = State.MISSING) -> Item:
    """An item made from an explained error."""
    reason = "; ".join(part for part in (error.why, *error.evidence) if part)
    return Item(name, state, error.what, reason, error.hint)


def unseen(name: str, error: Exception) -> Item:
    """An item for what could not be inspected: no home, a full disk."""
    return Item(
        name,
        State.MISSING,
        "cannot be inspected",
        f"{type(error).__name__}: {error}",
        "HOME, TMPDIR, ORCH_CACHE_DIR and ORCH_STATE_DIR name folders that can be written",
    )


def python() -> Item:
    version = ".".join(str(part) for part in sys.version_info[:3])
    good = sys.version_info >= MINIMUM_PYTHON
    needed = ".".join(str(part) for part in MINIMUM_PYTHON)
    return Item(
        "Python",
        State.OK if good else State.MISSING,
        f"{version} ({needed} needed)",
        "",
        "" if good else f"a virtual environment of Python {needed} or newer",
    )


def packages() -> Item:
    """The Python packages this program needs, with the versions it asks for."""
    from importlib.metadata import PackageNotFoundError, requires, version

    try:
        wanted = [text for text in requires("orchestrator") or () if "extra" not in text]
    except PackageNotFoundError:
        wanted = []  # run from a checkout that is not installed
    found, lacking = [], []
    for requirement in wanted or PACKAGES:
        name, _, least = (part.strip() for part in requirement.partition(">="))
        try:
            has = version(name)
        except PackageNotFoundError:
            lacking.append(requirement)
            continue
        found.append(f"{name} {has}")
        if least and _numbers(has) < _numbers(least):
            lacking.append(f"{requirement} (it is {has})")
    if lacking:
        names = " ".join(f"'{each.partition(' (')[0]}'" for each in lacking)
        return Item(
            "Python packages",
            State.MISSING,
            ", ".join(lacking),
            "not installed, or too old",
            f"{sys.executable} -m pip install {names}",
        )
    return Item("Python packages", State.OK, ", ".join(found))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


async def qemu() -> Item:
    try:
        version = await qemu_version()
    except OrchestratorError as error:
        return failed("QEMU", error)
    return Item("QEMU", State.OK, f"{_dotted(version)} ({_dotted(MINIMUM_QEMU)} needed), {shutil.which(QEMU)}")


def _dotted(version: Iterable[int]) -> str:
    return ".".join(str(part) for part in version)


def kvm_device(device: Path = Path("/dev/kvm")) -> Item:
    if not device.exists():
        return Item(
            "/dev/kvm",
            State.WARNING,
            "not there",
            "no hardware virtualization, or it is switched off",
            "switch it on in the firmware, or nested virtualization in the hypervisor below",
        )
    if not os.access(device, os.R_OK | os.W_OK):
        return Item(
            "/dev/kvm",
            State.WARNING,
            "cannot be opened by this user",
            "it belongs to the group kvm",
            'sudo usermod -aG kvm "$USER", then log in again',
        )
    if without_hardware():
        return Item(
            "/dev/kvm",
            State.WARNING,
            "KVM without hardware (module kvm_pvm)",
            WITHOUT_HARDWARE,
            "a host with hardware virtualization; emulation works here",
        )
    return Item("/dev/kvm", State.OK, "can be opened (the accelerator probe shows whether a guest runs)")


async def accelerator(cache: Path, *, fresh: bool) -> Item:
    known = cache.exists() and not fresh
    try:
        found = await probe(cache, fresh=fresh)
    except OrchestratorError as error:
        return failed("accelerator", error)
    return accelerator_item(found, known=known, forced=os.environ.get("ORCH_ACCELERATOR", ""))


def accelerator_item(found: Accelerator, *, known: bool, forced: str) -> Item:
    """What the probe found, explained. Pure."""
    text = f"{found.name}, time limits × {found.factor:g}"
    how = (
        "not probed"
        if forced or found.reason == WITHOUT_HARDWARE
        else f"the probe runs a guest of one boot sector under KVM, for at most {PROBE_LIMIT:.0f} s, "
        f"where /dev/kvm opens{' (an answer of this boot is kept)' if known else ''}"
    )
    reason = f"{found.reason}; {how}"
    if found.name == "kvm":
        return Item("accelerator", State.OK, text, reason)
    return Item(
        "accelerator",
        State.WARNING,
        text,
        f"{reason}; emulation works, about ten times slower",
        "unset ORCH_ACCELERATOR"
        if forced
        else "a host with working KVM is faster; orchestrator doctor --fresh probes again",
    )


async def vde(topology: Topology | None) -> Item:
    """vde_switch, and whether QEMU supports it."""
    wanted = topology is None or any(network.kind is NetworkKind.VDE for network in topology.networks.values())
    bad = State.MISSING if wanted else State.WARNING
    hint = 'orchestrator host-setup, or kind = "socket" for the networks'
    switch = shutil.which("vde_switch")
    if switch is None:
        return Item("vde_switch", bad, "not installed", "networks of kind vde need it", hint)
    try:
        done = await run([QEMU, "-netdev", "help"], deadline=Deadline.after(SHORT), check=False)
    except OrchestratorError as error:
        return failed("vde_switch", error, bad)
    if "vde" not in done.stdout.split():
        return Item("vde_switch", bad, switch, "this QEMU was built without VDE", 'kind = "socket" for the networks')
    return Item("vde_switch", State.OK, f"{switch}, QEMU speaks VDE")


def debian_tools(facts: debian_host.HostFacts, *, used: bool, cached: bool) -> Item:
    """The programs that build Debian images. Pure.

    Args:
        used: the embedded Debian images are what `up` would take.
        cached: all their base layers are there, so that only the application layer is built.
    """
    everything = sorted({**debian_host.TOOLS, **(debian_host.ROOTLESS_TOOLS if facts.rootless else {})})
    if not facts.missing:
        return Item("Debian image tools", State.OK, ", ".join(everything))
    needed = facts.missing.keys() & ALWAYS_NEEDED if cached else facts.missing.keys()
    reason = "needed to build Debian images"
    if not (used and needed):
        reason = "not needed now: the base layers are cached" if used else "not needed: images come from Nix"
    return Item(
        "Debian image tools",
        State.MISSING if used and needed else State.WARNING,
        f"without {', '.join(sorted(facts.missing))}",
        reason,
        "orchestrator host-setup",
    )


async def rootless(facts: debian_host.HostFacts, *, used: bool, cached: bool) -> Item:
    """Whether images can be built without root: subordinate ids, and a user namespace that is created as a test."""
    if not facts.rootless:
        return Item("build without root", State.OK, "this is root: no subordinate ids needed")
    bad = State.MISSING if used and not cached else State.WARNING
    found = [line for line in debian_host.problems(facts, needed=0) if "missing (package" not in line]
    if found:
        parts = [line.partition(": sudo ") for line in found]
        return Item(
            "build without root",
            bad,
            "not possible yet",
            "; ".join(part[0] for part in parts),
            "; ".join(f"sudo {part[2]}" for part in parts if part[2]),
        )
    try:
        argv = ["unshare", "--map-auto", "--map-root-user", "true"]
        await run(argv, deadline=Deadline.after(SHORT), hint="orchestrator host-setup")
    except OrchestratorError as error:
        return failed("build without root", error, bad)
    return Item("build without root", State.OK, f"{facts.subids} subordinate ids, unshare makes a user namespace")


def nix(*, used: bool, path: str | None = None) -> Item:
    """The Nix tools of this host; none is fine if the embedded Debian images are used."""
    found = [tool for tool in nixos.TOOLS if shutil.which(tool, path=path)]
    if found:
        return Item("Nix", State.OK, ", ".join(found))
    if used:
        return Item(
            "Nix",
            State.MISSING,
            "not installed",
            "the images are to come from NixOS",
            "install Nix (https://nixos.org/download), or --images debian",
        )
    return Item("Nix", State.OK, "not installed: the embedded Debian images are used")
