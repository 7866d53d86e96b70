"""Wherever a command is interrupted: what it started is taken down, and what failed to be collected stops nobody."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from event_records import notes
from fake_qemu import run_async

from orchestrator.deadline import Deadline
from orchestrator.environment import evidence, up
from orchestrator.environment.launch import Launch
from orchestrator.environment.session import Session
from orchestrator.environment.up import Environment, closed_when_interrupted
from orchestrator.events import Event, EventBus
from orchestrator.events.run import RunFinished
from orchestrator.timescale import TimeScale


@pytest.mark.parametrize("started_here", [True, False])
def test_an_interruption_after_the_first_failure_takes_down_too(
    monkeypatch: pytest.MonkeyPatch, started_here: bool
) -> None:
    bus, events, closed = EventBus(), list[Event](), list[Environment]()
    bus.subscribe(events.append)

    async def close(environment: Environment) -> None:
        await asyncio.sleep(0)
        closed.append(environment)

    monkeypatch.setattr(up, "close_down", close)
    session = cast("Session", SimpleNamespace(bus=bus, paths=SimpleNamespace(name="shop")))
    launch = cast("Launch", object()) if started_here else None
    environment = Environment(session, cast("Any", None), launch, cast("Any", None))

    async def command(collecting: asyncio.Event) -> None:
        async with closed_when_interrupted(environment, lambda: 143, Deadline.after(10)):
            try:
                raise ValueError("a failure")
            except ValueError:
                collecting.set()
                await asyncio.sleep(600)  # evidence of it is collected

    async def scenario() -> None:
        collecting = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(command(collecting))
            await collecting.wait()
            task.cancel()
        assert task.cancelled()

    run_async(scenario())
    assert closed == ([environment] if started_here else [])
    (finished,) = (event for event in events if isinstance(event, RunFinished))
    assert (finished.subject, finished.outcome, finished.exit_code) == ("shop", "interrupted", 143)


def test_a_run_folder_that_takes_nothing_is_a_warning(tmp_path: Path) -> None:
    """The machines must still be ended after it."""
    (tmp_path / "machines").write_text("no folder can be made below this")
    bus, events = EventBus(), list[Event]()
    bus.subscribe(events.append)

    async def nothing(*_: object, **__: object) -> str:
        return "running"

    machine = SimpleNamespace(
        name="server",
        handed_over=True,
        monitor=SimpleNamespace(run_state=nothing),
        agent=SimpleNamespace(ping=nothing),
        qemu=SimpleNamespace(screenshot=nothing),
        clock=SimpleNamespace(compare=nothing),
    )
    session = SimpleNamespace(machines={"server": machine}, run_folder=tmp_path, scale=TimeScale(1.0), bus=bus)
    run_async(evidence.collect_all(cast("Session", session), "failure"))
    (message,) = notes(events)
    assert message.startswith("logs of services not collected: [Errno ")
