"""Beginning and ending faults: only on what is healthy, read back, recorded before anything is changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchestrator.deadline import monotonic
from orchestrator.errors import FaultError, OrchestratorError
from orchestrator.events import wall_clock
from orchestrator.events.faults import EndReason, FaultBegan, FaultEnded
from orchestrator.faults import filter_process
from orchestrator.faults.book import ActiveFault, FaultBook
from orchestrator.faults.place import Ground, LivePlace
from orchestrator.process_id import ProcessId
from orchestrator.tasks import finish_despite_cancel, run_all
from orchestrator.topology.fault_kind import Fault
from orchestrator.topology.model import Topology
from orchestrator.topology.read_faults import described, spots


class FaultControl:
    """The faults of one environment.

    Args:
        book: what is on.
        hush: called when a fault is about to begin (with its machines) and when it has ended: what watches the
            machines must know.
    """

    def __init__(
        self,
        ground: Ground,
        book: FaultBook,
        hush: Callable[[Fault, tuple[str, ...], bool], None] = lambda *_: None,
    ) -> None:
        self.book = book
        self._ground = ground
        self._topology = ground.topology
        self._bus = ground.bus
        self._hush = hush
        self._since: dict[str, float] = {}

    # ------------------------------------------------------------------ begin

    async def begin(self, fault: Fault, *, owner: ProcessId | None) -> None:
        """Begin a fault at all its places, and read it back.

        Args:
            owner: the process that ends it; None: it stays on when this program ends.

        Raises:
            FaultError: it is on already, another one is in its way, or it did not come into effect; it is ended then.
            MachineError: a machine does not answer.
        """
        self._verify_free(fault)
        started = monotonic()
        places = self._places(fault)
        self.book.put(ActiveFault(fault, owner, wall_clock()))
        try:
            self._hush(fault, tuple(places), True)
            await run_all(*(self._begin_at(fault, place) for place in places.values()))
            told = await run_all(*(self._read_back(fault, place) for place in places.values()))
        except BaseException:
            await finish_despite_cancel(self._give_up(fault.name))
            raise
        self._since[fault.name] = monotonic()
        kept = self.book.active[fault.name]
        self._bus.emit(
            FaultBegan(
                fault.name,
                fault=fault.kind,
                on=fault.on,
                machines=tuple(places),
                engine=fault.spec.engine,
                parameters=described(fault.spec),
                told="; ".join(dict.fromkeys(told)),
                elapsed=round(monotonic() - started, 3),
                path=next((str(one["path"]) for one in map(kept.of, places) if "path" in one), ""),
                harmless=fault.spec.harmless,
            )
        )

    def _verify_free(self, fault: Fault) -> None:
        active = self.book.active
        if fault.name in active:
            raise FaultError(f"fault {fault.name} is on already", hint=f"orchestrator fault clear {fault.name}")
        mine = {(one.machine, one.link, one.unit) for one in spots(fault, self._topology)}
        for other in active.values():
            theirs = {(one.machine, one.link, one.unit) for one in spots(other.fault, self._topology)}
            cut = next(
                (spot for spot in mine for their in theirs if spot[0] == their[0] and other.fault.spec.cuts), None
            )
            if cut is not None or (other.fault.kind == fault.kind and mine & theirs):
                raise FaultError(
                    f"fault {fault.name} cannot begin",
                    why=f"{other.fault.name} ({other.fault.kind}) is on {other.fault.on}",
                    hint=f"orchestrator fault clear {other.fault.name}",
                )

    def _places(self, fault: Fault) -> Mapping[str, LivePlace]:
        return {spot.machine: LivePlace(fault.name, spot, self._ground) for spot in spots(fault, self._topology)}

    async def _begin_at(self, fault: Fault, place: LivePlace) -> None:
        self.book.keep(fault.name, place.machine, {})  # from now on it may have begun
        self.book.keep(fault.name, place.machine, await fault.spec.begin(place))

    async def _read_back(self, fault: Fault, place: LivePlace) -> str:
        return await fault.spec.read_back(place, self.book.active[fault.name].of(place.machine))

    # ------------------------------------------------------------------ end

    async def end(self, name: str, reason: EndReason) -> None:
        """End a fault at all its places; cancelled only when that is done. None that is not on: nothing happens.

        Raises:
            OrchestratorError: it could not be ended at a machine; it stays recorded.
        """
        if name in self.book.active:
            await finish_despite_cancel(self._end(name, reason))

    async def end_all(self, reason: EndReason, *, left: bool = False) -> list[str]:
        """End all faults, the last one first; their names.

        Args:
            left: only those of commands that are gone.
        """
        names = [name for name, one in self.book.active.items() if one.left or not left][::-1]
        for name in names:
            await self.end(name, reason)
        return names

    async def _end(self, name: str, reason: EndReason) -> None:
        active = self.book.active[name]
        fault = active.fault
        places = self._places(fault)
        # With the QEMU of a machine that is off, everything of a fault is gone.
        begun = [place for place in places.values() if place.machine in active.kept and place.alive]
        await run_all(*(fault.spec.end(place, active.of(place.machine)) for place in begun))
        counted = [filter_process.counts(active.of(place.machine)) for place in begun]
        self.book.remove(name)
        self._hush(fault, tuple(places), False)
        since = self._since.pop(name, None)
        seconds = wall_clock() - active.began if since is None else monotonic() - since
        told = "; ".join(dict.fromkeys(one for one in counted if one))
        self._bus.emit(FaultEnded(name, fault=fault.kind, reason=reason, seconds=round(seconds, 3), told=told))

    def drop_all(self) -> None:
        """The machines are given up, and everything that is on with them."""
        for name, one in list(self.book.active.items()):
            seconds = round(wall_clock() - one.began, 3)
            self.book.remove(name)
            self._bus.emit(FaultEnded(name, fault=one.fault.kind, reason="asked", seconds=seconds))

    async def _give_up(self, name: str) -> None:
        """End one that did not begin; what hinders that hides no cause."""
        try:
            await self._end(name, "failed")
        except OrchestratorError:
            self.book.remove(name)


def chosen(topology: Topology, name: str) -> Fault:
    """The declared fault of a name.

    Raises:
        FaultError: there is none.
    """
    fault = topology.faults.get(name)
    if fault is None:
        known = ", ".join(topology.faults) or "none is declared"
        raise FaultError(f"the topology has no fault {name!r}", why=f"its faults: {known}", hint="docs/faults.md")
    return fault
