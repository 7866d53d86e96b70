"""What this host has for guests, found out here and now."""

from __future__ import annotations

import hashlib
import os
import shutil
from functools import cache
from pathlib import Path

import orchestrator
from orchestrator.environment.admission import MEMORY_RESERVE, available_memory, carried
from orchestrator.errors import HostError
from orchestrator.fleet.needs import Offer
from orchestrator.folders import cache_root, state_root
from orchestrator.quantities import MIB, parse_size
from orchestrator.vm.accelerator import probe

MOST_MEMORY = "ORCH_FLEET_MEMORY"  # what cells may have together on a host that others use too


async def offer_of(host: str) -> Offer:
    """The offer of this host under its name; without QEMU it has no accelerator."""
    try:
        accelerator = (await probe(cache_root() / "accelerator.json")).name
    except HostError:
        accelerator = ""
    return Offer(
        host=host,
        memory=memory_now(),
        processors=carried(len(os.sched_getaffinity(0)), emulated=accelerator != "kvm"),
        disk=disk_now(),
        accelerator=accelerator,
        version=version(),
    )


@cache
def version() -> str:
    """The version of this program, and a digest of its modules: hosts must not differ in what they do."""
    root = Path(orchestrator.__file__).parent
    found = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        found.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return f"{orchestrator.__version__}+{found.hexdigest()[:10]}"


def memory_now() -> int:
    """MiB that guests can have now, beside what the host keeps and what it is allowed to give."""
    free = available_memory(Path("/proc/meminfo").read_text(encoding="ascii")) - MEMORY_RESERVE
    return max(0, min([free, *most_memory()]))


def most_memory() -> list[int]:
    """What ORCH_FLEET_MEMORY says, in MiB; nothing if it is not set.

    Raises:
        HostError: it is not a size.
    """
    text = os.environ.get(MOST_MEMORY)
    if not text:
        return []
    try:
        return [parse_size(text) // MIB]
    except ValueError as error:
        raise HostError(f"ORCH_FLEET_MEMORY is {text!r}", why=str(error), hint='a size like "8GiB"') from error


def disk_now() -> int:
    """MiB free where the state of environments is."""
    folder = state_root()
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    return shutil.disk_usage(there).free // MIB
