"""The environment of `dev` from its opening to its end: started, started again, let go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.deadline import Deadline
from orchestrator.dev.changes import Sources
from orchestrator.dev.inbox import Wake
from orchestrator.dev.round_folder import RoundFolders
from orchestrator.dev.suite_runs import Known, SuiteRuns
from orchestrator.environment.evidence import add_machine_status
from orchestrator.environment.plan import Request
from orchestrator.environment.redeploy import can_redeploy
from orchestrator.environment.run_events import emit_failure, finish
from orchestrator.environment.up import Environment, bring_up, close_down, open_environment
from orchestrator.errors import OrchestratorError
from orchestrator.events import EventBus
from orchestrator.events.run import Note, RunOutcome
from orchestrator.images.layer_parts import LayerParts, parts_of
from orchestrator.report.write import write_report
from orchestrator.threads import in_thread
from orchestrator.vm.arguments import SSH_GUEST_PORT


class OpenedEnvironment:
    """An environment whose lock is held as long as it is open.

    Args:
        grep: a pattern for titles of tests.
        known: tests that failed before.

    Attributes:
        was_up: it ran before this command.
        came_up: all of it was proven once.
    """

    def __init__(self, request: Request, bus: EventBus, *, grep: str | None, known: Known) -> None:
        self._request = request
        self._bus = bus
        self._grep = grep
        self._known = known
        self._stack = AsyncExitStack()
        self._opened: Environment | None = None
        self._suite: SuiteRuns | None = None
        self._folders = RoundFolders()
        self._parts: dict[str, LayerParts] = {}
        self._doubtful = False  # something failed, or was cut short, since all was proven
        self._broken = False  # what was brought in last did not come up
        self._preparing: asyncio.Task[None] | None = None
        self.was_up = False
        self.came_up = False

    @property
    def name(self) -> str:
        return self._request.name

    @property
    def sources(self) -> Sources:
        return Sources.of(self._request.topology, self._request.runs)

    @property
    def request(self) -> Request:
        """What is wanted to run."""
        return self._request

    @property
    def opened(self) -> Environment | None:
        """The environment as long as it is open."""
        return self._opened

    @property
    def run_folder(self) -> Path | None:
        return self._opened.session.run_folder if self._opened is not None and self._folders.fresh else None

    async def _open(self, deadline: Deadline) -> str:
        """Open and start it; a start that fails leaves open what can be repaired."""
        self._parts = {name: await parts_of(layer) for name, layer in self._request.topology.layers.items()}
        stack = AsyncExitStack()
        opened = await stack.enter_async_context(open_environment(self._request, self._bus, deadline))
        self._stack, self._opened = stack, opened
        self.was_up |= opened.resumed
        self._request = replace(self._request, start="auto")
        self._suite = SuiteRuns(opened.session, self._grep, self._known)
        self._known.empty.clear()
        self._folders.fresh = True
        self._doubtful = self._broken = True
        await bring_up(opened, deadline)
        self._doubtful, self._broken, self.came_up = False, False, True
        for what, url in self.addresses.items():
            self._bus.emit(Note(level="info", message=f"{url} is {what}"))
        if opened.resumed:
            return f"{self.name} was up"
        stage = opened.launch.stage if opened.launch is not None and opened.launch.snapshot is not None else None
        return "cold start" if stage is None else f"started from stage {stage.name}"

    async def _start_again(self, why: str, deadline: Deadline) -> str:
        """Take it down, and open it from the deepest saved state that fits; its ports stay."""
        self._bus.emit(Note(level="info", message=f"{why}: the environment starts again"))
        opened = self._opened
        if opened is not None:
            machines = opened.session.record.state.machines
            ports = {
                name: dict(known.ports) for name, known in machines.items() if name in self._request.topology.machines
            }
            self._request = replace(self._request, ports=ports)
            await self._leave(down=True)
        return f"{why}: {await self._open(deadline)}"

    async def _leave(self, *, down: bool, last: Callable[[], object] = lambda: None) -> None:
        """Let go of it.

        Args:
            last: called when all has ended, while events are still logged.
        """
        opened, self._opened = self._opened, None
        await self.stop_preparing()
        self._folders.leave()
        if opened is None:
            return
        try:
            if self._suite is not None:
                with suppress(OrchestratorError):
                    await self._suite.close()
            if down:
                await close_down(opened)
            last()
        finally:
            await self._stack.aclose()
            with suppress(OSError):
                await in_thread(write_report, opened.session.logs_folder)

    async def close(self, outcome: RunOutcome, code: int, began: Deadline, *, keep: bool) -> bool:
        """Let go of it, or take it down; whether it stays up."""
        opened = self._opened
        if opened is None:
            return False
        stays = self.was_up or (keep and self.came_up and opened.worth_keeping)
        await self._leave(down=not stays, last=lambda: finish(self._bus, self.name, outcome, code, began))
        return stays

    async def stop_preparing(self) -> None:
        """Nobody needs a browser any more."""
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.wait([self._preparing])

    async def failed(self, error: OrchestratorError) -> None:
        """Tell an error."""
        if error.shown:
            return
        if self._opened is not None:
            await add_machine_status(self._opened.session.machines.values(), error)
        emit_failure(error, self._bus)

    async def watched(self, work: Coroutine[Any, Any, Wake]) -> Wake:
        """Wait, and raise when a machine is lost meanwhile."""
        if self._opened is None or not can_redeploy(self._opened.session):
            return await work
        return await self._opened.session.run_watched(work)

    @property
    def addresses(self) -> dict[str, str]:
        """URLs on this host of the ports that machines forward, by machine and port."""
        if self._opened is None:
            return {}
        machines = self._opened.session.record.state.machines
        return {
            f"{name}:{guest}": f"http://127.0.0.1:{host}"
            for name, known in machines.items()
            for guest, host in known.ports.items()
            if guest != SSH_GUEST_PORT
        }
