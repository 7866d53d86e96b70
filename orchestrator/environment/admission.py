"""What the host must offer before anything is started: all shortages at once."""

from __future__ import annotations

import errno
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path

from orchestrator.errors import HostError, MemoryShort
from orchestrator.topology.model import Machine

MEMORY_RESERVE = 256  # MiB left to the host
MEMORY_OVERHEAD = 128  # MiB of QEMU itself, per machine
CLONE_SHARE = 0.35  # of a machine's memory that a clone makes its own: measured with a browser at work, and room
DISK_NEEDED = 2048  # MiB for overlays and evidence
EMULATED_PER_CORE = 2  # virtual processors of all environments that run, for each of the host's
VIRTUAL_PER_CORE = 8


def carried(processors: int, *, emulated: bool) -> int:
    """How many virtual processors a host carries at once. Pure.

    An emulated guest at work keeps a processor busy; with eight virtual ones on each, seven of eight clones did not
    come up within their limits.
    """
    return processors * (EMULATED_PER_CORE if emulated else VIRTUAL_PER_CORE)


def available_memory(meminfo: str) -> int:
    """MemAvailable in MiB, from the text of /proc/meminfo."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    return 0


def memory_shortage(machines: Iterable[Machine], available: int, *, times: int = 1, shared: bool = False) -> str:
    """Why the machines do not fit into ``available`` MiB; empty when they do. Pure.

    Args:
        times: so many environments of them.
        shared: their memory is a saved state's, copied where they write.
    """
    share = CLONE_SHARE if shared else 1
    wanted = {machine.name: round(machine.memory * share) + MEMORY_OVERHEAD for machine in machines}
    total = sum(wanted.values()) * times + MEMORY_RESERVE
    if total <= available:
        return ""
    parts = ", ".join(f"{name} {size} MiB" for name, size in wanted.items())
    often = f"{times} times " if times > 1 else ""
    return (
        f"the machines need {total} MiB of memory ({often}{parts}, {MEMORY_RESERVE} MiB for the host), "
        f"{available} MiB are available"
    )


def disk_shortage(folder: Path, free: int) -> str:
    """Why ``free`` MiB do not suffice; empty when they do. Pure."""
    if free >= DISK_NEEDED:
        return ""
    return f"{folder} has {free} MiB free, {DISK_NEEDED} MiB are needed for disk overlays and evidence"


def admit(machines: Iterable[Machine], folders: Iterable[Path], *, times: int = 1, shared: bool = False) -> None:
    """Check memory, disk space and fixed ports; ``times`` and ``shared`` as `memory_shortage` has them.

    Raises:
        MemoryShort: memory is all that is short.
        HostError: with every shortage in its evidence.
    """
    machines = list(machines)
    problems = []
    available = available_memory(Path("/proc/meminfo").read_text())
    shortage = memory_shortage(machines, available, times=times, shared=shared)
    if shortage:
        problems.append(shortage)
    for folder in folders:
        lack = disk_shortage(folder, shutil.disk_usage(folder).free // (1 << 20))
        if lack:
            problems.append(lack)
    for machine in machines:
        problems += [
            f"port {port.host} of 127.0.0.1, wanted for {machine.name}:{port.guest}, is taken"
            for port in machine.ports
            if port.host and not _free(port.host)
        ]
    if problems:
        kind = MemoryShort if problems == [shortage] else HostError
        raise kind(
            "this host cannot run the environment now" if len(problems) > 1 else problems[0],
            evidence=problems if len(problems) > 1 else [],
            hint="smaller machines (memory = …), another port, or free what is short; `orchestrator doctor` shows both",
        )


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise
    return True
