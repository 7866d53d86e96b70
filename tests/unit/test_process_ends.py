"""Processes that refuse to end: nobody waits for them for ever, and a second interruption still finds them."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest
from fake_qemu import run_async

from orchestrator.deadline import Deadline, wait_until
from orchestrator.errors import HostError
from orchestrator.process import child, kill_children, run


@pytest.mark.parametrize(
    "left_behind",
    ["setsid sh -c 'echo $$; exec sleep 60' &", "(trap '' TERM; echo $(exec sh -c 'echo $PPID'); sleep 60) &"],
    ids=["another session", "deaf"],
)
def test_what_holds_the_output_of_a_short_command_is_not_waited_for(left_behind: str, tmp_path: Path) -> None:
    script = f"{{ {left_behind.removesuffix(' &')} | tee {tmp_path}/pid; }} & until [ -s {tmp_path}/pid ]; do :; done"
    deadline = Deadline.after(1)
    try:
        with pytest.raises(HostError, match="sh did not end within"):
            run_async(run(["sh", "-c", script], deadline=deadline))
        assert deadline.elapsed < 15
    finally:
        with suppress(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_a_second_cancellation_leaves_no_child_and_kill_finds_it_meanwhile(tmp_path: Path) -> None:
    script = f"trap '' TERM; touch {tmp_path}/begun; while :; do sleep 0.1; done"

    async def scenario() -> None:
        pids: list[int] = []

        async def block() -> None:
            async with child(["sh", "-c", script], grace=600) as process:
                pids.append(process.pid)
                await asyncio.sleep(600)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(block())
            assert await wait_until(lambda: bool(pids) and (tmp_path / "begun").exists(), Deadline.after(10))
            for _ in range(2):
                task.cancel()
                for _ in range(20):  # turns of the loop: it begins to end the child
                    await asyncio.sleep(0)
            assert not task.done(), "it is being ended, and that takes its time"
            kill_children()  # what leaving at once does
        assert task.cancelled()
        with pytest.raises(ProcessLookupError):
            os.kill(pids[0], 0)

    run_async(scenario(), 60)
