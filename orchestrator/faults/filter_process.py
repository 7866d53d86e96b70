"""Frame filters put into a link of a running machine, and taken out again.

QEMU gets sockets as open descriptors: it may run as a user who can make and open nothing.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.errors import FaultError, MachineError
from orchestrator.faults import frame_filter
from orchestrator.process import launch, tail
from orchestrator.process_id import ProcessId
from orchestrator.topology.fault_kind import Kept
from orchestrator.vm.arguments import kept_variables
from orchestrator.vm.qmp import Monitor

# QEMU's words: a network back end receives what the guest sends.
QUEUES: Mapping[str, tuple[str, ...]] = {"out": ("rx",), "in": ("tx",), "both": ("rx", "tx")}
TOLD_LIMIT = 5.0  # seconds until a filter has told its counts
_COUNTS = re.compile(r"frames=\d+( \w+=\d+)*")


@dataclass(frozen=True, slots=True)
class Redirection:
    """What is to be led over a filter, and by whom.

    Attributes:
        netdev: the network back end.
        name: what objects in QEMU are named after.
        settings: `orchestrator.faults.frame_filter.Settings` as JSON.
        log: what filters print.
        user: ``uid:gid`` that they become; empty: they stay who started them.
    """

    netdev: str
    name: str
    settings: str
    log: Path
    user: str


async def put_in(monitor: Monitor, wanted: Redirection, direction: str) -> Kept:
    """Lead frames of a network back end over a filter for each direction.

    Returns:
        What `take_out` needs.

    Raises:
        MachineError: QEMU does not take it; nothing is left of it then.
    """
    kept: dict[str, object] = {"log": str(wanted.log), "filters": []}
    try:
        for queue in QUEUES[direction]:
            own = f"orch-{wanted.name}-{queue}"
            process = await _one(monitor, wanted, own, queue)
            kept["filters"] = [*kept["filters"], {"name": own, "process": process.as_dict()}]  # type: ignore[misc]
    except BaseException:
        await take_out(monitor, kept)
        raise
    return kept


async def _one(monitor: Monitor, wanted: Redirection, name: str, queue: str) -> ProcessId:
    leaving, coming = socket.socketpair(), socket.socketpair()
    try:
        for suffix, pair in (("out", leaving), ("in", coming)):
            chardev = f"{name}-{suffix}-chr"
            await monitor.give(chardev, pair[0].fileno())
            address = {"type": "fd", "data": {"str": chardev}}
            backend = {"type": "socket", "data": {"addr": address, "server": False}}
            await monitor.execute("chardev-add", {"id": chardev, "backend": backend})
        ends = [leaving[1].fileno(), coming[1].fileno()]
        program = [sys.executable, "-I", "-S", str(frame_filter.__file__), *map(str, ends)]
        program += [wanted.user, wanted.settings]
        wanted.log.parent.mkdir(parents=True, exist_ok=True)
        process = launch(program, log=wanted.log, env=kept_variables(os.environ), descriptors=ends)
        # What comes back must be behind what goes out; the receive queue is gone through from its end.
        for suffix in ("in", "out") if queue == "rx" else ("out", "in"):
            given = {"qom-type": "filter-redirector", "id": f"{name}-{suffix}", "netdev": wanted.netdev, "queue": queue}
            await monitor.execute("object-add", {**given, f"{suffix}dev": f"{name}-{suffix}-chr"})
    except BaseException:
        await _remove(monitor, name)
        raise
    finally:
        for one in (*leaving, *coming):
            one.close()
    return process


async def _remove(monitor: Monitor, name: str) -> None:
    """Take the objects of one filter out of QEMU, those that are there. First what leads frames into it."""
    for suffix in ("out", "in"):
        with suppress(MachineError):
            await monitor.execute("object-del", {"id": f"{name}-{suffix}"})
    for suffix in ("out", "in"):
        with suppress(MachineError):
            await monitor.execute("chardev-remove", {"id": f"{name}-{suffix}-chr"})


async def take_out(monitor: Monitor | None, kept: Kept) -> None:
    """Frames take the short way again, and the filters end; those that they hold are lost.

    Args:
        monitor: None where QEMU is gone.
    """
    for name, process in _filters(kept):
        if monitor is not None:
            await _remove(monitor, name)
            if await process.ended(Deadline.after(TOLD_LIMIT)):
                continue
        await process.end()


async def told(monitor: Monitor, fault: str, kept: Kept) -> str:
    """What the filters have counted. Raises `FaultError` where one has ended, or QEMU does not use it."""
    objects = {str(one.get("name")) for one in await monitor.execute("qom-list", {"path": "/objects"})}
    lines = []
    for name, process in _filters(kept):
        if not process.alive or not {f"{name}-in", f"{name}-out"} <= objects:
            log = Path(str(kept["log"]))
            why = f"its filter {name} has ended" if not process.alive else f"QEMU has no filter {name}"
            raise FaultError(f"fault {fault} is not in effect", why=why, where=[str(log)], evidence=tail(log, 5))
        lines.append(name.rpartition("-")[2])
    return f"{len(lines)} frame filters run"


def counts(kept: Kept) -> str:
    """What ended filters have counted, one after the other."""
    log = Path(str(kept.get("log", "")))
    found = [line for line in tail(log, 4) if _COUNTS.fullmatch(line)]
    return "; ".join(found[-len(_filters(kept)) :]) if found else ""


def _filters(kept: Kept) -> list[tuple[str, ProcessId]]:
    entries = kept.get("filters")
    found = entries if isinstance(entries, list) else []
    return [(str(one["name"]), ProcessId.from_dict(one["process"])) for one in found]


def settings_text(settings: Mapping[str, object]) -> str:
    """Settings as the program takes them."""
    return json.dumps(dict(settings))
