"""What `doctor` says of the room on this host: disks, memory, the length of socket names."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from orchestrator.cli.doctor_items import Item, State
from orchestrator.environment.admission import MEMORY_RESERVE, available_memory, disk_shortage, memory_shortage
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.scratch import scratch
from orchestrator.text import size_text
from orchestrator.topology.model import Topology

SOCKET_LIMIT = 107  # bytes of a UNIX socket's path


def disks(env_paths: EnvironmentPaths, runs: Path, cache: Path, *, images_needed: int) -> list[Item]:
    """Space where images, environments and run folders go."""
    items = []
    for name, folder, needed in (("cache", cache, images_needed), ("state", env_paths.workshop, 0), ("runs", runs, 0)):
        there = existing(folder)
        free = shutil.disk_usage(there).free
        lack = disk_shortage(there, free >> 20)
        if free < needed:
            lack = f"{size_text(needed)} are needed to build the images that are missing"
        text = f"{size_text(free)} free for {folder}"
        if not os.access(there, os.W_OK):
            items.append(
                Item(
                    f"disk: {name}",
                    State.MISSING,
                    text,
                    f"{there} cannot be written",
                    "ORCH_CACHE_DIR, ORCH_STATE_DIR and --runs move these folders",
                )
            )
        elif lack:
            items.append(
                Item(
                    f"disk: {name}",
                    State.MISSING,
                    text,
                    lack,
                    "orchestrator images prune, or put ORCH_CACHE_DIR on another disk",
                )
            )
        else:
            items.append(Item(f"disk: {name}", State.OK, text))
    return items


def temporary() -> Item:
    """Whether a temporary folder can be made and written."""
    try:
        with scratch("doctor") as folder:
            (folder / "file").write_bytes(bytes(4096))
            return Item("temporary folder", State.OK, str(folder.parent))
    except OSError as error:
        return Item(
            "temporary folder",
            State.MISSING,
            "cannot be written",
            str(error),
            "TMPDIR names another folder; df -h shows what is full",
        )


def existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def memory(topology: Topology, meminfo: str, *, running: bool) -> Item:
    """Whether the machines fit. Pure."""
    available = available_memory(meminfo)
    lack = memory_shortage(topology.machines.values(), available)
    parts = ", ".join(f"{machine.name} {machine.memory} MiB" for machine in topology.machines.values())
    text = f"{available} MiB available for {parts}, and {MEMORY_RESERVE} MiB for the host"
    if not lack:
        return Item("memory", State.OK, text)
    if running:
        return Item("memory", State.OK, f"{text}: the environment is running and already has its memory")
    return Item("memory", State.MISSING, text, lack, "smaller machines (memory = …), or end other programs")


def socket_paths(topology: Topology, env_paths: EnvironmentPaths) -> Item:
    """Whether the names of all sockets are short enough for the kernel. Pure."""
    nowhere = Path("/")
    networks = env_paths.networks(nowhere)
    paths = [side for name in topology.machines for side in _machine_sockets(env_paths, name)]
    for network in topology.networks.values():
        paths += [networks.wire(network.name, name) for name in topology.machines]
        paths.append(networks.switch(network.name) / "ctl")
    longest = max(paths, key=lambda path: len(os.fsencode(path)))
    length = len(os.fsencode(longest))
    text = f"{length} of {SOCKET_LIMIT} bytes, {longest}"
    if length <= SOCKET_LIMIT:
        return Item("socket paths", State.OK, text)
    return Item(
        "socket paths",
        State.MISSING,
        text,
        "the kernel allows no longer names",
        "export XDG_RUNTIME_DIR to a shorter folder, or give machines and networks shorter names",
    )


def _machine_sockets(env_paths: EnvironmentPaths, name: str) -> tuple[Path, ...]:
    paths = env_paths.machine(name, Path("/"))
    return (paths.qmp, paths.qmp_side, paths.agent, paths.console, paths.vnc)
