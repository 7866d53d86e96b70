"""Restarts, oneshots and aliases at the last look: what counts as a unit's own end."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from event_records import of
from fake_channels import bad
from last_look_scene import confirm, disproved, heard, ready
from supervisor_scene import World, fails, play, service, up

from orchestrator.deadline import Deadline
from orchestrator.events.services import UnitAlias
from orchestrator.guest.agent import GuestResult
from orchestrator.topology.model import ServiceKind


@pytest.mark.parametrize("how", ["prove", "holds"])
def test_restarts_of_before_are_no_trouble(tmp_path: Path, how: str) -> None:
    """A unit that systemd restarted long ago, before the state was saved, or before this command."""

    async def scene(world: World) -> None:
        for one in (world.unit("a"), world.unit("bare")):
            one.active, one.sub, one.restarts, one.run = "active", "running", 4, 9
        if how == "prove":
            await world.services.verify_restored(Deadline.after(5))
        else:
            assert await world.services.verify_all(Deadline.after(5))
        world.server.log.clear()
        await confirm(world)
        assert world.services.graph.good
        assert world.server.done("") == [], "the same run: nothing to prove again"
        assert world.services.restarts == {"a": 4, "bare": 4}, "kept for `status`"
        world.services._verifier.expire()
        world.unit("a").restarts, world.unit("a").run = 5, 10
        assert (await disproved(world)).why.endswith("(result success, restart 5)")

    play(tmp_path, [service("a"), service("bare", check=False)], scene)


def test_a_unit_that_is_started_by_us_counts_from_zero(tmp_path: Path) -> None:
    """systemd counts again when somebody starts a unit that is at rest."""

    async def scene(world: World) -> None:
        unit = world.unit("a")
        unit.restarts = 4  # of a life before

        def started() -> None:
            unit.restarts = 0

        unit.then = started
        await ready(world)
        world.services._verifier.expire()
        unit.restarts = 1
        assert (await disproved(world)).why.endswith("(result success, restart 1)")

    play(tmp_path, [service("a")], scene)


def test_the_run_before_ours_is_not_counted(tmp_path: Path) -> None:
    """systemd's line "Starting …" comes before the new run has its mark, and carries that of the last one."""

    async def scene(world: World) -> None:
        world.unit("a").run = 7
        words = {"MESSAGE": "Starting", "UNIT": "a.service", "INVOCATION_ID": world.unit("a").invocation}
        world.unit("a").then = lambda: world.server.tell(words)
        await up(world)
        await heard(world)
        world.server.log.clear()
        await confirm(world)
        assert world.server.done("") == []

    play(tmp_path, [service("a")], scene)


def test_a_unit_that_runs_already_keeps_its_count(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        unit = world.unit("a")
        unit.active, unit.sub, unit.restarts, unit.run = "active", "running", 4, 9
        await ready(world)
        assert world.services.graph.good

    play(tmp_path, [service("a")], scene)


@pytest.mark.parametrize("kept", [True, False], ids=["RemainAfterExit", "forgotten"])
def test_a_oneshot_that_did_its_work_is_good(tmp_path: Path, kept: bool) -> None:
    async def scene(world: World) -> None:
        unit = world.unit("a")

        def done() -> None:
            if kept:
                unit.active, unit.sub = "active", "exited"
            else:
                unit.run = 0  # systemd unloads it, with all it knew

        unit.then = done
        await ready(world)
        assert world.services.graph.good
        unit.fail(1)
        world.services._verifier.expire()
        assert (await disproved(world)).why == "a.service failed (exit status 1)"
        assert world.states("a")[-2:] == ["completed", "failed"]

    play(tmp_path, [service("a", kind=ServiceKind.ONESHOT)], scene)


def test_what_was_stopped_on_purpose_is_not_looked_at(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        await ready(world)
        await world.services.stop(("a",), Deadline.after(5))
        world.services._verifier.expire()
        await confirm(world)
        assert world.server.looks[-1] == ["b.service"]

    play(tmp_path, [service("a"), service("b")], scene)


def test_a_systemd_that_does_not_answer_is_asked_again(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        await up(world)
        await heard(world)
        asked, shown = [], world.server.exec

        async def refuses(command: list[str], **keywords: object) -> GuestResult:
            if list(command[:2]) == ["systemctl", "show"]:
                asked.append(command)
                if len(asked) == 1:
                    return GuestResult(1, b"", b"Failed to connect to bus: Connection refused")
            return await shown(command, **keywords)  # type: ignore[arg-type]

        world.server.exec = refuses  # type: ignore[assignment, method-assign]
        await confirm(world)
        assert len(asked) == 2

    play(tmp_path, [service("a"), service("b")], scene)


def test_a_unit_named_by_its_alias(tmp_path: Path) -> None:
    """Lines, ends and last words of sshd.service come under ssh.service; it is told once."""

    async def scene(world: World) -> None:
        unit = world.unit("sshd")
        unit.real = "ssh.service"
        await up(world)
        await heard(world)
        world.server.log.clear()
        await confirm(world)
        assert world.server.done("") == [], "its run was heard of under its own name"
        told = [(e.subject, e.machine, e.id) for e in of(world.events, UnitAlias)]
        assert told == [("sshd.service", "server", "ssh.service")]
        unit.words = ["bye"]
        unit.fail(255)
        world.services._verifier.expire()
        error = await disproved(world)
        assert error.evidence == ("bye",)
        assert error.hint == "orchestrator -n t logs --unit ssh.service server"

    play(tmp_path, [service("sshd")], scene)


def test_the_end_of_a_unit_named_by_its_alias_is_heard(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        unit = world.unit("sshd")
        unit.real = "ssh.service"
        world.server.answers["sshd"] = lambda: bad("connection refused")

        def crash() -> None:
            unit.fail(1)
            world.server.say_ended("ssh.service")

        unit.then = lambda: asyncio.get_running_loop().call_later(0.1, crash) and None
        limit = Deadline.after(20)
        error = await fails(world)
        assert error.why == "ssh.service failed (exit status 1)"
        assert limit.elapsed < 10, "at a factor of 40 the next look would come after half a minute"

    play(tmp_path, [service("sshd", timeout=30)], scene, factor=40)
