"""A script on machines that are none: what it asks of them is recorded, and answered as told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from orchestrator.driver.results import CommandFailed, Result
from orchestrator.driver.testscript.outcome import Outcome
from orchestrator.driver.testscript.runner import ScriptRun
from orchestrator.driver.testscript.script import load_script
from orchestrator.errors import OrchestratorError
from orchestrator.events import Event

LIMIT = 30.0  # seconds of real time until a test gives up


class FakeMachine:
    """The core of a machine; any command succeeds and says what it was, except as told by `fails`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.state = "off"
        self.state_dir = folder / name
        self.calls: list[tuple[Any, ...]] = []
        self.called = threading.Event()
        self.fails: dict[str, BaseException] = {}
        self.units: dict[str, str] = {}
        self._fleet = SimpleNamespace(begin=lambda work: asyncio.get_running_loop().create_task(work))

    @property
    def booted(self) -> bool:
        return self.state == "up"

    async def _up(self) -> None:
        self.state = "up"

    async def _answer(self, *call: Any) -> str:
        self.calls.append(call)
        self.called.set()
        self.state = "up"
        if call[1] == "hang":
            await asyncio.Event().wait()
        if call[1] in self.fails:
            raise self.fails[call[1]]
        return f"{call[1]}\n"

    async def succeed(self, command: str, timeout: object = None) -> str:
        return await self._answer("succeed", command, timeout)

    async def fail(self, command: str, timeout: object = None) -> str:
        return await self._answer("fail", command, timeout)

    async def execute(self, command: str, timeout: object = None) -> tuple[int, str]:
        return 0, await self._answer("execute", command, timeout)

    async def wait_for_unit(self, unit: str, user: str | None, timeout: object) -> None:
        await self._answer("wait_for_unit", unit, user, timeout)

    async def get_unit_info(self, unit: str, user: str | None = None) -> dict[str, str]:
        return {"LoadState": self.units.get(unit, "not-found")}

    async def systemctl(self, words: str, user: str | None = None) -> tuple[int, str]:
        return 3, await self._answer("systemctl", words, user)

    async def start(self) -> None:
        self.calls.append(("start",))
        self.state = "up"

    async def crash(self) -> None:
        self.state = "off"

    async def screenshot(self, path: Path) -> Path:
        self.calls.append(("screenshot", path))
        return path

    async def copy_from_host(self, source: Path, target: str) -> None:
        self.calls.append(("copy_from_host", source, target))

    def failed(self, command: str, rc: int = 1, err: str = "") -> CommandFailed:
        """What the core raises for a command."""
        result = Result(command, rc, b"", err.encode(), 0.1)
        return CommandFailed(
            f"`{command}` failed in {self.name}: exit code {rc}", result, [], machine=self.name, hint=""
        )


class FakeEnvironment:
    """As much of an environment as a script needs."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.artifacts = folder / "run"
        self.machines = {name: FakeMachine(name, folder) for name in names}
        self.events: list[Event] = []
        self.record: Callable[[Event], None] = self.events.append
        self.factor = 1.0
        self.failed = False
        self.error: OrchestratorError | None = None
        self.explained: list[OrchestratorError] = []
        self._session = SimpleNamespace(topology=SimpleNamespace(networks={"lan": None}, suite=None))

    def fail(self, error: OrchestratorError | None = None) -> None:
        self.failed, self.error = True, error

    async def collect(self, step: str) -> None:
        pass

    async def _explained(self, error: OrchestratorError) -> OrchestratorError:
        self.explained.append(error)
        return error

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


class Scene:
    """Runs scripts; their file is `script.py` in the folder."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.environment = FakeEnvironment(folder, *names)
        self.run: ScriptRun | None = None

    def begin(self, text: str, *, keep_going: bool = False) -> ScriptRun:
        path = self.folder / "script.py"
        path.write_text(text)
        self.run = ScriptRun(self.environment, load_script(path), keep_going=keep_going)  # type: ignore[arg-type]
        return self.run

    def play(self, text: str, *, keep_going: bool = False) -> Outcome:
        """Run a script to its end."""
        run = self.begin(text, keep_going=keep_going)
        try:
            run.begin().result(LIMIT)
        finally:
            outcome = run.conclude()
        return outcome

    def calls(self, name: str) -> list[tuple[Any, ...]]:
        return self.environment.machines[name].calls
