"""READY is true: what was proven is looked at once more, and only what changed since is proven again."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from fake_channels import Unit, bad, ok
from last_look_scene import confirm, disproved, heard
from supervisor_scene import World, fails, play, service, up

from orchestrator.guest.agent import GuestResult
from orchestrator.services.verifier import FRESH
from orchestrator.topology.model import ServiceKind


def end(unit: Unit, how: str) -> None:
    """What systemd shows of a unit whose process ended, by the kind of the unit."""
    match how:
        case "exits with 0":  # Type=simple: also one that forked, whose parent ends
            unit.active, unit.sub = "inactive", "dead"
        case "exits with 3":  # Type=exec as well: its port was open for a moment
            unit.fail(3)
        case "is started again":  # Restart=always: it runs, for the fourth time
            unit.restarts, unit.run = 3, unit.run + 3
        case "waits for its restart":
            unit.active, unit.sub, unit.restarts = "activating", "auto-restart", 3
        case "is stopped by somebody":
            unit.active, unit.sub = "deactivating", "stop-sigterm"


ENDS = {
    "exits with 0": "a.service ended (result success)",
    "exits with 3": "a.service failed (exit status 3)",
    "is started again": "a.service ended and is being restarted by systemd (result success, restart 3)",
    "waits for its restart": "a.service ended and is being restarted by systemd (result success, restart 3)",
    "is stopped by somebody": "a.service is deactivating (stop-sigterm)",
}


@pytest.mark.parametrize("how", ENDS)
def test_a_unit_that_ends_between_its_proof_and_ready(tmp_path: Path, how: str) -> None:
    async def scene(world: World) -> None:
        await up(world)
        await heard(world)
        unit = world.unit("a")
        unit.words = ["out of cheese"]
        end(unit, how)
        error = await disproved(world)
        assert error.what == "service a on machine server failed after it was proven"
        assert error.why == ENDS[how]
        assert error.evidence == ("out of cheese",)
        assert error.hint == "orchestrator -n t logs --unit a.service server"
        assert world.states("a") == ["starting", "checking", "healthy", "failed"]
        assert world.states("b")[-1] == "healthy"

    play(tmp_path, [service("a"), service("b", "a")], scene)


@pytest.mark.parametrize("how", [how for how in ENDS if how != "is stopped by somebody"])
def test_a_unit_that_ends_while_others_still_come_up(tmp_path: Path, how: str) -> None:
    """The journal tells, and nobody waits for the limit of the service that needs it."""

    async def scene(world: World) -> None:
        world.server.answers["slow"] = lambda: bad("connection refused")

        async def die() -> None:
            while world.states("a")[-1:] != ["healthy"]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            end(world.unit("a"), how)
            world.server.say_ended("a.service")

        async with asyncio.TaskGroup() as group:
            group.create_task(die())
            error = await fails(world)
        assert error.what == "service a on machine server ended after it was proven"
        assert error.why == ENDS[how]
        assert world.states("a")[-1] == "failed"

    play(tmp_path, [service("a"), service("slow", "a", timeout=60)], scene)


@pytest.mark.parametrize("when", ["before the check passed", "while its end was being looked at"])
@pytest.mark.parametrize("how", ["exits with 0", "exits with 3", "is started again"])
def test_a_unit_whose_end_was_said_before_its_check_passed(tmp_path: Path, how: str, when: str) -> None:
    """A check that passes does not outweigh what systemd said before."""

    async def scene(world: World) -> None:
        unit, looked = world.unit("a"), asyncio.Event()
        shown = world.server.exec

        async def slowly(command: list[str], **keywords: object) -> GuestResult:
            if list(command[:2]) == ["systemctl", "show"] and unit.words and not looked.is_set():
                looked.set()
                await asyncio.sleep(30)  # cut short, when the check passes
            return await shown(command, **keywords)  # type: ignore[arg-type]

        def answer() -> GuestResult:
            if not unit.words:
                end(unit, how)
                unit.words = ["bye"]
                world.server.say_ended("a.service")
            if when == "before the check passed":
                return ok("ok") if world.services._units._ends["a"].is_set() else bad("not yet")
            return ok("ok") if looked.is_set() else bad("not yet")

        if when != "before the check passed":
            world.server.exec = slowly  # type: ignore[assignment, method-assign]
        world.server.answers["a"] = answer
        error = await fails(world)
        assert error.what == "service a on machine server failed"
        assert error.why == ENDS[how]
        assert world.states("a") == ["starting", "checking", "failed"], "it was never called healthy"

    play(tmp_path, [service("a", timeout=60)], scene)


def test_the_last_look_is_one_command_a_machine(tmp_path: Path) -> None:
    services = [service("a"), service("b"), service("c", machine="client"), service("g", kind=ServiceKind.TARGET)]

    async def scene(world: World) -> None:
        await up(world)
        await heard(world)
        for machine in world.machines.values():
            machine.looks.clear()
            machine.log.clear()
        await confirm(world)
        assert world.server.looks == [["a.service", "b.service"]]
        assert world.machines["client"].looks == [["c.service"]]
        assert world.server.done("") == [], "what did not change is not checked again"
        await confirm(world)
        assert len(world.server.looks) == 1, f"a look holds for {FRESH:.0f} s"

    play(tmp_path, services, scene)


def test_what_somebody_restarted_is_checked_again_and_what_rests_on_it(tmp_path: Path) -> None:
    """A oneshot that restarts the database is no fault, but the proofs were of the run before."""

    async def scene(world: World) -> None:
        await up(world)
        world.server.restart("db.service")
        await heard(world)
        world.server.log.clear()
        await confirm(world)
        assert sorted(world.server.done("")) == ["db", "web"], "each once"
        assert world.states("db") == world.states("web") == ["starting", "checking", "healthy"]
        assert world.services.graph.good

    play(tmp_path, [service("db"), service("web", "db"), service("other")], scene)


def test_what_somebody_restarted_and_does_not_answer_any_more(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        await up(world)
        world.server.restart("db.service")
        world.server.answers["web"] = lambda: bad("the connection was reset")
        error = await disproved(world)
        assert error.what == "service web on machine server is not up within 0.3 s"
        assert error.why.endswith("last answer: web exited with 1: the connection was reset")
        assert world.states("web")[-1] == "failed"

    play(tmp_path, [service("db"), service("web", "db", timeout=0.3)], scene)


def test_what_is_restarted_at_every_look(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        await up(world)
        world.server.restart("a.service")

        def again() -> GuestResult:
            world.server.restart("a.service")
            return ok("ok")

        world.server.answers["a"] = again
        error = await disproved(world)
        assert error.what == "service a on machine server keeps being restarted after it was proven"
        assert error.why == "a.service was restarted before each of 5 looks, and not by this program"

    play(tmp_path, [service("a")], scene)


def test_a_journal_that_says_nothing_costs_a_check_and_hides_nothing(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        world.server.say_started = lambda unit: None  # type: ignore[method-assign]
        await up(world)
        world.server.log.clear()
        await confirm(world)
        assert world.server.done("") == ["a"]
        world.services._verifier.expire()
        world.server.log.clear()
        await confirm(world)
        assert world.server.done("") == [], "now its run is known"

    play(tmp_path, [service("a")], scene)
