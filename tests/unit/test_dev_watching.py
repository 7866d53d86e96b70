"""Changes of real files, as the kernel tells of them."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_qemu import run_async

from orchestrator.deadline import Deadline, wait_until
from orchestrator.dev import watching
from orchestrator.dev.changes import Sources
from orchestrator.dev.inbox import Inbox
from orchestrator.dev.watching import watch, watch_sources
from orchestrator.errors import HostError

LIMIT = 20.0  # seconds


class Watched:
    def __init__(self, root: Path) -> None:
        self.app, self.file = root / "project/app", root / "project/orchestrator.toml"
        self.app.mkdir(parents=True)
        self.file.write_text("name = 'one'\n")
        self.told: set[Path] = set()

    async def until(self, change: Callable[[], object], path: Path) -> None:
        """Make a change until it is told: watching begins some time after the task did."""
        deadline = Deadline.after(LIMIT)
        while path not in self.told and not deadline.expired:
            change()
            await asyncio.sleep(0.1)
        assert path in self.told, self.told

    def play(self, work: Callable[[], object]) -> None:
        async def both() -> None:
            async with asyncio.TaskGroup() as group:
                task = group.create_task(watch((self.app,), self.file, self.told.update))
                await work()  # type: ignore[misc]
                task.cancel()

        run_async(both())


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_files_of_folders_and_the_one_file_are_told_of(watched: Watched) -> None:
    async def work() -> None:
        main = watched.app / "lib/main.py"
        main.parent.mkdir()
        await watched.until(lambda: main.write_text("x"), main)
        beside = watched.file.with_suffix(".new")

        def replaced() -> None:
            beside.write_text("name = 'two'\n")
            beside.replace(watched.file)

        await watched.until(replaced, watched.file)
        assert beside not in watched.told, "other files beside it are nobody's"

    watched.play(work)


def test_what_editors_and_git_write_for_themselves_is_left_out(watched: Watched) -> None:
    async def work() -> None:
        for name in (".git/index", "lib/__pycache__/main.pyc", "lib/.main.py.swp", "lib/main.py~"):
            path = watched.app / name
            path.parent.mkdir(parents=True, exist_ok=True)
        main = watched.app / "lib/main.py"

        def written() -> None:
            for name in (".git/index", "lib/__pycache__/main.pyc", "lib/.main.py.swp", "lib/main.py~"):
                (watched.app / name).write_text("x")
            main.write_text("x")

        await watched.until(written, main)
        assert {path for path in watched.told if path.is_file()} == {main}

    watched.play(work)


def test_a_folder_that_a_build_removes_and_makes_again_is_a_change_and_is_watched_on(watched: Watched) -> None:
    async def work() -> None:
        main = watched.app / "main.js"
        await watched.until(lambda: main.write_text("x"), main)
        watched.told.clear()
        shutil.rmtree(watched.app)
        assert await wait_until(lambda: watched.app in watched.told, Deadline.after(LIMIT), first=0.05)
        watched.told.clear()
        watched.app.mkdir()
        assert await wait_until(lambda: watched.app in watched.told, Deadline.after(LIMIT), first=0.05)
        watched.told.clear()
        await watched.until(lambda: main.write_text("y"), main)

    watched.play(work)


def test_a_host_that_cannot_watch_more_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Of:
        sources = Sources({"app": tmp_path}, {"app": ()}, None, tmp_path / "orchestrator.toml")
        moved = asyncio.Event()

    async def full(*_: object) -> None:
        raise OSError(28, "OS file watch limit reached")

    monkeypatch.setattr(watching, "watch", full)
    with pytest.raises(HostError, match="files cannot be watched") as raised:
        run_async(watch_sources(Of(), Inbox()))
    assert "max_user_watches" in raised.value.hint


def test_what_is_excluded_does_not_even_end_tests_that_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def some(folders: object, file: object, told: Callable[[set[Path]], object]) -> None:
        del folders, file
        told({tmp_path / "app/tests/x"})
        told({tmp_path / "app/main.py"})
        await asyncio.sleep(60)

    class Of:
        sources = Sources({"app": tmp_path / "app"}, {"app": ("/tests",)}, None, tmp_path / "orchestrator.toml")

        def __init__(self) -> None:
            self.moved = asyncio.Event()

    async def scenario() -> frozenset[Path]:
        inbox = Inbox()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(watch_sources(Of(), inbox))
            wake = await inbox.next()
            task.cancel()
        return wake.paths

    monkeypatch.setattr(watching, "watch", some)
    assert run_async(scenario()) == {tmp_path / "app/main.py"}


def test_after_a_change_of_the_topology_other_folders_are_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[Path, ...]] = []

    async def noted(folders: tuple[Path, ...], *_: object) -> None:
        begun.append(folders)
        await asyncio.sleep(60)

    class Of:
        sources = Sources({"app": tmp_path / "a"}, {"app": ()}, None, tmp_path / "orchestrator.toml")

        def __init__(self) -> None:
            self.moved = asyncio.Event()

    async def scenario() -> None:
        of = Of()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(watch_sources(of, Inbox()))
            await asyncio.sleep(0)
            assert await wait_until(lambda: len(begun) == 1, Deadline.after(LIMIT))
            of.sources = Sources({"app": tmp_path / "b"}, {"app": ()}, None, tmp_path / "orchestrator.toml")
            of.moved.set()
            assert await wait_until(lambda: len(begun) == 2, Deadline.after(LIMIT))
            task.cancel()

    monkeypatch.setattr(watching, "watch", noted)
    run_async(scenario())
    assert begun == [(tmp_path / "a",), (tmp_path / "b",)]
