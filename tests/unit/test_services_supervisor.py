"""The supervisor over machines in memory: order, failures with their reasons, limits, and promptness."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from event_records import of
from fake_channels import HANGS, bad, ok
from supervisor_scene import World, client_answers_late, fails, play, service, up

from orchestrator.deadline import Deadline
from orchestrator.errors import MachineError
from orchestrator.events.services import CheckResulted
from orchestrator.guest.agent import GuestResult
from orchestrator.services.checks.file import FileCheck
from orchestrator.services.checks.unit import UnitCheck
from orchestrator.services.graph import State
from orchestrator.topology.check_kind import CheckKind
from orchestrator.topology.model import Check, Condition, Dependency, Service, ServiceKind


def test_order_is_kept_across_machines(tmp_path: Path) -> None:
    services = [
        service("client", "nginx", machine="client", kind=ServiceKind.TARGET),
        service("nginx", "backend"),
        service("backend", "db", "llm"),
        service("llm"),
        service("db"),
    ]

    async def scene(world: World) -> None:
        # a check that passes only when its predecessors have been proven shows a start that came too early
        await up(world)
        for one in services:
            for dependency in one.depends_on:
                assert world.moment(dependency.service, "healthy") < world.moment(one.name, "starting")
        assert world.services.graph.good
        assert world.server.done("start")[2:] == ["start backend.service", "start nginx.service"]
        for one in services:
            assert world.states(one.name) == ["starting", "checking", "healthy"]

    play(tmp_path, services, scene)


def test_independent_services_start_at_the_same_time(tmp_path: Path) -> None:
    services = [service("a"), service("b"), service("c", machine="client")]

    async def scene(world: World) -> None:
        for one in services:
            world.unit(one.name).start_takes = 0.3
        began = time.monotonic()
        await up(world)
        assert time.monotonic() - began < 0.7, "three times 0.3 s, not one after the other"

    play(tmp_path, services, scene)


def test_a_machine_that_still_boots_holds_its_own_services_only(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        await client_answers_late(world, up, 0.3)

    play(tmp_path, [service("a"), service("b", machine="client", timeout=0.25)], scene)


def test_a_passing_check_is_known_soon(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        true_at: list[float] = []
        world.server.answers["a"] = lambda: ok("ok") if true_at else bad("not yet")

        async def become_true() -> None:
            await asyncio.sleep(0.35)
            true_at.append(time.monotonic())

        async with asyncio.TaskGroup() as group:
            group.create_task(become_true())
            await up(world)
        assert time.monotonic() - true_at[0] < 0.3

    play(tmp_path, [service("a")], scene)


def test_the_units_own_word_makes_the_supervisor_look_at_once(tmp_path: Path) -> None:
    """At a factor of 40 the pause between attempts is a second; a journal line ends it."""

    async def scene(world: World) -> None:
        true_at: list[float] = []
        world.server.answers["a"] = lambda: ok("ok") if true_at else bad("not yet")

        async def become_true() -> None:
            await asyncio.sleep(0.2)
            true_at.append(time.monotonic())
            world.server.say("a.service", "listening")

        async with asyncio.TaskGroup() as group:
            group.create_task(become_true())
            await up(world)
        assert time.monotonic() - true_at[0] < 0.4

    play(tmp_path, [service("a")], scene, factor=40)


def test_a_unit_that_fails_at_its_start(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        unit = world.unit("a")
        unit.start_code = 1
        unit.words = ["reading configuration", "no such role"]
        unit.then = lambda: unit.fail(3)
        error = await fails(world)
        assert error.what == "service a on machine server failed to start"
        assert error.why == "a.service failed (exit status 3)"
        assert error.evidence == ("reading configuration", "no such role")
        assert error.where == (str(tmp_path / "server.jsonl"),)
        assert error.hint == "orchestrator -n t logs --unit a.service server"
        assert world.states("a") == ["starting", "failed"]
        assert world.states("b") == world.states("c") == ["skipped"]
        assert world.server.done("start") == ["start a.service"]

    play(tmp_path, [service("a"), service("b", "a"), service("c", "b")], scene)


@pytest.mark.parametrize("told", [True, False], ids=["journal", "no journal"])
@pytest.mark.parametrize("how", ["auto-restart", "failed", "ended"])
def test_trouble_while_checking_ends_the_wait_long_before_its_limit(tmp_path: Path, how: str, told: bool) -> None:
    async def scene(world: World) -> None:
        unit = world.unit("a")
        world.server.answers["a"] = lambda: bad("connection refused")

        async def crash() -> None:
            await asyncio.sleep(0.1)
            if how == "auto-restart":
                unit.active, unit.sub, unit.restarts, unit.result, unit.status = (
                    "activating",
                    "auto-restart",
                    2,
                    "exit-code",
                    1,
                )
            elif how == "failed":
                unit.fail(1)
            else:
                unit.active, unit.sub = "inactive", "dead"
            if told:
                world.server.say_ended("a.service")

        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            group.create_task(crash())
            error = await fails(world)
        assert time.monotonic() - began < (0.6 if told else 1.5)
        assert error.what == "service a on machine server failed"
        assert {"auto-restart": "restart 2", "failed": "exit status 1", "ended": "a.service ended"}[how] in error.why
        assert world.states("a") == ["starting", "checking", "failed"]

    play(tmp_path, [service("a", timeout=30)], scene)


@pytest.mark.parametrize(("timeout", "factor"), [(0.4, 1.0), (0.1, 4.0)])
def test_a_check_that_never_passes(tmp_path: Path, timeout: float, factor: float) -> None:
    async def scene(world: World) -> None:
        world.server.answers["a"] = lambda: bad("the database is starting up")
        began = time.monotonic()
        error = await fails(world)
        assert 0.4 <= time.monotonic() - began < 0.7
        assert error.what == "service a on machine server is not up within 0.4 s"
        assert error.why == (
            "check answers made from machine server never passed; "
            "last answer: a exited with 1: the database is starting up"
        )
        answers = of(world.events, CheckResulted)
        assert len(answers) == 1, "an answer is told once while it stays the same"
        assert world.states("a") == ["starting", "checking", "failed"]

    play(tmp_path, [service("a", timeout=timeout)], scene, factor)


@pytest.mark.parametrize("spec", [FileCheck("x.service"), UnitCheck("x.service")], ids=lambda spec: spec.kind)
def test_file_and_unit_checks_fail_the_service_not_the_machine(tmp_path: Path, spec: CheckKind) -> None:
    check = Check("there", "server", spec)

    async def scene(world: World) -> None:
        world.server.answers |= {"test": lambda: bad(""), "systemctl": lambda: GuestResult(3, b"inactive\n", b"")}
        error = await fails(world)
        assert "last answer: x.service " in error.why

    play(tmp_path, [Service("a", "server", ServiceKind.TARGET, None, (), (check,), 0.3)], scene)


def test_a_check_that_hangs_is_bounded_too_and_the_answer_before_is_named(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        answers = iter([bad("starting up")])
        world.server.answers["a"] = lambda: next(answers, GuestResult(HANGS, b"", b""))
        began = time.monotonic()
        error = await fails(world)
        assert time.monotonic() - began < 0.8
        assert "last answer: a exited with 1: starting up" in error.why

    play(tmp_path, [service("a", timeout=0.4)], scene)


def test_a_start_that_does_not_return(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        world.unit("a").start_takes = 60
        began = time.monotonic()
        error = await fails(world)
        assert time.monotonic() - began < 0.8
        assert error.what == "service a on machine server did not start within 0.3 s"
        assert world.states("a") == ["starting", "failed"]

    play(tmp_path, [service("a", timeout=0.3)], scene)


def test_a_oneshot_is_completed_and_what_waits_for_that_begins(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        await up(world)
        assert world.states("migrate") == ["starting", "checking", "completed"]
        assert world.moment("migrate", "completed") < world.moment("web", "starting")

    needs = Dependency("migrate", Condition.COMPLETED)
    play(tmp_path, [service("migrate", kind=ServiceKind.ONESHOT), service("web", needs)], scene)


def test_service_started_does_not_wait_for_checks(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        world.server.answers["a"] = lambda: ok("ok") if world.states("b")[-1:] == ["healthy"] else bad("needs b")
        await up(world)
        assert world.moment("a", "checking") < world.moment("b", "starting") < world.moment("a", "healthy")

    play(tmp_path, [service("a"), service("b", Dependency("a", Condition.STARTED))], scene)


def test_a_daemon_without_checks_must_at_least_run(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        unit = world.unit("a")
        unit.active, unit.sub = "activating", "start"
        error = await fails(world)
        assert "a.service is activating (start)" in error.why

    play(tmp_path, [service("a", check=False)], scene)


def test_the_first_failure_ends_what_still_waits(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        world.server.answers["slow"] = lambda: bad("never")
        world.unit("a").start_code = 1
        began = time.monotonic()
        error = await fails(world)
        assert time.monotonic() - began < 1
        assert "service a" in error.what

    play(tmp_path, [service("slow", timeout=60), service("a")], scene)


def test_a_machine_lost_in_the_middle(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        world.server.answers["a"] = lambda: bad("not yet")

        async def die() -> None:
            await asyncio.sleep(0.1)
            world.server.lost = True

        async with asyncio.TaskGroup() as group:
            group.create_task(die())
            error = await fails(world, MachineError)
        assert "machine server is lost" in error.what
        assert "failed" not in world.states("a"), "the service is not to blame"

    play(tmp_path, [service("a"), service("b", "a")], scene)


def test_stop_and_bring_up_again(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        await up(world)
        started = len(world.server.done("start"))
        await world.services.stop(("a", "b"), Deadline.after(5))
        assert world.server.done("systemctl stop") == ["systemctl stop -- b.service", "systemctl stop -- a.service"]
        assert world.states("a")[-1] == world.states("b")[-1] == "stopped"
        assert world.services.graph.states["other"] is State.HEALTHY
        world.services.mark_pending(("a", "b"))
        await up(world)
        assert world.server.done("start")[started:] == ["start a.service", "start b.service"]
        assert world.states("b")[-4:] == ["pending", "starting", "checking", "healthy"]
        assert world.states("other") == ["starting", "checking", "healthy"]
        assert world.services.graph.good

    play(tmp_path, [service("a"), service("b", "a"), service("other")], scene)


def test_nothing_to_start_is_up_at_once(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        await up(world)
        before = len(world.events)
        await up(world)
        assert len(world.events) == before

    play(tmp_path, [service("a")], scene)
