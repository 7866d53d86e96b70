"""An environment as an object: its machines, its services, its saved states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

from orchestrator.deadline import Deadline
from orchestrator.driver.environment_life import LIMIT, EnvironmentLife
from orchestrator.driver.faults import Fault
from orchestrator.driver.machine import Machine
from orchestrator.driver.request import from_file, of_running
from orchestrator.driver.services import Service
from orchestrator.driver.shell import python_name
from orchestrator.environment.reset import chosen
from orchestrator.environment.saving import save
from orchestrator.errors import UsageError
from orchestrator.faults.control import chosen as declared
from orchestrator.snapshots.store import check_name, point_name
from orchestrator.topology.read_faults import made_of, toml_lines
from orchestrator.topology.stages import HEALTHY


class Environment(EnvironmentLife):
    """A set of machines, and the services on them.

    Made by `load` or `attach`, opened and closed by ``with``::

        with Environment.load("orchestrator.toml") as env:
            env.server.succeed("systemctl is-active nginx")

    Machines are attributes (``env.server``; a name that is no identifier has ``_`` in place of the other characters)
    and items (``env["client-2"]``).
    """

    # ------------------------------------------------------------------ making one

    @classmethod
    def load(  # noqa: PLR0913 - the options of `orchestrator up`
        cls,
        file: str | Path = "orchestrator.toml",
        *,
        variant: str | None = None,
        name: str | None = None,
        layers: Mapping[str, str | Path] | None = None,
        app: str | Path | None = None,
        suite: str | Path | None = None,
        start: str = "auto",
        keep: str = "never",
        images: str = "auto",
        runs: str | Path = "runs",
        free_ports: bool = False,
    ) -> Self:
        """An environment of a topology file. Opening it brings it up until every service is proven.

        One that runs already under this name is joined, and stays up when it is closed.

        Args:
            variant: of the topology; None: the file's own.
            name: of the environment; several run side by side. None: the topology's.
            layers: other folders in place of the sources of layers, by the layers' names.
            app: the same as ``layers={"app": …}``.
            suite: another browser suite in place of the file's.
            start: ``"auto"`` (from a saved healthy state where one fits), ``"warm"`` (or not at all), ``"cold"``.
            keep: whether the machines stay when it is closed: ``"never"``, ``"failure"`` (of the block), ``"always"``.
            images: the provider, as ``--images``.
            runs: the folder of run folders.
            free_ports: forward free ports of this host in place of the file's, so that several can run.

        Raises:
            TopologyError: the file is wrong; every mistake is reported.
            UsageError: the layer ``app`` has two folders.
        """
        given = dict(layers or {})
        if app is not None and "app" in given:
            raise UsageError("app= and layers= both name the folder of the layer app", hint="leave one out")
        if app is not None:
            given["app"] = app
        request = from_file(
            file, variant=variant, name=name, layers=given, suite=suite, start=start, images=images, runs=runs
        )
        if free_ports:
            request = replace(request, topology=request.topology.with_free_ports())
        return cls(request, keep=keep)

    @classmethod
    def attach(cls, name: str | None = None, *, runs: str | Path = "runs") -> Self:
        """An environment that runs already, however it was started. It stays up when it is closed.

        Args:
            name: of the environment; None: the only one there is.

        Raises:
            HostError: it does not run.
        """
        return cls(of_running(name, runs), keep="always")

    def clone(self, name: str | None = None) -> Self:
        """Another environment from the healthy state of this one, to be opened. Their memory is shared, copy on write.

        Args:
            name: of the clone; None: this one's name and a number.
        """
        self._clones += 1
        topology = self._request.topology.with_free_ports()
        own = name or f"{self.name}-clone{self._clones}"
        return type(self)(replace(self._request, topology=topology, name=own, start="warm"), keep="never")

    @property
    def machines(self) -> Mapping[str, Machine]:
        """All machines by their names in the topology."""
        return self._whole.machines

    @property
    def services(self) -> Mapping[str, Service]:
        """All services by their names in the topology."""
        return self._whole.services

    @property
    def factor(self) -> float:
        """What all limits are multiplied with on this host: 1 with KVM, about 10 where machines are emulated."""
        return self._session.scale.factor

    def fault(self, name: str, on: str | None = None, keys: Mapping[str, object] | None = None) -> Fault:
        """A fault, for a ``with`` block: one that the topology declares, or of a kind, with what it is on.

        Args:
            name: of a declared fault; with ``on``: a kind, as ``"latency"``.
            on: ``"server"``, ``"server.lan"``, a service or a network, as the kind wants it.
            keys: of the kind, as in the topology: ``{"delay": "100ms"}``.

        Raises:
            FaultError: the topology has no such fault.
            UsageError: there is no such kind, or its keys are wrong.
        """
        topology = self._session.topology
        fault = declared(topology, name) if on is None else made_of(name, on, toml_lines(keys or {}), topology)
        return Fault(self._whole, fault)

    def __getitem__(self, name: str) -> Machine:
        """A machine by its name.

        Raises:
            UsageError: no machine has it.
        """
        found = self.machines.get(name)
        if found is None:
            raise UsageError(f"no machine is named {name!r}", why=f"machines are {', '.join(self.machines)}")
        return found

    def __getattr__(self, name: str) -> Machine:
        """A machine by its name as an identifier.

        Raises:
            AttributeError: no machine has it.
        """
        if not name.startswith("_"):
            for each in self._request.topology.machines:
                if python_name(each) == name:
                    return self.machines[each]
        known = ", ".join(map(python_name, self._request.topology.machines))
        raise AttributeError(f"an environment has no {name!r}; its machines are {known}")

    def __iter__(self) -> Iterator[str]:
        """The names of the machines."""
        return iter(self._request.topology.machines)

    # ------------------------------------------------------------------ the state of the whole

    async def start_all(self) -> None:
        """Start every machine that is off. It returns before they are up; the next call of each waits for it."""
        for machine in self.machines.values():
            await machine.start()

    async def wait_ready(self) -> None:
        """Wait until every machine is up and every service is proven.

        Raises:
            MachineError, ServiceError: one does not come up.
        """
        await self._whole.wait_ready()

    async def reset(self) -> None:
        """Put all machines back to the healthy state, as it was saved when the environment came up.

        Raises:
            SnapshotError: there is none.
            MachineError, ServiceError: it does not come back healthy.
        """
        await self.restore(HEALTHY)

    async def restore(self, name: str) -> None:
        """Put all machines back to a snapshot. Open commands end with an error; connections are made again.

        Args:
            name: as given to `snapshot`.

        Raises:
            UsageError: there is none of this name.
            SnapshotError: it is damaged, or was taken of something else.
        """
        snapshot = chosen(self._session.record.state, name)
        await self._whole.restore(snapshot, Deadline.after(LIMIT))

    async def snapshot(self, name: str) -> None:
        """Save all machines at one moment, while they run. They are paused for tenths of a second.

        Args:
            name: letters, digits and hyphens; not one of this environment's yet.

        Raises:
            SnapshotError: the name is taken, or a machine cannot be saved.
        """
        check_name(name)
        session = self._session
        deadline = Deadline.after(LIMIT)
        await self._whole.guard_all(session.faults.end_all())
        await self._whole.guard_all(save(session, name, point_name(name, session.paths.identity), deadline))
