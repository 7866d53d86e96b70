"""The machines of a start that failed stay, and can be entered: its error says how."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import cast

import pytest
from simulated_time import run_simulated

from orchestrator.environment.runstate import Runstate
from orchestrator.environment.session import Session
from orchestrator.environment.startup import _all_up
from orchestrator.errors import MachineError, ServiceError
from orchestrator.timescale import TimeScale


class Live:
    def __init__(self, name: str, runstate: Runstate, seconds: float = 0, error: Exception | None = None) -> None:
        self.name = name
        self.runstate = runstate
        self._seconds = seconds
        self._error = error

    async def ssh(self) -> None:
        await asyncio.sleep(self._seconds)
        if self._error is not None:
            raise self._error


def test_those_that_are_set_up_can_be_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    lives = [
        Live("well", Runstate.READY, 5),
        Live("deaf", Runstate.READY, 9000),
        Live("lost", Runstate.READY, error=MachineError("no answer")),
        Live("booting", Runstate.CONNECTED),
    ]
    entered: list[str] = []
    session = SimpleNamespace(
        machines={one.name: one for one in lives},
        scale=TimeScale(10),
        record_access=lambda live: entered.append(live.name),
    )

    async def fails() -> None:
        raise ServiceError("service web is not up within 150 s")

    async def scenario() -> float:
        began = asyncio.get_running_loop().time()
        with pytest.raises(ServiceError, match="service web"):
            await _all_up(cast("Session", session), fails(), asyncio.sleep(900))
        return asyncio.get_running_loop().time() - began

    assert run_simulated(scenario()) == pytest.approx(75)
    assert entered == ["well"]
