"""The loop of `dev` with an environment that only notes what it is asked for, on a simulated clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from simulated_time import run_simulated

from orchestrator.dev.changes import Changes, Selection, Sources
from orchestrator.dev.inbox import LONGEST, Inbox, Wake
from orchestrator.dev.loop import Loop, Results
from orchestrator.errors import MachineError, OrchestratorError, ServiceError, UnforeseenError
from orchestrator.events import Event, EventBus
from orchestrator.events.dev import DevCycleEnded, DevStateChanged

APP, SUITE, FILE = Path("/p/app/main.py"), Path("/p/suite/page.spec.ts"), Path("/p/orchestrator.toml")
DEPLOY, TEST = 3.0, 10.0  # seconds


class FakeTarget:
    name = "shop"
    sources = Sources({"app": Path("/p/app")}, {"app": ()}, Path("/p/suite"), FILE)
    run_folder = Path("/p/runs/1")

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.told: list[str] = []
        self.broken: Exception | None = None
        self.result = Results(passed=2)
        self.has_tests = True
        self.any_failed = False
        self.unchanged = False
        self.lost: asyncio.Event | None = None

    async def deploy(self, changes: Changes, *, reset: bool) -> str:
        await asyncio.sleep(DEPLOY)
        parts = [*sorted(changes.layers), *sorted(changes.specs), "topology" * changes.topology, "reset" * reset]
        self.asked.append("deploy " + " ".join(part for part in parts if part))
        if self.broken is not None:
            raise self.broken
        return "" if self.unchanged else "brought in"

    def described(self, selection: Selection) -> str:
        return selection.text

    async def test(self, selection: Selection) -> Results:
        self.asked.append(f"test {selection.text}")
        await asyncio.sleep(TEST)
        self.any_failed = self.result.failed > 0
        return self.result

    async def failed(self, error: OrchestratorError) -> None:
        self.told.append(error.what)

    async def after_round(self, ended: DevCycleEnded) -> None:
        del ended

    async def watched(self, work: Coroutine[Any, Any, Wake]) -> Wake:
        if self.lost is None:
            return await work
        work.close()
        await self.lost.wait()
        self.lost = None
        raise MachineError("machine server is gone")


def explained(cause: Exception) -> OrchestratorError:
    return cause if isinstance(cause, OrchestratorError) else UnforeseenError(repr(cause))


class Scene:
    def __init__(self, *, only_failed: bool = False) -> None:
        self.target, self.inbox, self.events = FakeTarget(), Inbox(), list[Event]()
        self.shells = 0
        bus = EventBus()
        bus.subscribe(self.events.append)
        self.loop = Loop(self.target, self.inbox, bus, only_failed=only_failed, explained=explained, shell=self._shell)

    async def _shell(self) -> None:
        self.shells += 1

    @property
    def ended(self) -> list[DevCycleEnded]:
        return [event for event in self.events if isinstance(event, DevCycleEnded)]

    async def idle(self) -> None:
        """Until the loop waits."""
        await asyncio.sleep(100)

    async def save(self, *paths: Path) -> DevCycleEnded:
        self.inbox.put_paths(paths or [APP])
        await self.idle()
        return self.ended[-1]

    async def press(self, key: str) -> DevCycleEnded:
        self.inbox.put_key(key)
        await self.idle()
        return self.ended[-1]

    def play(self, work: Callable[[Scene], Awaitable[None]]) -> None:
        async def both() -> None:
            async with asyncio.TaskGroup() as group:
                running = group.create_task(self.loop.run())
                await self.idle()
                await work(self)
                self.inbox.put_key("q")
                await running

        run_simulated(both())


def test_it_starts_brings_in_each_change_and_tests_again() -> None:
    async def work(scene: Scene) -> None:
        first = scene.ended[0]
        assert (first.number, first.outcome, first.cause, first.passed) == (1, "passed", "start", 2)
        second = await scene.save()
        assert (second.number, second.outcome, second.cause) == (2, "passed", "app/main.py")
        assert (second.deploy_seconds, second.test_seconds) == (DEPLOY, TEST)
        assert DEPLOY + TEST < second.elapsed < DEPLOY + TEST + 0.5, "from the save on"
        assert scene.target.asked == ["deploy ", "test all tests", "deploy app", "test all tests"]

    scene = Scene()
    scene.play(work)
    told = [event.state for event in scene.events if isinstance(event, DevStateChanged)]
    assert [one for number, one in enumerate(told) if told[number - 1] != one or not number] == [
        "starting", "testing", "waiting", "deploying", "testing", "waiting",
    ]  # fmt: skip


def test_a_burst_of_changes_is_one() -> None:
    async def work(scene: Scene) -> None:
        for _ in range(20):
            scene.inbox.put_paths([APP])
            await asyncio.sleep(0.1)
        await scene.idle()
        assert len(scene.ended) == 2

    Scene().play(work)


def test_a_build_that_goes_on_writing_is_not_waited_for_for_ever() -> None:
    async def burst() -> float:
        inbox = Inbox()

        async def writes() -> None:
            while True:
                inbox.put_paths([APP])
                await asyncio.sleep(0.1)

        async with asyncio.TaskGroup() as group:
            writing = group.create_task(writes())
            started = asyncio.get_running_loop().time()
            await inbox.next()
            writing.cancel()
            return asyncio.get_running_loop().time() - started

    assert LONGEST <= run_simulated(burst()) < LONGEST + 0.5


def test_a_broken_application_is_told_and_the_next_save_mends_it() -> None:
    async def work(scene: Scene) -> None:
        scene.target.broken = ServiceError("service backend failed", why="SyntaxError")
        broken = await scene.save()
        assert (broken.outcome, broken.error) == ("error", "service backend failed: SyntaxError")
        assert scene.target.told == ["service backend failed"]
        scene.target.broken = None
        fixed = await scene.save()
        assert (fixed.outcome, fixed.passed) == ("passed", 2)

    Scene().play(work)


def test_what_nobody_foresaw_does_not_end_it_either() -> None:
    async def work(scene: Scene) -> None:
        scene.target.broken = ZeroDivisionError("division by zero")
        assert (await scene.save()).outcome == "error"
        scene.target.broken = None
        assert (await scene.save()).outcome == "passed"

    Scene().play(work)


def test_tests_that_a_broken_application_kept_from_running_are_owed() -> None:
    async def work(scene: Scene) -> None:
        scene.target.broken = ServiceError("service backend failed")
        await scene.save(APP)
        scene.target.broken = None
        fixed = await scene.save(FILE)
        assert fixed.tests == "all tests"
        assert scene.target.asked[-2:] == ["deploy app topology", "test all tests"], "nothing that was saved is lost"

    Scene().play(work)


def test_a_save_while_tests_run_begins_again_with_the_newest() -> None:
    async def work(scene: Scene) -> None:
        scene.inbox.put_paths([APP])
        await asyncio.sleep(DEPLOY + 2)
        assert scene.target.asked[-1] == "test all tests"
        await scene.save(APP)
        assert [one.outcome for one in scene.ended] == ["passed", "superseded", "passed"]

    Scene().play(work)


def test_a_save_without_a_change_does_not_make_tests_that_it_ended_forgotten() -> None:
    async def work(scene: Scene) -> None:
        scene.inbox.put_paths([APP])
        await asyncio.sleep(DEPLOY + 2)
        scene.target.unchanged = True
        assert (await scene.save(APP)).tests == "all tests"
        assert (await scene.save(APP)).outcome == "unchanged"

    Scene().play(work)


def test_a_key_chooses_the_tests() -> None:
    async def work(scene: Scene) -> None:
        scene.target.result = Results(passed=1, failed=1, failures=("page: is empty",))
        failed = await scene.press("a")
        assert (failed.outcome, failed.failed, failed.failures) == ("failed", 1, ("page: is empty",))
        assert (await scene.press("f")).tests == "the tests that failed"
        assert (await scene.press("\n")).tests == "the tests that failed", "the same again"
        assert (await scene.press("a")).tests == "all tests"
        scene.target.result = Results(passed=2)
        await scene.press("R")
        assert scene.target.asked[-2:] == ["deploy reset", "test all tests"]
        assert (await scene.press("f")).tests == "all tests", "none failed"

    Scene().play(work)


def test_only_failed_tests_run_as_long_as_there_are_any() -> None:
    async def work(scene: Scene) -> None:
        scene.target.result = Results(failed=1)
        await scene.press("a")
        assert (await scene.save(APP)).tests == "the tests that failed"
        scene.target.result = Results(passed=1)
        await scene.save(APP)
        assert (await scene.save(APP)).tests == "all tests"

    Scene(only_failed=True).play(work)


def test_a_changed_spec_file_runs_alone() -> None:
    async def work(scene: Scene) -> None:
        assert (await scene.save(SUITE)).tests == "all tests", "it does not exist: it was removed"

    Scene().play(work)


def test_a_save_that_changes_nothing_runs_nothing() -> None:
    async def work(scene: Scene) -> None:
        scene.target.unchanged = True
        assert (await scene.save(APP)).outcome == "unchanged"
        assert scene.target.asked[-1] == "deploy app"
        await scene.save(Path("/elsewhere/x"))
        assert len(scene.ended) == 2, "what is in no layer is not even a round"
        assert (await scene.press("r")).outcome == "passed", "a key runs them all the same"

    Scene().play(work)


def test_a_machine_that_is_lost_while_nothing_happens_is_told_and_the_loop_goes_on() -> None:
    async def work(scene: Scene) -> None:
        scene.target.lost = lost = asyncio.Event()
        await scene.save(APP)
        lost.set()
        await scene.idle()
        assert scene.target.told == ["machine server is gone"]
        assert (await scene.save(APP)).outcome == "passed"

    Scene().play(work)


def test_a_shell_is_no_round() -> None:
    async def work(scene: Scene) -> None:
        await scene.press("s")
        assert (scene.shells, len(scene.ended)) == (1, 1)

    Scene().play(work)


def test_without_a_suite_a_round_ends_with_what_was_brought_in() -> None:
    async def work(scene: Scene) -> None:
        scene.target.has_tests = False
        ended = await scene.save(APP)
        assert (ended.outcome, ended.tests, ended.deployed) == ("passed", "", "brought in")

    Scene().play(work)
