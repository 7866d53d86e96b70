"""What a driver keeps of a test: its events, and evidence that is bounded in time. No machine runs."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from simulated_time import run_simulated

from orchestrator.deadline import FOREVER, monotonic
from orchestrator.driver.records import Records
from orchestrator.driver.results import Moment, Result
from orchestrator.errors import HostError, MachineError
from orchestrator.events import EventBus
from orchestrator.events.run import Note
from orchestrator.timescale import TimeScale


def line(message: str) -> str:
    """A line of a machine's journal, as it comes to this host."""
    fields = {"__REALTIME_TIMESTAMP": "1000000000", "MESSAGE": message, "_SYSTEMD_UNIT": "web.service"}
    return json.dumps(fields) + "\n"


class OneMachine:
    """A machine's object, as far as evidence needs it."""

    def __init__(self, folder: Path, name: str, *, picture: float = 0.0) -> None:
        from orchestrator.driver.machine import Machine

        logs = folder / name
        logs.mkdir()
        live = SimpleNamespace(paths=SimpleNamespace(journal=logs / "journal.jsonl", serial_log=logs / "serial.log"))
        fleet = SimpleNamespace(session=SimpleNamespace(machines={name: live}))
        machine = Machine(fleet, name)  # type: ignore[arg-type]
        self.name, self.picture = name, picture
        self.journal, self.console = live.paths.journal, live.paths.serial_log
        self._journal_size, self._console_size = machine._journal_size, machine._console_size
        self._journal_since, self._console_since = machine._journal_since, machine._console_since

    async def screenshot(self, path: Path) -> None:
        if self.picture == FOREVER:
            raise MachineError("it is off")
        await asyncio.sleep(self.picture)
        path.write_bytes(b"PNG")


class SomeRecords(Records):
    def __init__(self, folder: Path, *machines: OneMachine) -> None:
        self._bus, self._events = EventBus(), deque()
        self._bus.subscribe(self._events.append)
        session = SimpleNamespace(run_folder=folder / "run")
        named = {machine.name: machine for machine in machines}
        self._fleet: Any = SimpleNamespace(session=session, scale=TimeScale(1), machines=named)

    @property
    def _whole(self) -> Any:
        return self._fleet


def test_evidence_is_what_came_since_a_moment(tmp_path: Path) -> None:
    server = OneMachine(tmp_path, "server")
    records = SomeRecords(tmp_path, server)
    server.journal.write_text(line("before"))
    server.console.write_text("before\r\n")
    records.record(Note(level="info", message="before"))
    moment = records.moment()
    server.journal.write_text(line("before") + line("during"))
    server.console.write_text("before\r\nduring\r\n")
    records.record(Note(level="info", message="during", at=moment.at + 1))
    found = run_simulated(records.evidence("tests/one", moment))
    folder = tmp_path / "run" / "tests" / "one"
    names = ["server.png", "server-journal.txt", "server-console.txt", "events.jsonl"]
    assert found == [folder / name for name in names]
    assert (folder / "server-journal.txt").read_text() == "1970-01-01T00:16:40.000Z web.service: during\n"
    assert (folder / "server-console.txt").read_text() == "during\n"
    assert [json.loads(one)["message"] for one in (folder / "events.jsonl").read_text().splitlines()] == ["during"]


def test_without_a_moment_it_is_all(tmp_path: Path) -> None:
    server = OneMachine(tmp_path, "server")
    server.journal.write_text(line("first") + line("second"))
    run_simulated(SomeRecords(tmp_path, server).evidence("tests/one"))
    assert (tmp_path / "run/tests/one/server-journal.txt").read_text().count("\n") == 2


def test_a_machine_that_gives_no_picture_costs_its_picture_and_the_limit(tmp_path: Path) -> None:
    machines = (
        OneMachine(tmp_path, "off", picture=FOREVER),
        OneMachine(tmp_path, "stuck", picture=3600),
        OneMachine(tmp_path, "fine", picture=1),
    )
    records = SomeRecords(tmp_path, *machines)

    async def timed() -> tuple[list[Path], float]:
        began = monotonic()
        return await records.evidence("tests/one", Moment(0.0, {}, {}), 5), monotonic() - began

    found, seconds = run_simulated(timed())
    assert ([path.name for path in found], round(seconds, 3)) == (["fine.png"], 5.0)


def test_testinfra_goes_through_the_driver() -> None:
    pytest.importorskip("testinfra")
    from orchestrator.driver.testinfra_backend import host_of

    asked: list[list[str]] = []

    class Answering:
        name = "server"

        async def run(self, command: list[str]) -> Result:
            asked.append(command)
            return Result("", 3, "grüße\n".encode(), b"err", 0.1)

    machine = Answering()
    host = host_of(machine)  # type: ignore[arg-type]
    done = host.run("echo %s", "it's")
    assert asked == [["sh", "-c", """echo 'it'"'"'s'"""]]
    assert (done.rc, done.stdout_bytes, done.stderr) == (3, "grüße\n".encode(), "err")
    assert host_of(machine) is host  # type: ignore[arg-type]
    assert host.backend.get_pytest_id() == "orchestrator://server"


def test_without_testinfra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.driver.machine import Machine

    for name in [name for name in sys.modules if name.split(".")[0] == "testinfra"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "testinfra.backend.base", None)
    monkeypatch.delitem(sys.modules, "orchestrator.driver.testinfra_backend", raising=False)
    with pytest.raises(HostError, match="testinfra is not installed") as caught:
        _ = Machine(SimpleNamespace(), "server").testinfra  # type: ignore[arg-type]
    assert caught.value.hint == "pip install 'orchestrator[testinfra]'"
