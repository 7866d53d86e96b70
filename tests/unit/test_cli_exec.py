"""``orchestrator exec`` as a process of its own, its machine a real sshd of this host."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from real_sshd import Server, sshd

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

# The command itself, but for what it looks up: the environment's state, and where the machine's sshd is.
PROGRAM = """
import sys
from contextlib import asynccontextmanager
from pathlib import Path
import orchestrator.__main__ as program
from orchestrator import streams

streams.adopt()
import orchestrator.cli.exec as command
from orchestrator.deadline import Deadline
from orchestrator.guest.ssh import SshTarget, connect

port, host_key, key_file, user, *words = sys.argv[1:]

@asynccontextmanager
async def ssh_to(places, state, machine, *, limit=None):
    target = SshTarget(machine, int(port), bytes.fromhex(host_key), Path(key_file), user)
    ssh = await connect(target, Deadline.after(60))
    try:
        yield ssh
    finally:
        await ssh.close()

command.living_state = lambda arguments: (None, None)
command.known_machine = lambda state, name: None
command.ssh_to = ssh_to
sys.argv = ["orchestrator", "exec", *words]
sys.exit(program.run())
"""
MOST = 60  # seconds after which a command hangs


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


class Exec:
    """Starts the command with streams of the test's choice."""

    def __init__(self, server: Server) -> None:
        target = server.target
        self._first = [
            sys.executable,
            "-c",
            PROGRAM,
            str(target.port),
            target.host_key.hex(),
            str(target.key_file),
            target.user,
        ]

    def argv(self, *words: str | bytes) -> list[str | bytes]:
        return [*self._first, *words]

    def start(self, *words: str | bytes, **streams: Any) -> subprocess.Popen[bytes]:
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        return subprocess.Popen(self.argv(*words), env={**os.environ, "PYTHONPATH": str(ROOT)}, **streams)

    def __call__(self, *words: str | bytes, **streams: Any) -> tuple[int, bytes, str]:
        """Exit code, stdout, stderr; never a traceback."""
        process = self.start(*words, **streams)
        try:
            out, err = process.communicate(timeout=MOST)
        finally:
            process.kill()
        text = (err or b"").decode()
        assert "Traceback" not in text, text
        return process.returncode, out or b"", text


@pytest.fixture
def run(server: Server) -> Exec:
    return Exec(server)


def closing(*descriptors: int) -> Callable[[], None]:
    def close() -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    return close


def until(condition: Callable[[], object], what: str, limit: float = MOST) -> None:
    end = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < end, f"not within {limit} s: {what}"
        time.sleep(0.01)


def living(word: str) -> list[int]:
    """Processes of this host with the word in their command line, but for our own commands."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
        except OSError:
            continue
        if word.encode() in line and PROGRAM.encode()[:40] not in line and b"pytest" not in line:
            found.append(int(entry.name))
    return found


def test_streams_and_code_are_the_commands_own(run: Exec) -> None:
    assert run("m", "--", "sh", "-c", "echo out; echo err >&2; exit 7") == (7, b"out\n", "err\n")


def test_a_word_that_is_no_utf_8_arrives_as_it_is(run: Exec) -> None:
    assert run("m", "--", "printf", b"%s", b"\xff\xfe caf\xe9") == (0, b"\xff\xfe caf\xe9", "")


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1), (0, 1, 2)])
def test_streams_may_be_closed(run: Exec, closed: tuple[int, ...], tmp_path: Path) -> None:
    script = f"wc -c > {tmp_path}/read; echo out; echo err >&2; exit 5"
    code, out, err = run("m", "--", "sh", "-c", script, preexec_fn=closing(*closed))
    assert code == 5
    assert (out, err) == (b"" if 1 in closed else b"out\n", "" if 2 in closed else "err\n")
    assert (tmp_path / "read").read_text().strip() == "0"


def test_a_stdin_that_does_not_block_is_read_to_its_end(run: Exec) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    process = run.start("m", "--", "sh", "-c", "echo begun >&2; wc -c", stdin=reading)
    os.close(reading)
    assert process.stderr is not None
    assert process.stderr.readline() == b"begun\n"
    for _ in range(5):  # a writer that pauses: each read in between finds nothing
        os.write(writing, b"x" * 1000)
        time.sleep(0.05)
    os.close(writing)
    out, _ = process.communicate(timeout=MOST)
    assert (out.strip(), process.returncode) == (b"5000", 0)


def test_outputs_that_do_not_block_lose_nothing(run: Exec) -> None:
    pipes = [os.pipe(), os.pipe()]
    counts = [0, 0]

    def slowly(index: int) -> None:
        while data := os.read(pipes[index][0], 1 << 16):
            counts[index] += len(data)
            time.sleep(0.002)

    for _, writing in pipes:
        os.set_blocking(writing, False)
    script = "head -c 2000000 /dev/zero; head -c 1000000 /dev/zero >&2"
    process = run.start("m", "--", "sh", "-c", script, stdout=pipes[0][1], stderr=pipes[1][1])
    readers = [threading.Thread(target=slowly, args=(index,)) for index in (0, 1)]
    for reader, (_, writing) in zip(readers, pipes, strict=True):
        assert not os.get_blocking(writing), "the flag is shared with others"
        os.close(writing)
        reader.start()
    assert process.wait(MOST) == 0
    for reader in readers:
        reader.join(MOST)
    assert counts == [2_000_000, 1_000_000]


def test_a_stdin_that_cannot_be_read_is_an_error_and_no_end(run: Exec, tmp_path: Path) -> None:
    with (tmp_path / "only written").open("wb") as file:
        code, _, err = run("m", "--", "sh", "-c", "cat; echo whole", stdin=file)
    assert code == 3
    assert "standard input could not be read" in err


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_an_output_that_is_full_ends_the_command(run: Exec, stream: str) -> None:
    script = f"echo first {'>&2' if stream == 'stderr' else ''}; exec sleep 6001234"
    with Path("/dev/full").open("wb") as full:
        code, _, err = run("m", "--", "sh", "-c", script, **{stream: full})
    assert code == 3
    assert stream == "stderr" or "standard output could not be written" in err
    until(lambda: not living("6001234"), "its end")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_is_gone_ends_the_command(run: Exec, stream: str) -> None:
    script = f"while :; do echo y {'>&2' if stream == 'stderr' else ''}; done; : 6001235"
    process = run.start("m", "--", "sh", "-c", script)
    pipe = process.stdout if stream == "stdout" else process.stderr
    assert pipe is not None
    assert pipe.readline() == b"y\n"
    pipe.close()
    assert process.wait(MOST) == 141
    until(lambda: not living("6001235"), "its end")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_command_too(run: Exec, number: signal.Signals) -> None:
    process = run.start("m", "--", "sh", "-c", f"echo begun; exec sleep 60012{int(number)}")
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    assert living(f"60012{int(number)}")
    process.send_signal(number)
    _, err = process.communicate(timeout=MOST)
    assert (process.returncode, err) == (128 + number, b"")
    until(lambda: not living(f"60012{int(number)}"), "its end")


def test_nohup_is_respected(run: Exec, tmp_path: Path) -> None:
    script = f"echo begun; until [ -e {tmp_path}/go ]; do sleep 0.05; done; echo on"
    process = run.start("m", "--", "sh", "-c", script, preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.send_signal(signal.SIGHUP)
    (tmp_path / "go").touch()
    out, _ = process.communicate(timeout=MOST)
    assert (out, process.returncode) == (b"on\n", 0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_command_whose_shell_is_killed_too_tells_the_signal(run: Exec, number: signal.Signals) -> None:
    code, out, err = run("m", "--", "sh", "-c", f"echo out; kill -{int(number)} $PPID")
    assert (code, out) == (128 + number, b"out\n")
    assert f"the command was ended by {number.name}" in err


def test_a_limit_ends_the_command_too(run: Exec) -> None:
    code, out, err = run("--timeout", "4s", "m", "--", "sh", "-c", "echo begun; exec sleep 6001236")
    assert (code, out) == (124, b"begun\n")
    assert "ended after 4 s, in the machine too" in err
    until(lambda: not living("6001236"), "its end")


def test_what_was_printed_before_the_limit_is_not_lost(run: Exec) -> None:
    """Its reader is slow: most of it is still on its way when the limit passes."""
    script = "head -c 1000000 /dev/zero; exec sleep 6001237"
    process = run.start("--timeout", "4s", "m", "--", "sh", "-c", script)
    assert process.stdout is not None
    until(lambda: living("6001237"), "its beginning")
    until(lambda: not living("6001237"), "its end")
    assert len(process.stdout.read()) == 1_000_000
    assert process.wait(MOST) == 124


@pytest.mark.parametrize("option", ["-n", "--no-stdin"])
def test_without_stdin_a_loop_keeps_its_lines(run: Exec, option: str) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one\ntwo\n")
    assert run(option, "m", "--", "cat", stdin=reading) == (0, b"", "")
    assert os.read(reading, 100) == b"one\ntwo\n"
    os.close(reading)
    os.close(writing)


def test_a_command_of_the_login_user_has_that_users_names(run: Exec) -> None:
    me = getpass.getuser()
    assert run("m", "--", "sh", "-c", 'echo "$USER $LOGNAME"') == (0, f"{me} {me}\n".encode(), "")
