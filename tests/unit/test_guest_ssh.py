"""Commands over SSH, against a real sshd of this host: what a guest's sshd does, without the guest."""

# ruff: noqa: ASYNC110 - what is waited for are files and processes, for milliseconds
from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import paramiko
import pytest
from processes import descendants
from real_sshd import Server, soon, sshd, with_ssh

from orchestrator.deadline import Deadline
from orchestrator.errors import GuestCommandError, MachineError
from orchestrator.guest.agent import GUEST_PATH
from orchestrator.guest.command import command_line, search_and_kill
from orchestrator.guest.ssh import Ssh
from orchestrator.process_id import ProcessId

COMMANDS = int(os.environ.get("ORCH_TEST_COMMANDS", "60"))  # a thousand take minutes on a busy host


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


def test_exit_codes_and_outputs_apart(server: Server) -> None:
    async def work(ssh: Ssh) -> None:
        for code in (0, 1, 77, 255):
            assert (await ssh.exec(["sh", "-c", f"exit {code}"], deadline=soon())).code == code
        done = await ssh.exec(["sh", "-c", "echo out; echo err >&2; exit 3"], deadline=soon())
        assert (done.code, done.stdout, done.stderr) == (3, b"out\n", b"err\n")
        assert (await ssh.exec(["no-such-program"], deadline=soon())).code == 127
        words = ["printf", "%s|", "a b", "$HOME", "*", "'", '"', "", "x\ny", "-n", "\\"]
        assert (await ssh.exec(words, deadline=soon())).stdout == b"a b|$HOME|*|'|\"||x\ny|-n|\\|"

    with_ssh(server, work)


def test_a_command_that_a_signal_ends_has_a_code(server: Server) -> None:
    async def work(ssh: Ssh) -> None:
        for number, name in ((15, "TERM"), (9, "KILL"), (11, "SEGV")):
            done = await ssh.exec(["sh", "-c", f"echo out; kill -{name} $$"], deadline=soon())
            assert (done.code, done.stdout) == (128 + number, b"out\n")

    with_ssh(server, work)


def test_binary_both_ways_and_the_end_of_stdin(server: Server) -> None:
    data = os.urandom(3 << 20)

    async def work(ssh: Ssh) -> None:
        done = await ssh.exec(["cat"], stdin=data, deadline=Deadline.after(30))
        assert done.code == 0
        assert done.stdout == data
        assert done.stderr == b""
        # no stdin is an empty one, not one that never ends
        assert (await ssh.exec(["wc", "-c"], deadline=soon())).text.strip() == "0"
        # output that begins with digits is not taken for the pid
        assert (await ssh.exec(["printf", "123\n456"], deadline=soon())).stdout == b"123\n456"
        # a command that does not read its stdin does not block
        assert (await ssh.exec(["true"], stdin=data, deadline=soon())).code == 0

    with_ssh(server, work)


def test_sinks_get_the_output_as_it_comes(server: Server, tmp_path: Path) -> None:
    async def work(ssh: Ssh) -> None:
        out, err = bytearray(), bytearray()
        first = threading.Event()

        def on_stdout(data: bytes) -> None:
            out.extend(data)
            first.set()

        async def feed() -> None:
            assert await asyncio.to_thread(first.wait, 5), "nothing came before the command's end"
            (tmp_path / "go").touch()

        script = f"echo one; echo bad >&2; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo two"
        async with asyncio.TaskGroup() as group:
            group.create_task(feed())
            done = group.create_task(
                ssh.exec(["sh", "-c", script], deadline=soon(), on_stdout=on_stdout, on_stderr=err.extend)
            )
        assert bytes(out) == b"one\ntwo\n"
        assert bytes(err) == b"bad\n"
        assert done.result().stdout == b""

    with_ssh(server, work)


def test_environment_and_folder(server: Server, tmp_path: Path) -> None:
    async def work(ssh: Ssh) -> None:
        done = await ssh.exec(
            ["sh", "-c", 'echo "$GREETING"; pwd'],
            environment={"GREETING": "it's a $test"},
            cwd=str(tmp_path),
            deadline=soon(),
        )
        assert done.text == f"it's a $test\n{tmp_path}"
        assert (await ssh.exec(["true"], cwd="/no/such folder", deadline=soon())).code == 126

    with_ssh(server, work)


def living(marker: Path) -> list[int]:
    return [int(n) for n in marker.read_text().split() if ProcessId.of(int(n)) is not None]


async def gone(marker: Path) -> bool:
    limit = Deadline.after(20)
    while living(marker) and not limit.expired:
        await asyncio.sleep(0.01)
    return not living(marker)


def test_the_deadline_ends_the_command_and_its_children(server: Server, tmp_path: Path) -> None:
    marker = tmp_path / "pids"
    script = f"trap '' TERM; sleep 600 & echo $$ $! > {marker}; wait"

    async def work(ssh: Ssh) -> None:
        for seconds in (0.6, 5, 25):  # a busy host may need longer to begin
            deadline = Deadline.after(seconds)
            with pytest.raises(MachineError, match=f"did not end within {seconds:g} s") as caught:
                await ssh.exec(["sh", "-c", script], deadline=deadline)
            assert deadline.elapsed < seconds + 15
            assert caught.value.evidence[0].startswith("sh -c")
            if marker.exists() and len(marker.read_text().split()) == 2:
                break
        assert len(marker.read_text().split()) == 2
        assert await gone(marker)
        assert (await ssh.exec(["echo", "on"], deadline=soon())).text == "on"

    with_ssh(server, work)


def test_cancelling_ends_the_command_too(server: Server, tmp_path: Path) -> None:
    marker = tmp_path / "pids"

    async def work(ssh: Ssh) -> None:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(
                ssh.exec(["sh", "-c", f"echo $$ > {marker}; exec sleep 600"], deadline=Deadline.after(30))
            )
            while not marker.exists() or not marker.read_text():
                await asyncio.sleep(0.01)
            task.cancel()
        assert task.cancelled()
        assert await gone(marker)

    with_ssh(server, work)


def shells_of(folder: Path) -> list[int]:
    """Processes of this host that name a folder of the test in their command line."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


async def none_left(folder: Path) -> bool:
    limit = Deadline.after(20)
    while shells_of(folder) and not limit.expired:
        await asyncio.sleep(0.05)
    return not shells_of(folder)


def test_a_command_that_is_cancelled_at_any_moment_is_gone(server: Server, tmp_path: Path) -> None:
    """Also before its pid is known here, which is when most of these are cancelled."""
    script = f"echo $$ >> {tmp_path}/pids; exec sleep 600"

    async def work(ssh: Ssh) -> None:
        began = Deadline.after(10)
        await ssh.exec(["true"], deadline=soon())
        step = began.elapsed / 6
        for number in range(10):
            async with asyncio.TaskGroup() as group:
                task = group.create_task(ssh.exec(["sh", "-c", script], deadline=Deadline.after(60)))
                await asyncio.sleep(step * number)
                task.cancel()
            assert task.cancelled()
        assert await none_left(tmp_path)
        # sshd serves in order: what was given up and could still begin would have by then
        assert (await ssh.exec(["sleep", "0.3"], deadline=soon())).code == 0
        assert await none_left(tmp_path)

    with_ssh(server, work)


def test_a_command_that_the_guest_begins_late_is_ended(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest hangs between the request and the pid, for longer than anybody waits for it here."""
    monkeypatch.setattr("orchestrator.guest.command.END_GRACE", 0.5)
    stopped: list[int] = []

    async def work(ssh: Ssh) -> None:
        open_session = ssh.open_session

        def then_stand_still(timeout: float = 30.0) -> paramiko.Channel:
            channel = open_session(timeout)
            if not stopped:
                stopped.extend(descendants(server.process.pid))
                for pid in stopped:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGSTOP)
            return channel

        monkeypatch.setattr(ssh, "open_session", then_stand_still)
        try:
            with pytest.raises(MachineError, match="did not end"):
                await ssh.exec(["sh", "-c", f": {tmp_path}; exec sleep 600"], deadline=Deadline.after(0.4))
        finally:
            for pid in stopped:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        assert (await ssh.exec(["sleep", "0.3"], deadline=soon())).code == 0
        assert await none_left(tmp_path)

    with_ssh(server, work)


def test_the_search_for_a_lost_command_does_not_find_itself(server: Server) -> None:
    async def work(ssh: Ssh) -> None:
        mark = "orch-0123456789abcdef"
        assert mark not in search_and_kill(mark)
        assert (await ssh.exec(["sh", "-c", search_and_kill(mark)], deadline=soon())).code == 0

    with_ssh(server, work)


def test_a_shell_that_is_killed_too_has_a_code(server: Server) -> None:
    """sshd then tells a signal and no exit status."""

    async def work(ssh: Ssh) -> None:
        for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
            done = await ssh.exec(["sh", "-c", f"echo out; kill -{int(number)} $PPID"], deadline=soon())
            assert (done.code, done.stdout) == (128 + number, b"out\n")

    with_ssh(server, work)


def test_large_input_in_pieces_and_output_whose_taker_fails(server: Server) -> None:
    async def work(ssh: Ssh) -> None:
        done = await ssh.exec(["wc", "-c"], stdin=iter([b"x" * 3_000_000] * 5), deadline=Deadline.after(50))
        assert done.text.strip() == "15000000"

        def full(data: bytes) -> None:
            raise GuestCommandError("there is no more room")

        for sink in ("on_stdout", "on_stderr"):
            with pytest.raises(GuestCommandError, match="no more room"):
                script = "head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2"
                taken: dict[str, Any] = {sink: full}
                await ssh.exec(["sh", "-c", script], deadline=Deadline.after(30), **taken)

    with_ssh(server, work)


def test_many_commands_leave_no_thread_and_no_descriptor(server: Server) -> None:
    async def work(ssh: Ssh) -> None:
        async def some(count: int) -> None:
            for _ in range(count):
                assert (await ssh.exec(["true"], deadline=soon(), stdin=b"x")).code == 0

        await some(3)
        threads, files = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(some(COMMANDS // 4))
        limit = Deadline.after(3)
        # the event loop's own pool may hold up to one worker per task
        while threading.active_count() > threads + 4 and not limit.expired:
            await asyncio.sleep(0.01)
        assert threading.active_count() <= threads + 4
        assert len(list(Path("/proc/self/fd").iterdir())) <= files + 2

    with_ssh(server, work)


def test_the_line_for_the_guest() -> None:
    begin = f"echo $$ || exit; export PATH={GUEST_PATH}"
    assert command_line(["ls", "a b"]) == f"{begin}; 'ls' 'a b'; exit $?"
    assert command_line(["time", "ls"]) == f"{begin}; 'time' ls; exit $?"  # no keyword of the shell
    assert command_line(["ls"], user="test", environment={"A": "1 2"}, cwd="/x y") == (
        f"{begin}; HOME=~test USER=test LOGNAME=test; export HOME USER LOGNAME; "
        "unset MAIL XDG_RUNTIME_DIR XDG_SESSION_ID DBUS_SESSION_BUS_ADDRESS; "
        "cd \"$HOME\" 2>/dev/null || cd /; cd '/x y' || exit 126; "
        "'chroot' --userspec=test --skip-chdir / env 'A=1 2' ls; exit $?"
    )
    assert command_line(["ls"], environment={"A": "1"}) == f"{begin}; 'env' A=1 ls; exit $?"
