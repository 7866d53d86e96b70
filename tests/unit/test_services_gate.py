"""The gatekeeper over machines in memory: order, failures with their reasons, limits, and promptness."""

# ruff: noqa: ASYNC110 - what is waited for is the state of the object under test
from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fake_channels import HANGS, FakeMachine, Unit, bad, ok
from fake_qemu import run_async

from orchestrator.deadline import Deadline
from orchestrator.errors import MachineError, OrchestratorError, ServiceError
from orchestrator.events import Event, EventBus
from orchestrator.guest.agent import GuestResult
from orchestrator.services.gate import Gatekeeper
from orchestrator.services.graph import ServiceGraph, State
from orchestrator.services.journal import Journal
from orchestrator.topology.model import Check, CheckKind, Condition, Dependency, Service, ServiceKind


def service(
    name: str,
    *needs: str | Dependency,
    machine: str = "server",
    kind: ServiceKind = ServiceKind.DAEMON,
    timeout: float = 5.0,
    check: bool = True,
) -> Service:
    checks = (Check("answers", CheckKind.EXEC, machine, command=(name,), stdout="^ok$"),) if check else ()
    unit = None if kind is ServiceKind.GATE else f"{name}.service"
    dependencies = tuple(d if isinstance(d, Dependency) else Dependency(d) for d in needs)
    return Service(name, machine, kind, unit, dependencies, checks, timeout)


@dataclass
class World:
    gate: Gatekeeper
    machines: dict[str, FakeMachine]
    events: list[Event]

    @property
    def server(self) -> FakeMachine:
        return self.machines["server"]

    def unit(self, name: str) -> Unit:
        return next(m.units[f"{name}.service"] for m in self.machines.values() if f"{name}.service" in m.units)

    def states(self, name: str) -> list[str]:
        return [str(e.data["state"]) for e in self.events if e.kind == "service.state" and e.subject == name]

    def moment(self, name: str, state: str) -> int:
        """The place of this change among all events."""
        return next(
            n for n, e in enumerate(self.events)
            if e.kind == "service.state" and e.subject == name and e.data["state"] == state
        )  # fmt: skip


def play(
    tmp_path: Path, services: list[Service], scene: Callable[[World], Awaitable[None]], factor: float = 1.0
) -> World:
    """Run a scene; by default every unit starts at once and every check answers ``ok``."""

    async def scenario() -> World:
        bus, events = EventBus(), list[Event]()
        bus.subscribe(events.append)
        machines = {name: FakeMachine(name, tmp_path / f"{name}.jsonl") for name in {s.machine for s in services}}
        for one in services:
            if one.unit is not None:
                machines[one.machine].units[one.unit] = Unit(oneshot=one.kind is ServiceKind.ONESHOT)
            machines[one.machine].answers[one.name] = lambda: ok("ok")
        journals = {name: Journal(m.journal) for name, m in machines.items()}
        gate = Gatekeeper(
            ServiceGraph.fresh({s.name: s for s in services}),
            {name: m.channels() for name, m in machines.items()},
            journals, bus, factor=factor, command="orchestrator -n t",
        )  # fmt: skip
        world = World(gate, machines, events)
        followers = [asyncio.create_task(journal.follow()) for journal in journals.values()]
        try:
            await scene(world)
        finally:
            for follower in followers:
                follower.cancel()
            await asyncio.gather(*followers, return_exceptions=True)
        assert len(asyncio.all_tasks()) == 1, "the gatekeeper left tasks behind"
        return world

    return run_async(scenario())


async def up(world: World) -> None:
    await world.gate.bring_up(Deadline.after(10))


async def fails(world: World, kind: type[OrchestratorError] = ServiceError) -> OrchestratorError:
    with pytest.raises(kind) as caught:
        await world.gate.bring_up(Deadline.after(10))
    return caught.value


def test_order_is_kept_across_machines(tmp_path: Path) -> None:
    services = [
        service("client", "nginx", machine="client", kind=ServiceKind.GATE),
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
        assert world.gate.graph.good
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
        world.machines["client"].booted.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(up(world))
            limit = Deadline.after(3)
            while world.gate.graph.states["a"] is not State.HEALTHY and not limit.expired:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)  # longer than b's own limit, which must not run yet
            assert world.gate.graph.states["a"] is State.HEALTHY
            assert world.states("b") == []
            world.machines["client"].booted.set()
        assert world.gate.graph.good

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


def test_the_units_own_word_makes_the_gate_look_at_once(tmp_path: Path) -> None:
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
                    "activating", "auto-restart", 2, "exit-code", 1)  # fmt: skip
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
        assert error.what == "service a on machine server is not up within 0 s"
        assert error.why == (
            "check answers made from machine server never passed; "
            "last answer: a exited with 1: the database is starting up"
        )
        answers = [e for e in world.events if e.kind == "check.answer"]
        assert len(answers) == 1, "an answer is told once while it stays the same"
        assert world.states("a") == ["starting", "checking", "failed"]

    play(tmp_path, [service("a", timeout=timeout)], scene, factor)


@pytest.mark.parametrize("kind", [CheckKind.FILE, CheckKind.UNIT])
def test_file_and_unit_checks_fail_the_service_not_the_machine(tmp_path: Path, kind: CheckKind) -> None:
    check = Check("there", kind, "server", target="x.service")

    async def scene(world: World) -> None:
        world.server.answers |= {"test": lambda: bad(""), "systemctl": lambda: GuestResult(3, b"inactive\n", b"")}
        error = await fails(world)
        assert "last answer: x.service " in error.why

    play(tmp_path, [Service("a", "server", ServiceKind.GATE, None, (), (check,), 0.3)], scene)


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
        assert error.what == "service a on machine server did not start within 0 s"
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
        await world.gate.stop(("a", "b"), Deadline.after(5))
        assert world.server.done("systemctl stop") == ["systemctl stop -- b.service", "systemctl stop -- a.service"]
        assert world.states("a")[-1] == world.states("b")[-1] == "stopped"
        assert world.gate.graph.states["other"] is State.HEALTHY
        world.gate.forget(("a", "b"))
        await up(world)
        assert world.server.done("start")[started:] == ["start a.service", "start b.service"]
        assert world.states("b")[-4:] == ["pending", "starting", "checking", "healthy"]
        assert world.states("other") == ["starting", "checking", "healthy"]
        assert world.gate.graph.good

    play(tmp_path, [service("a"), service("b", "a"), service("other")], scene)


def test_nothing_to_start_is_up_at_once(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        await up(world)
        before = len(world.events)
        await up(world)
        assert len(world.events) == before

    play(tmp_path, [service("a")], scene)


# ------------------------------------------------------------------ after a restore


def running(world: World) -> None:
    """Every unit as it was when the machine was saved."""
    for one in world.machines.values():
        for unit in one.units.values():
            unit.active, unit.sub = ("inactive", "dead") if unit.oneshot else ("active", "running")


async def prove(world: World) -> None:
    await world.gate.prove(Deadline.after(10))


async def disproved(world: World, kind: type[OrchestratorError] = ServiceError) -> OrchestratorError:
    with pytest.raises(kind) as caught:
        await prove(world)
    return caught.value


def test_what_was_restored_is_proven_and_nothing_is_started(tmp_path: Path) -> None:
    services = [
        service("db"),
        service("migrate", "db", kind=ServiceKind.ONESHOT),
        service("web", Dependency("migrate", Condition.COMPLETED)),
        service("client", "web", machine="client", kind=ServiceKind.GATE),
        service("seed", kind=ServiceKind.ONESHOT, check=False),
    ]

    async def scene(world: World) -> None:
        running(world)
        await prove(world)
        assert world.gate.graph.good
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
        assert world.gate.graph.good
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
        assert world.gate.graph.good

    play(tmp_path, [service("a", timeout=1), service("b", "a", timeout=1), service("c", "b", timeout=1)], scene)


def test_checks_of_one_service_are_made_at_the_same_time_too(tmp_path: Path) -> None:
    checks = tuple(Check(n, CheckKind.EXEC, "server", command=(n,), stdout="^ok$") for n in ("one", "two"))

    async def scene(world: World) -> None:
        for name in ("one", "two"):
            world.server.answers[name] = lambda: (
                ok("ok") if world.server.done("one") and world.server.done("two") else bad("alone")
            )
        await prove(world)
        assert world.states("a") == ["checking", "healthy"]

    play(tmp_path, [Service("a", "server", ServiceKind.GATE, None, (), checks, 1.0)], scene)


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
        assert error.what == "service a on machine server is not up within 0 s"
        assert error.why.endswith("last answer: a exited with 1: no such table")
        assert error.evidence == ("ready", "relation does not exist")
        assert error.hint == "orchestrator -n t logs --unit a.service server"
        assert world.states("a") == ["checking", "failed"]
        assert world.states("b") == ["checking", "healthy"], "it does not wait for what it needs"

    play(tmp_path, [service("a", timeout=0.3), service("b", "a")], scene)


def test_units_without_checks_are_looked_at_once_per_machine(tmp_path: Path) -> None:
    services = [
        service("a", check=False),
        service("checked"),
        service("b", check=False),
        service("c", machine="client", check=False),
    ]

    async def scene(world: World) -> None:
        running(world)
        await prove(world)
        assert world.gate.graph.good
        assert world.server.looks == [["a.service", "b.service"]]
        assert world.machines["client"].looks == [["c.service"]]

    play(tmp_path, services, scene)


def test_units_with_checks_cost_no_look(tmp_path: Path) -> None:
    async def scene(world: World) -> None:
        running(world)
        await prove(world)
        assert world.server.looks == []

    play(tmp_path, [service("a"), service("b")], scene)


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
        world.machines["client"].booted.clear()
        async with asyncio.TaskGroup() as group:
            group.create_task(prove(world))
            limit = Deadline.after(3)
            while world.gate.graph.states["a"] is not State.HEALTHY and not limit.expired:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.15)  # longer than b's own limit, which must not run yet
            assert world.gate.graph.states["a"] is State.HEALTHY
            assert world.states("b") == []
            world.machines["client"].booted.set()
        assert world.gate.graph.good

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
    return await world.gate.holds(Deadline.after(10))


def test_what_is_up_already_is_seen_with_one_attempt_of_each_check(tmp_path: Path) -> None:
    services = [service("db"), service("migrate", "db", kind=ServiceKind.ONESHOT), service("c", machine="client")]

    async def scene(world: World) -> None:
        running(world)
        assert await holds(world)
        assert world.gate.graph.good
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
        assert world.gate.graph.good
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
