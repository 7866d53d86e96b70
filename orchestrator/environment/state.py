"""What was started, on disk: the memory of an environment between commands.

There is no daemon. A command reads this, and believes nothing of it that it
cannot verify: processes by pid, start time and boot id, services by asking.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from orchestrator.atomic import write_atomically
from orchestrator.codec import decode, encode
from orchestrator.errors import HostError
from orchestrator.process_id import ProcessId
from orchestrator.topology.effective import to_dict
from orchestrator.topology.model import Topology

FORMAT = 4


@dataclass(frozen=True, slots=True)
class MachineState:
    """A started machine.

    Attributes:
        process: its QEMU (the leader of its group).
        image: the image folder it was started from.
        ports: guest port → port of 127.0.0.1.
        host_key: the pinned SSH host key, one public line; empty before the hand-over.
        ram: the file that is its memory, shared with QEMU; empty where there is none.
        base: the file that its memory rests on, copy on write, if it was made from a saved state; else empty.
        addresses: those of the names outside that it may reach.
        layers: the files of the disks of its layers.
        egress_filter: the process that lets it reach them, and nobody else; None where it may reach all or nobody.
        ssh_only: it has no guest agent.
        prepared: the services that have what they need in it: layers mounted, environment written.
    """

    process: ProcessId
    image: str
    ports: Mapping[int, int] = field(default_factory=dict)
    host_key: str = ""
    ram: str = ""
    base: str = ""
    addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    egress_filter: ProcessId | None = None
    layers: Mapping[str, str] = field(default_factory=dict)
    ssh_only: bool = False
    prepared: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EnvironmentState:
    """Everything `down` needs, and what the other commands start from.

    Attributes:
        phase: ``starting``, ``ready``, ``failed``, ``stopping``.
        owner: the command that is working on it, or that made it.
        run_folder: where its evidence is written.
        factor: what limits are multiplied with.
        restarts: how often systemd had started a service's unit again when it was proven; those are no trouble.
        inputs: what a snapshot of it depends on (`orchestrator.snapshots.key`).
        snapshot: the folder of its healthy point; empty when none was saved.
        generation: how often it was put back to a snapshot.
        with_vnc: the images whose QEMU has a VNC server.
    """

    name: str
    topology: Topology
    run_folder: Path
    phase: str
    owner: ProcessId
    command: str
    started: float
    provider: str
    accelerator: str
    factor: float
    networks: Mapping[str, ProcessId] = field(default_factory=dict)
    machines: Mapping[str, MachineState] = field(default_factory=dict)
    services: Mapping[str, str] = field(default_factory=dict)
    restarts: Mapping[str, int] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    snapshot: str = ""
    generation: int = 0
    with_vnc: tuple[str, ...] = ()

    @property
    def processes(self) -> list[ProcessId]:
        filters = (m.egress_filter for m in self.machines.values() if m.egress_filter is not None)
        return [*(m.process for m in self.machines.values()), *filters, *self.networks.values()]

    @property
    def live_processes(self) -> list[ProcessId]:
        return [process for process in self.processes if process.alive]

    @property
    def any_alive(self) -> bool:
        """Whether any of its machines runs."""
        return any(machine.process.alive for machine in self.machines.values())

    @property
    def reachable(self) -> bool:
        """Whether there is a machine left to look at.

        Where one is gone, one that has not answered yet is about to follow, or tells nothing.
        """
        living = [machine for machine in self.machines.values() if machine.process.alive]
        return bool(living) and (len(living) == len(self.topology.machines) or any(m.host_key for m in living))


class StateFile:
    """The state on disk, written atomically at each change."""

    def __init__(self, path: Path, state: EnvironmentState) -> None:
        self._path = path
        self._state = state
        self._topology = to_dict(state.topology)  # it stays the same through all the steps that are written
        self._write()

    @property
    def state(self) -> EnvironmentState:
        return self._state

    def change(self, **changes: Any) -> None:
        self._state = replace(self._state, **changes)
        if "topology" in changes:
            self._topology = to_dict(self._state.topology)
        self._write()

    def machine(self, name: str, **changes: Any) -> None:
        """Change one machine's record; ``process`` and ``image`` make a new one."""
        known = self._state.machines.get(name)
        record = MachineState(**changes) if known is None or "process" in changes else replace(known, **changes)
        self.change(machines={**self._state.machines, name: record})

    def service(self, name: str, state: str) -> None:
        self.change(services={**self._state.services, name: state})

    def fail(self) -> None:
        """Record the environment as failed. If even that cannot be recorded, the cause is still what matters."""
        with suppress(OSError, HostError):
            self.change(phase="failed")

    @property
    def kept(self) -> bool:
        """Whether a later command finds it."""
        return self._path.exists()

    def _write(self) -> None:
        try:
            write_atomically(self._path, json.dumps(to_json(self._state, self._topology)))
        except FileNotFoundError as error:
            raise HostError(
                f"the state folder of environment {self._state.name} was removed while it was in use",
                why=str(error),
                where=[str(self._path.parent)],
                hint=f"orchestrator -n {self._state.name} down, then up",
            ) from error


def to_json(state: EnvironmentState, topology: object = None) -> dict[str, Any]:
    """JSON-ready data; ``topology`` is its topology encoded before, if it was."""
    values = {each.name: getattr(state, each.name) for each in fields(state) if each.name != "topology"}
    return {"format": FORMAT, "topology": topology or to_dict(state.topology), **encode(values)}


def from_json(data: Mapping[str, Any]) -> EnvironmentState:
    """The inverse of `to_json`.

    Raises:
        ValueError, KeyError, TypeError: it is not what this version writes.
    """
    if data["format"] != FORMAT:
        raise ValueError(f"format {data['format']!r}, this version writes {FORMAT}")
    return decode(data, EnvironmentState, "state")


def read_state(path: Path) -> EnvironmentState | None:
    """The recorded state; None when there is none.

    Raises:
        HostError: the file is damaged or from another version.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        return from_json(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise HostError(
            "the state of the environment cannot be read",
            why=f"damaged, or written by another version: {type(error).__name__}: {error}",
            where=[str(path)],
            hint="orchestrator down finds its processes by their marks, ends them, and removes it",
        ) from error
