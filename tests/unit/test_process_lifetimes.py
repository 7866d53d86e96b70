"""Processes of the host: short ones, those of a block, those that outlive us, and how each ends."""

from __future__ import annotations

# ruff: noqa: ASYNC110 - what is waited for are files and processes, for milliseconds
import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from fake_qemu import run_async

from orchestrator import process as module
from orchestrator.deadline import Deadline
from orchestrator.errors import HostError, TimeLimit
from orchestrator.process import Completed, child, describe_exit, exit_code, launch, run, tail
from orchestrator.process_id import ProcessId, watch_end
from orchestrator.process_lines import stream_lines
from orchestrator.procfs import boot_id


def soon() -> Deadline:
    return Deadline.after(10)


async def written(path: Path) -> list[int]:
    """Pids that a script writes into a file, once they are there."""
    limit = soon()
    while not path.exists() or not path.read_text().endswith("\n"):
        assert not limit.expired
        await asyncio.sleep(0.005)
    return [int(word) for word in path.read_text().split()]


def alive(pid: int) -> bool:
    return ProcessId.of(pid) is not None


# ------------------------------------------------------------------ run


def test_run_gives_code_and_output(tmp_path: Path) -> None:
    words = ["printf", "%s|", "a b", "$HOME", "*", "'", '"', "x;y"]
    assert run_async(run(words, deadline=soon())).stdout.strip() == "a b|$HOME|*|'|\"|x;y|"
    done = run_async(
        run(
            ["sh", "-c", "pwd; echo $A; echo bad >&2; exit 3"],
            deadline=soon(),
            check=False,
            cwd=tmp_path,
            env={"A": "1", "PATH": os.environ["PATH"]},
        )
    )
    assert done == Completed(done.argv, 3, f"{tmp_path}\n1\n", "bad\n")


def test_output_that_is_no_text_loses_its_rest_but_not_the_exit_code() -> None:
    """A limit of subprocess-tee, which decodes strictly; `stream_lines` and `child` have none."""
    done = run_async(run(["sh", "-c", r"printf 'one\n\377\376two\n'; exit 3"], deadline=soon(), check=False))
    assert done.stdout == "one\n"
    assert done.code == 3


def test_run_does_not_read_what_is_meant_for_us(tmp_path: Path) -> None:
    """``orchestrator exec … < file``: a short command of ours must not eat the file."""
    code = (
        "import asyncio, sys; from orchestrator.process import run; from orchestrator.deadline import Deadline\n"
        "print(asyncio.run(run(['cat'], deadline=Deadline.after(5))).stdout, sys.stdin.read())"
    )
    done = subprocess.run([sys.executable, "-c", code], input="mine", capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["mine"]
    assert done.stdout.startswith(" "), "cat had nothing to read"


def test_run_failures_are_explained() -> None:
    with pytest.raises(HostError, match="no-such-tool is not installed") as caught:
        run_async(run(["no-such-tool"], deadline=soon()))
    assert caught.value.hint == "orchestrator doctor"
    with pytest.raises(HostError, match="sh exited with 3") as caught:
        run_async(run(["sh", "-c", "echo why >&2; exit 3"], deadline=soon(), hint="try"))
    assert (caught.value.why, caught.value.hint) == ("why", "try")


def test_run_ends_at_its_deadline(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    deadline = Deadline.after(0.4)
    with pytest.raises(HostError, match=r"sh did not end within 0\.4 s"):
        run_async(run(["sh", "-c", f"sleep 60 & echo $$ $! > {pids}; wait"], deadline=deadline))
    assert deadline.elapsed < 20
    family = run_async(written(pids))
    end = Deadline.after(2)
    while any(alive(pid) for pid in family) and not end.expired:
        pass  # they are signalled before run() returns, and die in their own time
    assert not any(alive(pid) for pid in family)


@pytest.mark.parametrize(("code", "text"), [(0, "exited with 0"), (3, "exited with 3"), (-9, "was ended by SIGKILL")])
def test_describe_exit(code: int, text: str) -> None:
    assert describe_exit(code) == text


def test_describe_exit_knows_no_name_for_every_signal() -> None:
    assert "40" in describe_exit(-40)


# ------------------------------------------------------------------ identities


def test_an_identity_is_of_one_process_only() -> None:
    me = ProcessId.of(os.getpid())
    assert me is not None
    assert me.alive
    assert not replace(me, start_ticks=me.start_ticks + 1).alive, "a reused pid"
    assert not replace(me, boot_id="another boot").alive
    assert ProcessId.from_dict(me.as_dict()) == me
    assert me.boot_id == boot_id()
    assert ProcessId.of(2**22 + 1) is None


def test_a_reused_pid_is_never_signalled(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda pid, _: sent.append(pid))
    me = ProcessId.of(os.getpid())
    assert me is not None
    stranger = replace(me, start_ticks=me.start_ticks - 1)
    limit = Deadline.after(60)
    run_async(stranger.end(grace=30))
    assert sent == []
    assert limit.elapsed < 15


@pytest.mark.parametrize("data", [{}, {"pid": "1", "start_ticks": 2, "boot_id": ""}, {"pid": 1, "start_ticks": None}])
def test_damaged_identities(data: dict[str, object]) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        ProcessId.from_dict(data)


@pytest.mark.parametrize("name", ["a) Z 1 (b", "two words", "\udcff\udcfe"])
def test_hostile_process_names(tmp_path: Path, name: str) -> None:
    program = tmp_path / name[:15]
    program.symlink_to("/bin/sleep")
    with subprocess.Popen([str(program), "60"]) as process:
        try:
            identity = ProcessId.of(process.pid)
            assert identity is not None
            assert identity.alive
        finally:
            process.kill()


def test_a_zombie_is_not_alive() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        identity = ProcessId.of(process.pid)
        assert identity is not None
        process.kill()
        assert run_async(identity.ended(soon()))
        assert Path(f"/proc/{process.pid}").exists()


# ------------------------------------------------------------------ ending


@pytest.mark.parametrize("how", ["ignores", "stopped"])
def test_end_reaches_those_that_do_not_listen(tmp_path: Path, how: str) -> None:
    pids = tmp_path / "pids"
    trap = "trap '' TERM; " if how == "ignores" else ""
    script = f"{trap}sleep 60 & echo $$ $! > {pids}; while :; do wait; sleep 1; done"

    async def scenario() -> None:
        process = launch(["sh", "-c", script], log=tmp_path / "log")
        family = await written(pids)
        if how == "stopped":
            os.killpg(process.pid, signal.SIGSTOP)
        began = time.monotonic()
        await process.end(grace=0.3)
        assert time.monotonic() - began < 20
        assert not process.alive
        end = Deadline.after(20)
        while any(alive(pid) for pid in family) and not end.expired:  # the kernel reaps them in its own time
            await asyncio.sleep(0.01)
        assert not any(alive(pid) for pid in family)

    run_async(scenario())


def test_a_child_and_its_grandchildren_end_with_the_block(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f"trap '' TERM; (trap '' TERM; sleep 60) & echo $$ $! > {pids}; exit 0"

    async def scenario() -> None:
        async with child(["sh", "-c", script], grace=0.2) as process:
            family = await written(pids)
            while alive(family[0]):  # not process.wait(): that also waits for the pipe, which the grandchild holds
                await asyncio.sleep(0.005)
            assert alive(family[1]), "the grandchild outlives its parent"
        for _ in range(100):  # the kernel reaps what SIGKILL ended in its own time
            if not any(alive(pid) for pid in family):
                break
            await asyncio.sleep(0.02)
        assert not any(alive(pid) for pid in family)

        with pytest.raises(RuntimeError, match="inside"):
            async with child(["sleep", "60"]) as process:
                raise RuntimeError("inside")
        assert process.returncode == -signal.SIGTERM

    run_async(scenario())


def test_a_cancelled_block_ends_its_child() -> None:
    seen: list[int] = []

    async def holding() -> None:
        async with child(["sleep", "60"]) as process:
            seen.append(process.pid)
            await asyncio.sleep(60)

    async def scenario() -> None:
        task = asyncio.create_task(holding())
        while not seen:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not alive(seen[0])

    run_async(scenario())


def test_programs_that_cannot_be_started(tmp_path: Path) -> None:
    async def enter(argv: list[str]) -> None:
        async with child(argv):
            pass

    plain = tmp_path / "plain"
    plain.write_text("no program")
    with pytest.raises(HostError, match="no-such-tool is not installed"):
        run_async(enter(["no-such-tool"]))
    with pytest.raises(HostError, match="no-such-tool is not installed"):
        launch(["no-such-tool"], log=tmp_path / "log")
    with pytest.raises(HostError, match="cannot be started") as caught:
        run_async(enter([str(plain)]))
    assert "Permission denied" in caught.value.why
    with pytest.raises(HostError, match="cannot be started"):
        launch([str(plain)], log=tmp_path / "log")


# ------------------------------------------------------------------ outliving us


def test_a_launched_process_outlives_its_starter_and_is_known_again(tmp_path: Path) -> None:
    code = (
        "import json; from pathlib import Path; from orchestrator.process import launch\n"
        f"p = launch(['sh', '-c', 'umask; echo on; exec sleep 60'], log=Path({str(tmp_path / 'log')!r}))\n"
        "print(json.dumps(p.as_dict()))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    import json

    process = ProcessId.from_dict(json.loads(told))
    try:
        assert process.alive
        assert os.getsid(process.pid) == process.pid, "a session of its own"
        limit = soon()
        while "on" not in (tmp_path / "log").read_text() and not limit.expired:
            time.sleep(0.01)
        assert (tmp_path / "log").read_text() == "0077\non\n"
        assert exit_code(process) is None, "it is not our child"
    finally:
        run_async(process.end())
    assert not process.alive


def test_watch_end_and_the_exit_code(tmp_path: Path) -> None:
    async def scenario() -> None:
        process = launch(["sh", "-c", "read x; exit 3"], log=tmp_path / "log", endless_stdin=True)
        watching = asyncio.create_task(watch_end(process))
        await asyncio.sleep(0.1)
        assert not watching.done(), "its stdin neither gives anything nor ends"
        assert exit_code(process) is None
        os.kill(process.pid, signal.SIGKILL)
        await watching
        assert exit_code(process) == -signal.SIGKILL
        await watch_end(process)  # of one that is long gone: at once

    run_async(scenario())


def test_watch_end_without_pidfds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: int) -> int:
        raise OSError("no such system call")

    monkeypatch.setattr(os, "pidfd_open", missing)

    async def scenario() -> None:
        process = launch(["sleep", "0.2"], log=tmp_path / "log")
        await watch_end(process)
        assert not process.alive

    run_async(scenario())


def test_endless_stdin_ends_with_the_process(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    process = launch(["cat"], log=tmp_path / "log", endless_stdin=True)
    assert process.alive
    run_async(process.end())
    module._launched.pop(process.pid).wait()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# ------------------------------------------------------------------ lines


def test_lines_of_a_long_command() -> None:
    lines: list[str] = []
    script = r"printf 'one\r\n\377\n'; echo err >&2; printf 'rest'; exit 4"
    assert run_async(stream_lines(["sh", "-c", script], lines.append, deadline=soon())) == 4
    assert lines == ["one", "\ufffd", "err", "rest"]


def test_overlong_lines_do_not_stop_the_stream() -> None:
    lines: list[str] = []
    script = "head -c 3000000 /dev/zero | tr '\\0' a; echo; echo last"
    assert run_async(stream_lines(["sh", "-c", script], lines.append, deadline=soon())) == 0
    assert lines[-1] == "last"
    assert all(set(line) <= {"a"} for line in lines[:-1])
    assert all(len(line) <= 2 << 20 for line in lines)


def test_a_long_command_ends_at_its_deadline(tmp_path: Path) -> None:
    pids, lines = tmp_path / "pids", list[str]()
    deadline = Deadline.after(0.4)
    with pytest.raises(TimeLimit):
        run_async(stream_lines(["sh", "-c", f"echo $$ > {pids}; echo on; sleep 60"], lines.append, deadline=deadline))
    assert deadline.elapsed < 20
    assert lines == ["on"]
    assert not alive(int(pids.read_text()))


def test_tail(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert tail(path, 3) == []
    path.write_bytes(b"x" * 100_000 + b"\none\r\n\n\xff\ntwo")
    assert tail(path, 3) == ["one", "\ufffd", "two"]
    assert tail(path, 2, limit=3) == ["two"]


def test_the_output_of_a_short_command_is_shown_as_it_comes_and_kept() -> None:
    seen: list[str] = []

    async def scenario() -> Completed:
        script = "echo one; echo two >&2; sleep 0.3; echo; echo three; exit 4"
        return await module.run_shown(["sh", "-c", script], seen.append, deadline=Deadline.after(20))

    done = asyncio.run(scenario())
    assert (done.code, done.stdout, done.stderr) == (4, "one\n\nthree\n", "two\n")
    assert sorted(seen[:2]) == ["one", "two"]
    assert seen[2:] == ["", "three"]
