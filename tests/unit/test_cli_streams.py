"""Every command on streams that are closed, full, non-blocking, or left by their reader; words that are no UTF-8."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest
from cli_process import SERVER, Cli

from orchestrator.cli.main import MODULES

pytestmark = pytest.mark.slow

# What each command is called with, where no machine runs.
WORDS: dict[str, list[str]] = {
    "up": ["up", "--app", "nowhere"],
    "run": ["run"],
    "down": ["down"],
    "restart": ["restart", "web"],
    "reset": ["reset"],
    "snapshot": ["snapshot", "list", "--json"],
    "status": ["status"],
    "shell": ["shell", "alpha"],
    "console": ["console", "alpha"],
    "exec": ["exec", "alpha", "--", "true"],
    "cp": ["cp", "alpha:/etc/hosts", "."],
    "logs": ["logs"],
    "test": ["test", "nowhere.py"],
    "screen": ["screen", "alpha"],
    "keys": ["keys", "alpha", "ret"],
    "forward": ["forward", "alpha", "80"],
    "power": ["power", "off", "alpha"],
    "link": ["link", "down", "alpha"],
    "view": ["view", "alpha"],
    "repl": ["repl", "--app", "nowhere"],
    "plan": ["plan", "--app", "nowhere"],
    "dev": ["dev", "--app", "nowhere"],
    "fault": ["fault", "list"],
    "matrix": ["matrix", "--dry-run", "--app", "nowhere"],
    "nightly": ["nightly", "--dry-run"],
    "history": ["history", "list", "--json"],
    "bisect": ["bisect", "a test"],
    "why": ["why"],
    "ssh-config": ["ssh-config"],
    "validate": ["validate", "--json"],
    "config": ["config"],
    "graph": ["graph"],
    "schema": ["schema"],
    "init": ["init", "project"],
    "add": ["add", "service", "other", "--machine", "alpha", "--dry-run"],
    "host-setup": ["host-setup", "--check"],
    "images": ["images", "list", "--json"],
    "doctor": ["doctor"],
    "report": ["report"],
    "completion": ["completion", "bash"],
}
HELP = {"up --help": ["up", "--help"], "--help": ["--help"], "--version": ["--version"]}


def test_every_command_is_here() -> None:
    assert set(WORDS) == set(MODULES)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    found = Cli(tmp_path)
    found.record(alive=False)
    journal = tmp_path / "runs/machines/alpha/journal.jsonl"
    journal.parent.mkdir(parents=True)
    line = {"__REALTIME_TIMESTAMP": "1700000000000000", "MESSAGE": "a line", "_SYSTEMD_UNIT": "web.service"}
    journal.write_text("".join(json.dumps(line) + "\n" for _ in range(200)))
    return found


def call(
    cli: Cli, words: Sequence[str | bytes], *, closed: Collection[int] = (), **streams: int
) -> tuple[int, bytes, str]:
    """Exit code, stdout, stderr; no traceback, and none of Python's own complaints."""
    numbers = {{"stdin": 0, "stdout": 1, "stderr": 2}[name]: descriptor for name, descriptor in streams.items()}
    texts = [os.fsdecode(word) for word in words]
    done = SERVER.run(texts, cli.folder, cli.environment, streams=numbers, closed=closed)
    return done.code, done.out, checked(done.err)


def call_python(cli: Cli, words: Sequence[str], *, closed: Collection[int] = ()) -> tuple[int, bytes, str]:
    """The same with a Python of its own, which finds the streams as they are."""

    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    argv = [sys.executable, "-m", "orchestrator", *words]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(argv, cwd=cli.folder, env=cli.environment, preexec_fn=close, **pipes) as process:
        out, err = process.communicate(timeout=120)
    return process.returncode, out, checked(err)


def checked(err: bytes) -> str:
    text = err.decode("utf-8", "surrogateescape")
    for bad in ("Traceback", "Exception ignored", "unexpected error", "was never retrieved"):
        assert bad not in text, text
    return text


@pytest.mark.parametrize("name", [*WORDS, *HELP])
def test_streams_that_are_closed_or_full_or_left_by_their_reader(cli: Cli, name: str) -> None:
    words = WORDS.get(name) or HELP[name]
    code, out, _ = call(cli, words)

    assert call(cli, words, closed=(0, 1, 2))[0] == code
    for path in cli.folder.rglob("*"):  # nothing that was meant for a stream went into a file that got its number
        assert not (path.is_file() and out.strip()) or out not in path.read_bytes(), path

    with Path("/dev/full").open("wb") as full:
        found, _, err = call(cli, words, stdout=full.fileno())
    assert found == (3 if out else code)
    if out:
        assert err.count("error: ") == 1
        assert re.search(r"error: standard output could not be written\n  why: +\[Errno 28\] No space left", err)

    reading, writing = os.pipe()
    os.close(reading)
    found, _, err = call(cli, words, stdout=writing)
    assert found == (141 if out else code)
    assert not out or "error" not in err
    # what is told on stderr is for people: where nobody reads it, the command is the same
    assert call(cli, words, stderr=writing)[0] == code
    os.close(writing)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_one_stream_may_be_closed(cli: Cli, closed: tuple[int, ...]) -> None:
    code, out, err = call_python(cli, WORDS["config"], closed=closed)
    assert (code, err) == (0, "")
    assert bool(out) is (1 not in closed)


def test_a_stderr_that_is_full_changes_nothing(cli: Cli) -> None:
    with Path("/dev/full").open("wb") as full:
        assert call(cli, WORDS["exec"], stderr=full.fileno())[0] == 3
        assert call(cli, ["statu"], stderr=full.fileno())[0] == 2


def test_a_stdout_that_does_not_block_loses_nothing(cli: Cli) -> None:
    expected = cli("logs").stdout.encode()
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    got = bytearray()

    def slowly() -> None:
        while data := os.read(reading, 100):
            got.extend(data)
            time.sleep(0.0005)

    # a pipe of one page is full at once
    import fcntl

    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    reader = threading.Thread(target=slowly)
    reader.start()
    code, _, err = call(cli, ["logs"], stdout=writing)
    os.close(writing)
    reader.join(60)
    os.close(reading)
    assert (code, err) == (0, cli("logs").stderr)
    assert len(expected) > 4096
    assert bytes(got) == expected


def test_logs_that_follow_end_with_their_reader(cli: Cli) -> None:
    """Also where no further line comes."""
    reading, writing = os.pipe()
    argv = [sys.executable, "-m", "orchestrator", "logs", "-f"]
    with subprocess.Popen(argv, cwd=cli.folder, env=cli.environment, stdout=writing, stderr=subprocess.PIPE) as process:
        os.close(writing)
        assert b"a line" in os.read(reading, 4096)
        os.close(reading)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (141, b"")


ODD = b"caf\xe9-\xff"
ODD_WORDS: dict[str, list[str | bytes]] = {
    "up": ["up", "--app", ODD],
    "run": ["run", "--suite", ODD],
    "down": ["down", "-n", ODD],
    "restart": ["restart", ODD],
    "reset": ["reset", ODD],
    "snapshot": ["snapshot", "rm", ODD],
    "status": ["status", "-n", ODD],
    "shell": ["shell", ODD],
    "console": ["console", ODD],
    "exec": ["exec", ODD, "--", "true"],
    "cp": ["cp", ODD, b"alpha:/" + ODD],
    "logs": ["logs", ODD],
    "test": ["test", ODD],
    "screen": ["screen", ODD],
    "keys": ["keys", "alpha", ODD],
    "forward": ["forward", ODD, "80"],
    "power": ["power", "off", ODD],
    "link": ["link", "down", "alpha", ODD],
    "view": ["view", ODD],
    "repl": ["repl", "--app", ODD],
    "plan": ["plan", "--app", ODD],
    "dev": ["dev", "--app", ODD],
    "fault": ["fault", "add", ODD],
    "matrix": ["matrix", "--dry-run", "--app", ODD],
    "nightly": ["nightly", "--dry-run", "--file", ODD],
    "history": ["history", "test", ODD],
    "bisect": ["bisect", ODD],
    "why": ["why", ODD],
    "ssh-config": ["--file", ODD, "ssh-config"],
    "validate": ["validate", "--file", ODD, "--json"],
    "config": ["config", "--json", "--file", ODD],
    "graph": ["graph", "--file", ODD],
    "schema": ["schema", "--file", ODD],
    "init": ["init", ODD],
    "add": ["add", "service", ODD, "--machine", "alpha"],
    "host-setup": ["host-setup", "--check", "--file", ODD],
    "images": ["images", "list", "--app", ODD],
    "doctor": ["doctor", "--runs", ODD],
    "report": ["report", ODD],
    "completion": ["completion", ODD],
}


@pytest.mark.parametrize("name", MODULES)
def test_words_that_are_no_utf_8(cli: Cli, name: str) -> None:
    code, out, err = call(cli, ODD_WORDS[name])
    assert code in (0, 2, 3), err
    assert code == 0 or out or "error: " in err, err


@pytest.mark.parametrize("language", ["C.UTF-8", "POSIX"])
def test_a_folder_whose_name_is_no_utf_8(tmp_path: Path, language: str) -> None:
    folder = Path(os.fsdecode(bytes(tmp_path) + b"/" + ODD))
    folder.mkdir()
    cli = Cli(folder, {"LC_ALL": language, "PYTHONIOENCODING": "ascii" if language == "POSIX" else ""})
    cli.record(alive=False)
    for words in (["config"], ["config", "--json"], ["validate", "--json"], ["graph", "--format", "json"], ["status"]):
        code, out, err = call_python(cli, words)
        assert code == (3 if words == ["status"] else 0), err
        if words[-1] == "json" or "--json" in words:
            json.loads(out)
    run = folder / "runs" / "one"
    run.mkdir(parents=True)
    (run / "events.jsonl").write_text('{"time": "2026-01-02T03:04:05.000Z", "kind": "run.started", "subject": ""}\n')
    code, out, err = call_python(cli, ["report", "runs/one"])
    assert code == 0, err
    page = Path(os.fsdecode(out.rstrip(b"\n")))
    assert (folder / page).is_file()
