"""Which accelerator really runs a guest here: probed, not assumed.

/dev/kvm may open, answer, and still run nothing. So a guest is run: a boot
sector of 20 bytes that tells QEMU's exit device to end with a code we know. The
answer is kept per boot of the host, QEMU program and user.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.atomic import write_atomically
from orchestrator.deadline import Deadline
from orchestrator.errors import HostError, OrchestratorError
from orchestrator.events import EventBus
from orchestrator.events.run import AcceleratorChosen
from orchestrator.process import run
from orchestrator.procfs import boot_id
from orchestrator.scratch import scratch
from orchestrator.vm.option_values import value

QEMU = "qemu-system-x86_64"
MINIMUM_QEMU = (10, 0)
PROBE_LIMIT = 5.0  # seconds; KVM needs 0.3
EXIT_WRITTEN = 0x2A
EXIT_SEEN = (EXIT_WRITTEN << 1) | 1  # what isa-debug-exit makes of it

KVM = Path("/dev/kvm")
MODULES = Path("/sys/module")
WITHOUT_HARDWARE = (
    "the KVM of this host has no hardware below it (module kvm_pvm) and runs only guest kernels built for it; "
    "ordinary ones hang or abort"
)

# How much longer everything takes; limits in a topology are meant for KVM.
FACTORS = {"kvm": 1.0, "tcg": 10.0}


@dataclass(frozen=True, slots=True)
class Accelerator:
    """The outcome of the probe.

    Attributes:
        name: ``kvm`` or ``tcg``.
        reason: one sentence: why this one.
        factor: what time limits are multiplied with.
        qemu: QEMU's version, ``10.0.2``.
    """

    name: str
    reason: str
    factor: float
    qemu: str


def for_guests(probed: Accelerator, guests: Collection[str], *, host: str, kvm: bool) -> Accelerator:
    """The accelerator for guests of these processors; one for all machines of an environment. Pure.

    The probe runs a guest of x86_64. A guest of another processor is emulated; on a host that has it, KVM runs it.

    Args:
        guests: as `uname -m` calls them.
        host: the host's own processor.
        kvm: whether /dev/kvm can be opened.
    """
    foreign = sorted(set(guests) - {host})
    if not foreign and (host == "x86_64" or not guests):
        return probed
    if os.environ.get("ORCH_ACCELERATOR"):
        return probed
    if foreign:
        name, reason = "tcg", f"guests of {', '.join(foreign)} are emulated on a host of {host}"
    elif kvm:
        name, reason = "kvm", f"/dev/kvm of this host of {host} can be opened"
    else:
        name, reason = "tcg", f"/dev/kvm of this host of {host} cannot be opened"
    return probed if name == probed.name else _with_factor(name, reason, probed.qemu)


def boot_sector() -> bytes:
    """512 bytes: ``out 0xf4, al`` with our code, then halt.

    >>> len(boot_sector()), boot_sector()[-2:]
    (512, b'U\\xaa')
    """
    code = bytes(
        [
            0xB0,
            EXIT_WRITTEN,  # mov al, code
            0xE6,
            0xF4,  # out 0xf4, al
            0xF4,  # hlt
            0xEB,
            0xFD,  # jmp to the hlt
        ]
    )
    return code.ljust(510, b"\0") + b"\x55\xaa"


def parse_version(text: str) -> tuple[int, ...]:
    """The version in the output of ``qemu-system-x86_64 --version``; empty when there is none."""
    found = re.search(r"version (\d+(?:\.\d+)+)", text)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


async def qemu_version() -> tuple[int, ...]:
    """QEMU's version on PATH.

    Raises:
        HostError: missing, unreadable, or older than `MINIMUM_QEMU`.
    """
    hint = "orchestrator host-setup installs it; on Debian 12 it comes from bookworm-backports"
    done = await run([QEMU, "--version"], deadline=Deadline.after(20), hint=hint)
    version = parse_version(done.stdout)
    if not version:
        raise HostError(f"{QEMU} does not print its version", evidence=[done.stdout[:200]])
    if version < MINIMUM_QEMU:
        raise HostError(
            f"QEMU {_dotted(version)} is too old, {_dotted(MINIMUM_QEMU)} is needed",
            why="older ones crash current kernels with two emulated processors",
            hint=hint,
        )
    return version


async def probe(cache: Path, *, fresh: bool = False) -> Accelerator:
    """Find the accelerator, from the cache where it fits.

    The environment variables ORCH_ACCELERATOR (``kvm``, ``tcg``) and
    ORCH_TIME_FACTOR override the outcome.

    Raises:
        HostError: no usable QEMU, or an override that makes no sense.
    """
    version = _dotted(await qemu_version())
    forced = os.environ.get("ORCH_ACCELERATOR", "")
    if forced and forced not in FACTORS:
        raise HostError(f"ORCH_ACCELERATOR is {forced!r}", hint="kvm or tcg")
    if forced:
        return _with_factor(forced, "set by ORCH_ACCELERATOR", version)
    key = {"boot_id": boot_id(), "qemu": version, "program": _program_stamp(), "uid": os.getuid(), "kvm": _kvm_stamp()}
    if not fresh:
        known = _read_cache(cache, key)
        if known is not None:
            return _with_factor(known[0], known[1], version)
    name, reason = await _try_kvm()
    with suppress(OSError):  # a home that cannot be written, a full disk: then it is probed again
        _write_cache(cache, key, name, reason)
    return _with_factor(name, reason, version)


def without_hardware() -> bool:
    """Whether this host's KVM works without hardware virtualization, by the module ``kvm_pvm``.

    No other one can be in its place at the same time.
    """
    return (MODULES / "kvm_pvm").is_dir()


async def _try_kvm() -> tuple[str, str]:
    device = Path("/dev/kvm")
    if not device.exists():
        return "tcg", "this host has no /dev/kvm"
    if not os.access(device, os.R_OK | os.W_OK):
        return "tcg", "/dev/kvm cannot be opened by this user (group kvm is missing)"
    if without_hardware():
        return "tcg", WITHOUT_HARDWARE
    try:
        return await _run_guest()
    except OSError as error:
        return "tcg", f"/dev/kvm opens, but the probe could not be run: {error}"


async def _run_guest() -> tuple[str, str]:
    with scratch("probe") as folder:
        disk = folder / "boot.img"
        disk.write_bytes(boot_sector())
        argv = [
            QEMU,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-machine",
            "pc,accel=kvm",
            "-cpu",
            "host",
            "-m",
            "16",
            "-no-reboot",
            "-device",
            "isa-debug-exit,iobase=0xf4,iosize=1",
            "-drive",
            f"file={value(disk)},format=raw,if=floppy,readonly=on",
        ]
        try:
            done = await run(argv, deadline=Deadline.after(PROBE_LIMIT), check=False)
        except OrchestratorError:
            return "tcg", f"/dev/kvm opens, but a guest under KVM did not run within {PROBE_LIMIT:.0f} s"
    if done.code == EXIT_SEEN:
        return "kvm", "a guest ran under KVM"
    complaint = (done.stderr.strip().splitlines() or [f"exit code {done.code}"])[-1]
    return "tcg", f"/dev/kvm opens, but no guest runs under KVM: {complaint[:160]}"


def _with_factor(name: str, reason: str, version: str) -> Accelerator:
    text = os.environ.get("ORCH_TIME_FACTOR", "")
    try:
        factor = float(text) if text else FACTORS[name]
    except ValueError:
        raise HostError(f"ORCH_TIME_FACTOR is {text!r}", hint="a number, such as 4") from None
    if not 0.1 <= factor <= 1000:
        raise HostError(f"ORCH_TIME_FACTOR is {text!r}", hint="a number from 0.1 to 1000")
    return Accelerator(name, reason, factor, version)


def _program_stamp() -> list[object]:
    """Which QEMU was asked: another one of the same version, or a wrapper, may come to another answer."""
    found = shutil.which(QEMU)
    if found is None:
        return []
    path = Path(found).resolve()
    status = path.stat()
    return [str(path), status.st_size, status.st_mtime_ns]


def _kvm_stamp() -> list[int]:
    """What changes when access to /dev/kvm changes."""
    try:
        found = Path("/dev/kvm").stat()
    except OSError:
        return []
    may = os.access("/dev/kvm", os.R_OK | os.W_OK)
    return [found.st_mode, found.st_uid, found.st_gid, int(may), int(without_hardware())]


def _read_cache(cache: Path, key: dict[str, object]) -> tuple[str, str] | None:
    try:
        data = json.loads(cache.read_text())
        if data["key"] == key and data["name"] in FACTORS:
            return data["name"], str(data["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return None


def _write_cache(cache: Path, key: dict[str, object], name: str, reason: str) -> None:
    cache.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(cache, json.dumps({"key": key, "name": name, "reason": reason}))


def emit_accelerator(found: Accelerator, bus: EventBus) -> None:
    """Tell what the probe found."""
    bus.emit(AcceleratorChosen(accelerator=found.name, reason=found.reason, time_scale=found.factor, qemu=found.qemu))


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)
