"""A machine's display for viewers: QEMU's VNC server, on a socket that is made when somebody wants to look.

QEMU is started with ``-vnc none``: a server without an address. It gets one over QMP, as an open socket: QEMU may run
as a user who can make no file of ours. The option is given only where the probe has shown that this QEMU takes it; one
that was built without VNC, or lacks its keymaps, would not start at all.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
from contextlib import suppress
from pathlib import Path

from orchestrator.atomic import write_atomically
from orchestrator.deadline import Deadline
from orchestrator.errors import HostError, OrchestratorError
from orchestrator.process import run
from orchestrator.scratch import scratch
from orchestrator.vm.accelerator import EXIT_SEEN, QEMU, boot_sector
from orchestrator.vm.option_values import value
from orchestrator.vm.qmp import Monitor

PROBE_LIMIT = 15.0  # seconds; an emulated boot sector needs 0.3
BACKLOG = 8


def program_of(script: str) -> str:
    """The QEMU that a run script starts. Pure.

    >>> program_of('cd /\\nexec /nix/store/a-qemu/bin/qemu-kvm -cpu max')
    '/nix/store/a-qemu/bin/qemu-kvm'
    """
    found = re.search(r"^\s*exec\s+(\S*qemu\S*)", script, re.MULTILINE)
    return found[1].strip("\"'") if found else QEMU


async def has_vnc(program: str, cache: Path) -> bool:
    """Whether a QEMU starts with a VNC server: tried once, with a boot sector that ends it at once.

    Args:
        cache: the file of earlier answers.
    """
    stamp = _stamp(program)
    known = _read(cache)
    if stamp in known:
        return known[stamp]
    with scratch("vnc") as folder:
        disk = folder / "boot.img"
        disk.write_bytes(boot_sector())
        argv = [program, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc,accel=tcg", "-m", "16"]
        argv += ["-no-reboot", "-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-vnc", "none"]
        argv += ["-drive", f"file={value(disk)},format=raw,if=floppy,readonly=on"]
        try:
            found = (await run(argv, deadline=Deadline.after(PROBE_LIMIT), check=False)).code == EXIT_SEEN
        except OrchestratorError:
            return False  # a host that is overloaded says nothing about QEMU
    with suppress(OSError):
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cache, json.dumps({**known, stamp: found}))
    return found


def _stamp(program: str) -> str:
    path = Path(shutil.which(program) or program).resolve()
    with suppress(OSError):
        status = path.stat()
        return f"{path} {status.st_size} {status.st_mtime_ns}"
    return str(path)


def _read(cache: Path) -> dict[str, bool]:
    try:
        data = json.loads(cache.read_text())
        return {name: answer for name, answer in data.items() if isinstance(answer, bool)}
    except (OSError, ValueError, AttributeError):
        return {}


async def open_display(monitor: Monitor, path: Path) -> None:
    """Let QEMU serve the display at a socket of ours; one that it serves already stays.

    Raises:
        HostError: this QEMU was started without VNC.
        MachineError: QEMU does not answer.
    """
    servers = await monitor.execute("query-vnc-servers")
    if not servers:
        raise HostError(
            f"QEMU of machine {monitor.machine} has no VNC server",
            why="it was built without VNC, or was started by an older version of this program",
            hint=f"orchestrator screen {monitor.machine} shows its display as a picture",
        )
    if path.is_socket() and any(one["service"] == str(path) for server in servers for one in server["server"]):
        return
    # QEMU removes the file of the socket that it gives up: that must be before there is a new one.
    await monitor.execute("display-update", {"type": "vnc", "addresses": []})
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
        await monitor.give("orch-vnc", listener.fileno())
        addresses = [{"type": "fd", "str": "orch-vnc"}]
        await monitor.execute("display-update", {"type": "vnc", "addresses": addresses})
