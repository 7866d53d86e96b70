"""Workers that meet by locks: nobody misses another one's machines."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from orchestrator.errors import MemoryShort, UsageError
from orchestrator.pytest_plugin.workers import Worker


def short() -> MemoryShort:
    return MemoryShort("the machines need 3000 MiB of memory, 1000 MiB are available")


def test_a_worker_waits_for_machines_that_are_just_starting(tmp_path: Path) -> None:
    """Memory is taken before a start has ended: one that finds none then has somebody to wait for."""
    first, second = Worker("gw0", tmp_path), Worker("gw1", tmp_path)
    (tmp_path / "orchestrator-made").touch()  # the saved state is there: nobody waits for it
    taken, waits, may_end = threading.Event(), threading.Event(), threading.Event()

    def start_first() -> None:
        taken.set()
        assert may_end.wait(10)

    said: list[str] = []
    tries: list[bool] = []

    def start_second() -> None:
        tries.append(first_ended.is_set())
        if len(tries) == 1:
            raise short()

    first_ended = threading.Event()
    one = threading.Thread(target=first.start, args=(start_first, said.append))
    one.start()
    assert taken.wait(10)

    def say_second(text: str) -> None:
        said.append(text)
        waits.set()

    two = threading.Thread(target=second.start, args=(start_second, say_second))
    two.start()
    assert waits.wait(10)
    may_end.set()
    one.join(10)
    first_ended.set()
    first.ended()
    two.join(10)
    assert not two.is_alive()
    assert tries == [False, True]
    assert said == [f"gw1 waits until another worker's machines have ended: {short()}"]
    second.ended()


def test_room_that_was_made_while_a_start_failed_is_used(tmp_path: Path) -> None:
    first, second = Worker("gw0", tmp_path), Worker("gw1", tmp_path)
    first.start(lambda: None, print)
    tries: list[int] = []

    def begin() -> None:
        tries.append(1)
        if len(tries) == 1:
            first.ended()
            raise short()

    second.start(begin, print)
    assert len(tries) == 2
    second.ended()


@pytest.mark.parametrize("error", [short(), UsageError("no topology file")])
def test_a_start_that_failed_is_nothing_to_wait_for(tmp_path: Path, error: Exception) -> None:
    first, second = Worker("gw0", tmp_path), Worker("gw1", tmp_path)

    def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        first.start(fail, lambda text: None)
    with pytest.raises(MemoryShort):
        second.start(lambda: (_ for _ in ()).throw(short()), lambda text: None)
