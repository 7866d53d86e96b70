"""A run folder of two machines for the tests of the timeline, the story, the exports and the page.

The host's monotonic clock is 100 when the run begins. The guest's monotonic clock is the host's minus 70 until
second 20 of the run, where it is paused for 5 s; its time of day is 3600 s behind.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path

from orchestrator.events import utc_text

T0 = 1_800_000_000.0  # the run begins, seconds since the epoch
M0 = 100.0  # the host's monotonic clock then
BEHIND = 3600.0
BOOT = "c16584cfdbc84eb8bc98a6def03deca6"

SERVICES = (
    ("network", "server", "target", None, ()),
    ("postgresql", "server", "daemon", "postgresql.service", ("network",)),
    ("backend", "server", "daemon", "alicia.service", ("postgresql",)),
    ("nginx", "server", "daemon", "nginx.service", ("backend",)),
)


class Scene:
    """Writes a run folder, line by line; all seconds are those of the run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._sizes: dict[Path, int] = {}

    def event(self, second: float, kind: str, subject: str = "", **data: object) -> None:
        record = {"time": utc_text(T0 + second), "at": M0 + second, "kind": kind, "subject": subject, **data}
        with (self.folder / "events.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")

    def begin(self, *, suite_machine: str = "client") -> None:
        services = [
            {"name": name, "machine": machine, "kind": kind, "unit": unit, "depends_on": list(needs)}
            for name, machine, kind, unit, needs in SERVICES
        ]
        machines = [{"name": name, "image": name, "cpus": 2, "memory": 1024} for name in ("server", "client")]
        self.event(
            0.0,
            "run.started",
            "shop",
            format=2,
            command="run",
            run_id="r",
            machines=machines,
            services=services,
            version="1",
            suite_machine=suite_machine,
        )

    def _append(self, path: Path, text: str, arrived: float | None) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(text)
        size = path.stat().st_size
        if arrived is not None:
            with path.with_name(path.name + ".times").open("a") as file:
                file.write(f"{M0 + arrived:.6f} {size}\n")

    def journal(
        self,
        machine: str,
        arrived: float | None,
        message: str,
        *,
        monotonic: float,
        real: float,
        unit: str = "",
        priority: int = 6,
        boot: str = BOOT,
        **fields: str,
    ) -> None:
        """A line: ``monotonic`` of the guest, ``real`` seconds after T0 by the guest's time of day."""
        text = self._line(message, monotonic=monotonic, real=real, unit=unit, priority=priority, boot=boot, **fields)
        self._append(self.folder / "machines" / machine / "journal.jsonl", text + "\n", arrived)

    @staticmethod
    def time(second: float) -> str:
        """As events have it."""
        return utc_text(T0 + second)

    def line(self, second: float, message: str, unit: str) -> str:
        """A line of a journal as `said` writes it."""
        return self._line(message, monotonic=second + 30.0, real=second - BEHIND, unit=unit)

    @staticmethod
    def _line(
        message: str,
        *,
        monotonic: float,
        real: float,
        unit: str = "",
        priority: int = 6,
        boot: str = BOOT,
        **fields: str,
    ) -> str:
        record: Mapping[str, str] = {
            "__REALTIME_TIMESTAMP": str(int((T0 + real) * 1e6)),
            "__MONOTONIC_TIMESTAMP": str(int(monotonic * 1e6)),
            "_BOOT_ID": boot,
            "MESSAGE": message,
            "PRIORITY": str(priority),
            **({"_SYSTEMD_UNIT": unit} if unit and "UNIT" not in fields else {}),
            **fields,
        }
        return json.dumps(record)

    def said(self, machine: str, second: float, message: str, unit: str = "", priority: int = 6, **fields: str) -> None:
        """A line of a guest that booted 30 s before the run, whose clock is `BEHIND`; it arrives a little later."""
        self.journal(
            machine,
            second + 0.2,
            message,
            monotonic=second + 30.0,
            real=second - BEHIND,
            unit=unit,
            priority=priority,
            **fields,
        )

    def clock(self, machine: str, second: float, reason: str = "hand-over", since: float | None = 0.0) -> None:
        extra = {} if since is None else {"since": M0 + since}
        self.event(second, "machine.clock", machine, offset=BEHIND, uncertainty=0.002, reason=reason, **extra)

    def console(self, machine: str, arrived: float | None, text: str) -> None:
        self._append(self.folder / "machines" / machine / "serial.log", text, arrived)

    def unit_ended(self, machine: str, second: float, unit: str, message: str, priority: int = 5) -> None:
        """systemd says that a unit failed."""
        ended = "d9b373ed55a64feb8242e02dbe79a49c"
        self.said(machine, second, message, unit, priority, UNIT=unit, MESSAGE_ID=ended, SYSLOG_IDENTIFIER="systemd")

    def test(self, second: float, title: str, status: str, duration: float = 2.0, **data: object) -> None:
        identity = {"phase": "all", "id": title, "file": "a.spec.ts", "line": 1}
        self.event(second - duration, "test.begin", title, **identity, index=1, total=1)
        self.event(second, "test.end", title, **identity, status=status, duration=duration, retry=0, **data)

    def trace(self, path: str, *, began: float) -> None:
        """A trace of a browser whose machine is `BEHIND`: it clicks, an API answers 502, an expectation fails."""
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        wall = (T0 + began - BEHIND) * 1000
        library = [
            {"type": "context-options", "version": 9, "wallTime": wall, "monotonicTime": 5_000.0, "origin": "library"},
            {"type": "console", "messageType": "error", "text": "Failed to load resource: 502", "time": 5_700.0},
            {"type": "made-up-tomorrow", "time": 1},
        ]
        runner = [
            {"type": "context-options", "version": 9, "wallTime": wall, "monotonicTime": 5_000.0},
            {"type": "before", "callId": "1", "title": "Click 'Send'", "startTime": 5_200.0},
            {"type": "after", "callId": "1", "endTime": 5_300.0},
            {"type": "before", "callId": "2", "title": "Expect 'toBeVisible'", "startTime": 5_400.0},
            {"type": "after", "callId": "2", "endTime": 6_400.0, "error": {"message": "Timed out 1000ms"}},
        ]
        request = {
            "type": "resource-snapshot",
            "snapshot": {
                "startedDateTime": utc_text(T0 + began - BEHIND + 0.6),
                "time": 80.0,
                "request": {"method": "POST", "url": "http://server/api/messages"},
                "response": {"status": 502},
            },
        }
        with zipfile.ZipFile(target, "w") as archive:
            archive.writestr("test.trace", "\n".join(json.dumps(one) for one in runner))
            archive.writestr("0-trace.trace", "\n".join(json.dumps(one) for one in library))
            archive.writestr("0-trace.network", json.dumps(request))


def broken_database(folder: Path) -> Scene:
    """A browser test fails at second 62; its cause is on another machine, at second 60: the database was killed."""
    scene = Scene(folder)
    scene.begin()
    for name, machine, *_ in SERVICES:
        scene.event(2.0, "service.state", name, machine=machine, state="healthy")
    for machine in ("server", "client"):
        scene.event(0.5, "machine.state", machine, state="ready")
        scene.clock(machine, 1.0)
        scene.said(machine, 1.5, "Started Session 1.", SYSLOG_IDENTIFIER="systemd")
    scene.event(3.0, "run.ready", "shop", elapsed=3.0, restored=False)
    scene.event(4.0, "suite.state", "all", state="running")
    scene.said("server", 59.9, "postgres: checkpoint starting", "postgresql.service", SYSLOG_IDENTIFIER="postgres")
    scene.unit_ended(
        "server", 60.0, "postgresql.service", "postgresql.service: Main process exited, code=killed, status=9/KILL"
    )
    scene.unit_ended("server", 60.1, "postgresql.service", "postgresql.service: Failed with result 'signal'.", 4)
    scene.said("server", 60.6, "ERROR could not connect to server", "alicia.service", SYSLOG_IDENTIFIER="alicia")
    scene.trace("playwright/out/a/trace.zip", began=60.4)
    trace = {"name": "trace", "path": "playwright/out/a/trace.zip", "content_type": "application/zip"}
    scene.test(58.0, "chat › opens", "passed")
    scene.test(62.0, "chat › sends a message", "failed", error="Error: not visible\n  at a", attachments=[trace])
    scene.event(63.0, "failure", type="SuiteFailed", what="1 of 2 tests failed", exit_code=1)
    scene.said("server", 64.0, "Stopped alicia.service.", "alicia.service", SYSLOG_IDENTIFIER="systemd")
    scene.event(65.0, "run.finished", "shop", outcome="failed", exit_code=1, elapsed=65.0)
    return scene
