"""Services that ran before are proven, not started: after a restore, and of what is up already."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from fake_channels import bad, ok
from supervisor_scene import World, client_answers_late, play, service, up

from orchestrator.deadline import Deadline
from orchestrator.errors import MachineError, OrchestratorError, ServiceError
from orchestrator.services.checks.exec import ExecCheck
from orchestrator.topology.model import Check, Condition, Dependency, Service, ServiceKind


def running(world: World) -> None:
    """Every unit as it was when the machine was saved."""
    for one in world.machines.values():
        for unit in one.units.values():
            unit.active, unit.sub = ("inactive", "dead") if unit.oneshot else ("active", "running")


async def prove(world: World) -> None:
    await world.services.verify_restored(Deadline.after(10))


async def disproved(world: World, kind: type[OrchestratorError] = ServiceError) -> OrchestratorError:
    with pytest.raises(kind) as caught:
        await prove(world)
    return caught.value


def test_what_was_restored_is_proven_and_nothing_is_started(tmp_path: Path) -> None:
    services = [
        service("db"),
        service("migrate", "db", kind=ServiceKind.ONESHOT),
        service("web", Dependency("migrate", Condition.COMPLETED)),
        service("client", "web", machine="client", kind=ServiceKind.TARGET),
        service("seed", kind=ServiceKind.ONESHOT, check=False),
    ]

    async def scene(world: World) -> None:
        running(world)
        await prove(world)
        assert world.services.graph.good
        for name in ("db", "web", "client"):
            assert world.states(name) == ["checking", "healthy"], "it was not started: nothing says so"
        for name in ("migrate", "seed"):
            assert world.states(name) == ["checking", "completed"]
        for one in world.machines.values():
            assert one.done("start") == one.done("systemctl") == []
        assert sorted(world.server.done("")) == ["db", "migrate", "web"], "each check once, from where it is made"
        assert world.machines["client"].done("") == ["client"]

    play(tmp_path, services, scene)


def test_what_must_not_be_the_same_twice_is_renewed_before_any_check(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        running(world)
        world.server.answers["renew"] = lambda: ok("")
        await prove(world)
        assert world.services.graph.good
        assert world.server.done("")[0] == "renew it"
        assert sorted(world.server.done("")[1:]) == ["db", "web"]

    db = replace(service("db"), after_restore=("renew", "it"))
    play(tmp_path, [service("web", "db"), db], scene)


def test_what_cannot_be_renewed_is_a_failure_of_its_service(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        running(world)
        world.server.answers["renew"] = lambda: bad("no such process")
        error = await disproved(world)
        assert error.what == "service db on machine server could not be renewed after the restore"
        assert error.why == "renew 'all of it' ended with 1: no such process"
        assert world.states("db") == ["failed"]
        assert not {"db", "web"} & set(world.server.done("")), "nothing is checked"

    db = replace(service("db"), after_restore=("renew", "all of it"))
    play(tmp_path, [service("web", "db"), db], scene)


def test_all_checks_of_a_restore_are_made_at_the_same_time(tmp_path: Path) -> None:
    """Each passes only when all others were asked too; what depends on what tells nothing."""
    names = ("a", "b", "c")

    async def scene(world: World) -> None:
        running(world)
        for name in names:
            world.server.answers[name] = lambda: ok("ok") if all(world.server.done(n) for n in names) else bad("alone")
        await prove(world)
        assert world.services.graph.good

    play(tmp_path, [service("a", timeout=1), service("b", "a", timeout=1), service("c", "b", timeout=1)], scene)


def test_checks_of_one_service_are_made_at_the_same_time_too(tmp_path: Path) -> None:
    checks = tuple(Check(n, "server", ExecCheck((n,), stdout="^ok$")) for n in ("one", "two"))

    async def scene(world: World) -> None:
        for name in ("one", "two"):
            world.server.answers[name] = lambda: (
                ok("ok") if world.server.done("one") and world.server.done("two") else bad("alone")
            )
        await prove(world)
        assert world.states("a") == ["checking", "healthy"]

    play(tmp_path, [Service("a", "server", ServiceKind.TARGET, None, (), checks, 1.0)], scene)


def test_a_restored_service_may_need_a_moment(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        running(world)
        answers = iter([bad("the connection was reset"), bad("the connection was reset")])
        world.server.answers["a"] = lambda: next(answers, ok("ok"))
        await prove(world)
        assert world.states("a") == ["checking", "healthy"]

    play(tmp_path, [service("a")], scene)


def test_a_restored_service_that_does_not_answer_fails_with_its_explanation(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        running(world)
        world.server.answers["a"] = lambda: bad("no such table")
        world.unit("a").words = ["ready", "relation does not exist"]
        began = time.monotonic()
        error = await disproved(world)
        assert time.monotonic() - began < 0.8
        assert error.what == "service a on machine server is not up within 0.3 s"
        assert error.why.endswith("last answer: a exited with 1: no such table")
        assert error.evidence == ("ready", "relation does not exist")
        assert error.hint == "orchestrator -n t logs --unit a.service server"
        assert world.states("a") == ["checking", "failed"]
        assert world.states("b") == ["checking", "healthy"], "it does not wait for what it needs"

    play(tmp_path, [service("a", timeout=0.3), service("b", "a")], scene)


def test_units_are_looked_at_once_per_machine(tmp_path: Path) -> None:
    services = [
        service("a", check=False),
        service("checked"),
        service("b", check=False),
        service("c", machine="client", check=False),
    ]

    async def scene(world: World) -> None:
        running(world)
        await prove(world)
        assert world.services.graph.good
        assert world.server.looks == [["a.service", "checked.service", "b.service"]]
        assert world.machines["client"].looks == [["c.service"]]

    play(tmp_path, services, scene)


@pytest.mark.parametrize("how", ["failed", "ended", "auto-restart"])
def test_a_restored_unit_in_trouble_is_told_with_its_words(tmp_path: Path, how: str) -> None:
    async def scene(world: World) -> None:
        running(world)
        unit = world.unit("b")
        unit.words = ["lost its disk"]
        if how == "failed":
            unit.fail(9)
        elif how == "ended":
            unit.active, unit.sub = "inactive", "dead"
        else:
            unit.active, unit.sub, unit.restarts = "activating", "auto-restart", 3
        error = await disproved(world)
        assert error.what == "service b on machine server does not run after the restore"
        assert {"failed": "exit status 9", "ended": "b.service ended", "auto-restart": "restart 3"}[how] in error.why
        assert error.evidence == ("lost its disk",)
        assert error.subject == "b"

    play(tmp_path, [service("a", check=False), service("b", check=False)], scene)


def test_a_restored_unit_in_trouble_is_never_called_healthy(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        running(world)
        world.unit("a").fail(9)
        await disproved(world)
        assert world.states("a") == ["checking", "failed"]

    play(tmp_path, [service("a", check=False)], scene)


def test_a_restored_machine_that_does_not_answer_yet_holds_its_own_services_only(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        running(world)
        await client_answers_late(world, prove, 0.15)

    play(tmp_path, [service("a"), service("b", machine="client", timeout=0.1)], scene)


def test_a_restored_machine_that_is_lost_again(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        world.server.lost = True
        error = await disproved(world, MachineError)
        assert "machine server is lost" in error.what
        assert "failed" not in world.states("a"), "the service is not to blame"

    play(tmp_path, [service("a")], scene)


# ------------------------------------------------------------------ what is up already


async def holds(world: World) -> bool:
    return await world.services.verify_all(Deadline.after(10))


def test_what_is_up_already_is_seen_with_one_attempt_of_each_check(tmp_path: Path) -> None:
    services = [service("db"), service("migrate", "db", kind=ServiceKind.ONESHOT), service("c", machine="client")]

    async def scene(world: World) -> None:
        running(world)
        assert await holds(world)
        assert world.services.graph.good
        assert (world.states("db"), world.states("migrate")) == (["healthy"], ["completed"])
        assert sorted(world.server.done("")) == ["db", "migrate"]
        assert world.server.looks == [["db.service", "migrate.service"]]
        assert world.machines["client"].looks == [["c.service"]]

    play(tmp_path, services, scene)


@pytest.mark.parametrize("what", ["check", "unit", "unit without checks"])
def test_what_does_not_hold_is_brought_up_again_in_order(tmp_path: Path, what: str) -> None:
    async def scene(world: World) -> None:
        running(world)
        if what == "check":
            answers = iter([bad("connection refused")])
            world.server.answers["a"] = lambda: next(answers, ok("ok"))
        else:
            unit = world.unit("a" if what == "unit" else "bare")
            unit.active, unit.sub = "inactive", "dead"
        assert not await holds(world)
        assert world.server.done("start") == [], "whoever asks decides"
        assert not any("failed" in world.states(name) for name in ("a", "b", "bare"))
        await up(world)
        assert world.services.graph.good
        assert world.moment("a", "healthy") < world.moment("b", "starting")

    play(tmp_path, [service("b", "a"), service("a"), service("bare", check=False)], scene)


def test_what_does_not_hold_is_known_at_once(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        running(world)
        world.server.answers["a"] = lambda: bad("never")
        began = time.monotonic()
        assert not await holds(world)
        assert time.monotonic() - began < 0.3
        assert len(world.server.done("a")) == 1

    play(tmp_path, [service("a", timeout=60)], scene)
