"""An environment without machines, for tests of the pytest plugin: it notes what it is asked for.

`install` puts it in place of `orchestrator.sync.Environment.load`; processes of their own do it by their conftest.
"""

from __future__ import annotations

import itertools
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orchestrator import sync
from orchestrator.driver.results import Moment
from orchestrator.errors import HostError, MemoryShort, OrchestratorError, SnapshotError
from orchestrator.events import Event, EventBus, JsonLinesLog
from orchestrator.events.clock import monotonic_clock
from orchestrator.events.machines import LogMatched
from orchestrator.log_patterns import Severity

LOG = "FAKE_LOG"  # the variable with the path of the notes
ROOM = "FAKE_ROOM"  # a folder with a file for each environment that may be up at once
NUMBERS = itertools.count(1)


class FakeMachine:
    def __init__(self, environment: FakeEnvironment, name: str) -> None:
        self.environment = environment
        self.name = name

    def logs(self, pattern: str, *, severity: str = "failing", waiver: str = "") -> None:
        """A line that matches a pattern comes on its console."""
        event = LogMatched(
            self.name,
            pattern=pattern,
            line=f"a line of {pattern}",
            explanation="something is wrong",
            severity=Severity(severity),
            waiver=waiver,
        )
        self.environment.record(event)


class Core:
    """What the facade of `orchestrator.api` is made of."""

    def __init__(self, name: str) -> None:
        self.name = name


class FakeEnvironment:
    """Looks as an `orchestrator.sync.Environment` does."""

    joined = False
    factor = 10.0
    fails_to_open: OrchestratorError | None = None
    fails_to_reset: OrchestratorError | None = None
    fails_to_collect: BaseException | None = None

    def __init__(self, file: Path, options: dict[str, Any]) -> None:
        data = tomllib.loads(Path(file).read_text())
        self.options = options
        self.name = options["name"] or data["name"]
        self.variant = options["variant"] or data.get("variant", "")
        self.machines = {name: FakeMachine(self, name) for name in data["machines"]}
        self.events: list[Event] = []
        self._core = Core(self.name)
        self._folder: Path | None = None
        self._room: Path | None = None

    @classmethod
    def load(cls, file: Path, **options: Any) -> FakeEnvironment:
        return cls(file, options)

    @classmethod
    def attach(cls, name: str | None, *, runs: Path) -> FakeEnvironment:
        made = cls(Path("orchestrator.toml"), {"name": name, "variant": None, "runs": runs, "keep": "always"})
        made.joined = True
        return made

    def open(self) -> FakeEnvironment:
        if self.fails_to_open is not None:
            raise self.fails_to_open
        self._take_room()
        self._folder = Path(self.options["runs"]).absolute() / f"{self.name}-{next(NUMBERS)}"
        self._folder.mkdir(parents=True)
        self._bus = EventBus()
        self._bus.subscribe(self.events.append)
        self._log = JsonLinesLog(self._folder / "events.jsonl")
        self._bus.subscribe(self._log)
        self._note("open" if not self.options.get("free_ports") else "open with free ports")
        return self

    def _take_room(self) -> None:
        folder = os.environ.get(ROOM)
        if folder is None:
            return
        for path in sorted(Path(folder).glob("*.free")):
            taken = path.with_suffix(".taken")
            try:
                path.rename(taken)
            except FileNotFoundError:
                continue
            self._room = taken
            return
        raise MemoryShort("the machines need 3000 MiB of memory, 1000 MiB are available")

    def close(self) -> None:
        self._note("close")
        self._folder = None
        if self._room is not None:
            self._room.rename(self._room.with_suffix(".free"))

    def reset(self) -> None:
        if self.fails_to_reset is not None:
            raise self.fails_to_reset
        self._note("reset")

    def restore(self, name: str) -> None:
        if name == "missing":
            raise SnapshotError("there is no snapshot of this name")
        self._note(f"restore {name}")

    def fail(self) -> None:
        self._note("fail")

    def record(self, event: Event) -> None:
        self._bus.emit(event)

    def moment(self) -> Moment:
        return Moment(at=monotonic_clock(), journals={}, consoles={})

    def evidence(self, folder: str, since: Moment | None = None) -> list[Path]:
        assert since is not None
        if self.fails_to_collect is not None:
            raise self.fails_to_collect
        target = self.artifacts / folder
        target.mkdir(parents=True)
        files = [target / name for name in ("server.png", "server-journal.txt", "events.jsonl")]
        files[0].write_bytes(b"\x89PNG\r\n\x1a\n")
        files[1].write_text("unit: message\n")
        files[2].write_text("".join(f"{event.as_json()}\n" for event in self.events if event.at >= since.at))
        return files

    @property
    def artifacts(self) -> Path:
        if self._folder is None:
            raise HostError(f"environment {self.name} is not open")
        return self._folder

    def __getitem__(self, name: str) -> FakeMachine:
        return self.machines[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.machines)

    def _note(self, what: str) -> None:
        note(f"{what} {self.name}" + (f" variant {self.variant}" if what.startswith("open") and self.variant else ""))


def note(line: str) -> None:
    """Also for tests: what happens in which order."""
    with Path(os.environ[LOG]).open("a") as file:
        file.write(f"{line}\n")


def install() -> None:
    """In place of the real one, in this process."""
    sync.Environment.load = FakeEnvironment.load  # type: ignore[method-assign,assignment]
    sync.Environment.attach = FakeEnvironment.attach  # type: ignore[method-assign,assignment]
