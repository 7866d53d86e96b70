"""exec, status and logs on streams of every kind, commands that are ended at once, users, and much output."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from host import Host, collected


def closing(*descriptors: int) -> Callable[[], None]:
    def close() -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    return close


def call(vm: Host, *words: str | bytes, **streams: Any) -> tuple[int, bytes, str]:
    """Exit code, stdout, stderr; never a traceback."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    with subprocess.Popen([*vm.argv(), *words], env=vm.environment(), **streams) as process:
        try:
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    text = (err or b"").decode()
    assert "Traceback" not in text, text
    return process.returncode, out or b"", text


@pytest.mark.parametrize("closed", [(0,), (0, 1, 2)])
def test_exec_with_streams_that_are_closed(vm: Host, closed: tuple[int, ...]) -> None:
    done = call(vm, "exec", "server", "--", "sh", "-c", "wc -c; exit 5", preexec_fn=closing(*closed))
    assert done == (5, b"" if 1 in closed else b"0\n", "")


def test_status_and_logs_with_streams_that_are_closed_or_left(vm: Host) -> None:
    for words in (["status"], ["logs", "server"]):
        assert call(vm, *words, preexec_fn=closing(0, 1, 2))[0] == 0
        with Path("/dev/full").open("wb") as full:
            code, _, err = call(vm, *words, stdout=full)
            assert (code, err.count("standard output could not be written")) == (3, 1)
    following = vm.start("logs", "-f", "--lines", "3")
    with collected(following):
        following.until_says("server|client", 20)
        following.send(signal.SIGHUP)
        assert following.wait(10).code in (-signal.SIGHUP, 129)


def test_a_signal_that_takes_the_shell_too_is_told(vm: Host) -> None:
    code, _, err = call(vm, "exec", "server", "--", "pkill", "-9", "-f", "something-in-its-own-line")
    assert code == 128 + signal.SIGKILL
    assert "the command was ended by SIGKILL" in err


def test_exec_hung_up_is_ended_in_the_guest(vm: Host) -> None:
    running = vm.start("exec", "server", "--", "sh", "-c", "echo begun; exec sleep 7654325")
    with collected(running):
        running.until_says("begun", 20)
        running.send(signal.SIGHUP)
        assert running.wait(15).code == 129
    assert vm.guest("server", "pgrep -f 'sleep 765432[5]' || echo gone") == "gone\n"


def test_exec_ended_at_any_moment_leaves_nothing_in_the_guest(vm: Host) -> None:
    """Most of these before the pid of the command is known here."""
    began = time.monotonic()
    vm.guest("server", "true")
    whole = time.monotonic() - began
    for part in (0.6, 0.8, 0.9, 1.0):
        running = vm.start("exec", "server", "--", "sleep", "7654326")
        with collected(running):
            time.sleep(whole * part)
            running.send(signal.SIGTERM)
            assert running.wait(20).code in (143, -signal.SIGTERM)
    assert vm.guest("server", "sleep 1; pgrep -f 'sleep 765432[6]' || echo gone") == "gone\n"


def test_a_loop_keeps_its_lines(vm: Host) -> None:
    script = 'while read -r line; do "$@" exec -n server -- echo "got $line"; done'
    with subprocess.Popen(
        ["sh", "-c", script, "sh", *vm.argv()], env=vm.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as loop:
        assert loop.communicate(b"one\ntwo\n", timeout=60)[0] == b"got one\ngot two\n"


def test_words_that_are_no_utf_8_and_users_own_names(vm: Host) -> None:
    assert call(vm, "exec", "server", "--", "printf", b"\xff\xe9") == (0, b"\xff\xe9", "")
    names = 'echo "$HOME $USER $LOGNAME"; pwd; id -un; id -gn'
    for user, home in (("postgres", "/var/lib/postgresql"), ("root", "/root")):
        wanted = f"{home} {user} {user}\n{home}\n{user}\n{user}\n"
        assert call(vm, "exec", "--user", user, "server", "--", "sh", "-c", names) == (0, wanted.encode(), "")
    code, _, err = call(vm, "exec", "--user", "nobody-of-that-name", "server", "--", "touch", "/root/ran")
    assert (code, "invalid user" in err) == (125, True)
    assert vm.guest("server", "ls /root/ran 2>/dev/null || echo none") == "none\n"


def test_checks_have_their_users_names_and_may_print_more_than_the_agent_keeps(vm: Host) -> None:
    """30 MB: the agent keeps 16 MiB of it, in one line of 22 MB."""
    (path,) = (vm.root / "state").glob("environments/*/state.json")
    kept = path.read_text()
    data = json.loads(kept)
    checks = data["topology"]["services"]["postgresql"]["checks"]
    names = ["sh", "-c", 'echo "$HOME $USER $LOGNAME"; id -Gn']
    wanted = r"^/var/lib/postgresql postgres postgres\npostgres ssl-cert$"
    much = ["head", "-c", "30000000", "/dev/zero"]
    checks.append({**checks[0], "name": "names", "command": names, "stdout": wanted})
    checks.append({**checks[0], "name": "much", "command": much, "stdout": None, "timeout": 6.0})
    path.write_text(json.dumps(data))
    try:
        vm.run("status", "--checks").expect(0, "!Traceback", "!unexpected error")
    finally:
        path.write_text(kept)
