"""A guest reboots once, whatever becomes of the command that asks it to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from event_records import notes
from fake_qemu import Refused
from machine_stage import Stage, staged
from simulated_time import run_simulated

from orchestrator.deadline import Deadline
from orchestrator.environment.reboot import go_down
from orchestrator.tasks import run_with_watchdogs


class Rebooting:
    """A machine that is asked to reboot; ``resets`` are those of the reset button."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.state = "running"
        self.resets = 0
        self.asked: list[list[str]] = []
        stage.qmp.handlers |= {
            "query-status": lambda _: {"status": self.state},
            "system_reset": self._reset,
            "cont": self._cont,
        }

    def takes(self, then: Callable[[], object]) -> None:
        """The agent takes the command; what follows."""

        def handle(arguments: dict[str, list[str]]) -> object:
            self.asked.append(arguments["arg"])
            then()
            return {"pid": 4711}

        self.stage.guest.handlers["guest-exec"] = handle

    def goes_down(self) -> None:
        self.stage.qmp.event("VSERPORT_CHANGE", id="orch-agent", open=False)
        self.stage.qmp.event("RESET", guest=True, reason="guest-reset")

    def _reset(self, _: object) -> object:
        self.resets += 1
        self.stage.qmp.event("RESET", guest=False, reason="host-qmp-system-reset")
        return {}

    def _cont(self, _: object) -> object:
        self.state = "running"
        return {}

    async def reboots(self, *, down: float = 10.0, dead: bool = False) -> list[str]:
        """What was noted."""
        live = self.stage.live
        await live._open_monitor(Deadline.after(5))
        watcher = live.qemu.watcher
        agent = None if dead else live.agent
        work = go_down(live.monitor, agent, watcher, live._bus, answer=Deadline.after(5), down=Deadline.after(down))
        await run_with_watchdogs(work, [watcher.watch])
        assert not watcher.agent_open.is_set(), "the next boot's agent is yet to come"
        return notes(self.stage.events)


def test_a_guest_that_goes_down_is_not_asked_and_not_reset_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            machine = Rebooting(stage)
            machine.takes(machine.goes_down)
            stage.guest.handlers["guest-exec-status"] = lambda _: pytest.fail("the next boot's agent was asked")
            assert await machine.reboots() == [], "what was wanted is no warning"
            assert machine.resets == 0
            ((option, command),) = machine.asked
            assert option == "-c" and command.startswith("systemctl --no-block reboot")

    run_simulated(scenario())


def test_a_guest_that_does_not_listen_is_reset(tmp_path: Path) -> None:
    def refuse(_: object) -> object:
        raise Refused("Command guest-exec has been disabled")

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            machine = Rebooting(stage)
            stage.guest.handlers["guest-exec"] = refuse
            (note,) = await machine.reboots()
            assert "refused guest-exec; it is reset" in note
            assert machine.resets == 1

    run_simulated(scenario())


def test_a_guest_that_never_goes_down_is_reset(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            machine = Rebooting(stage)
            machine.takes(lambda: None)
            (note,) = await machine.reboots(down=0.3)
            assert note == "it did not shut down within 0.3 s; it is reset"
            assert machine.resets == 1

    run_simulated(scenario())


def test_a_guest_that_panicked_is_reset_and_runs(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            machine = Rebooting(stage)
            machine.state = "guest-panicked"
            machine.takes(lambda: pytest.fail("nobody is there to be asked"))
            assert await machine.reboots() == []
            assert (machine.resets, machine.state) == (1, "running")

    run_simulated(scenario())


def test_a_guest_whose_console_told_its_end_is_reset_and_not_asked(tmp_path: Path) -> None:
    """Without a driver for it QEMU does not hear of a panic, and says that the guest runs."""

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            machine = Rebooting(stage)
            machine.takes(lambda: pytest.fail("nobody is there to be asked"))
            assert await machine.reboots(dead=True) == []
            assert machine.resets == 1

    run_simulated(scenario())
