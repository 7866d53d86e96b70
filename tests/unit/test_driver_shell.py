"""What the driver runs in guests, run by the bash of this host."""

from __future__ import annotations

import socket
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

from orchestrator.driver.keys import chord, keys_of
from orchestrator.driver.results import CommandFailed, JournalEntry, Result, seconds_of
from orchestrator.driver.shell import (
    CONSOLE,
    as_text,
    command_text,
    file_loop,
    login_exports,
    port_loop,
    python_name,
    unix_socket_loop,
)
from orchestrator.errors import UsageError
from orchestrator.guest.command import shell_line

LOGIN = "export A=1"


def bash(script: str, *, shell: str = "bash") -> subprocess.CompletedProcess[bytes]:
    """A line as sshd gives it to the login shell."""
    return subprocess.run([shell, "-c", shell_line(script)], capture_output=True, timeout=60, check=False)


def run(command: str, stderr: str = ":") -> subprocess.CompletedProcess[bytes]:
    return bash(command_text(command, LOGIN, stderr))


@pytest.mark.parametrize(
    ("command", "code", "output"),
    [
        ("echo a; pwd; echo $A", 0, "a\n/tmp\n1\n"),
        ("false | true", 1, ""),
        ("false; echo not reached", 1, ""),
        ("echo $unset", 1, ""),
        ("exit 7", 7, ""),
        ("[[ abc == a* ]] && cat <<< hello", 0, "hello\n"),
        ("printf x > /dev/null\necho {a,b} # a comment", 0, "a b\n"),
        ("cat <<END\ntext\nEND", 0, "text\n"),
        ("kill -TERM $$", 143, ""),
        ("sh -c 'kill -KILL $$'", 137, ""),
        ("true", 0, ""),
    ],
)
def test_the_contract_of_a_command(command: str, code: int, output: str) -> None:
    done = run(command)
    pid, _, rest = done.stdout.decode().partition("\n")
    assert pid.isdigit()
    assert (done.returncode if done.returncode >= 0 else 128 - done.returncode, rest) == (code, output)


def test_a_login_shell_that_is_not_bash_hands_over_to_bash() -> None:
    done = bash(command_text("[[ -n ${BASH_VERSION-} ]] && echo {a,b}", LOGIN, ":"), shell="sh")
    assert done.stdout.decode().partition("\n")[2] == "a b\n"


def test_stderr_goes_where_it_is_sent_also_of_what_is_left_running(tmp_path: Path) -> None:
    log = tmp_path / "log"
    done = run("echo out; echo err >&2; (sleep 1; echo late) >&2 &", f"exec 2>> {log}")
    assert done.stdout.endswith(b"\nout\n") and done.stderr == b""
    assert log.read_text() == "err\n"


def test_the_console_is_stderr_for_the_whole_command(tmp_path: Path) -> None:
    """The redirection must outlive the words that make it."""
    console = tmp_path / "console"
    console.touch()
    done = run("echo words >&2", CONSOLE.replace("/dev/console", str(console)))
    assert (done.stderr, console.read_text()) == (b"", "words\n")
    assert run("echo words >&2", CONSOLE.replace("/dev/console", "/nowhere")).stderr == b"words\n"


def test_what_a_login_adds_is_kept_and_what_a_shell_sets_is_not() -> None:
    plain = b"PATH=/bin\0PWD=/root\0SHLVL=1\0"
    login = b"PATH=/usr/bin\0PWD=/\0SHLVL=2\0LANG=C.UTF-8\0Q=it's\0"
    text = login_exports(plain + b"\0" + login)
    assert text.startswith("export PATH=/usr/bin LANG=C.UTF-8 Q='it'\"'\"'s' USER=root HOME=/root")
    assert "PWD" not in text and "SHLVL" not in text


def test_a_port_is_seen_when_it_opens_and_when_it_closes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert run(port_loop(port, "127.0.0.1", opened=True, interval=0.01)).returncode == 0
    assert run(port_loop(port, "127.0.0.1", opened=False, interval=0.01)).returncode == 0


def test_a_file_is_found_by_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "one file").touch()
    assert run(file_loop(f"{tmp_path}/one*", interval=0.01)).returncode == 0
    done = run(f"sleep 0.3 && touch {tmp_path}/later & {file_loop(f'{tmp_path}/later', interval=0.01)}")
    assert done.returncode == 0


def test_a_unix_socket_is_open_when_somebody_listens(tmp_path: Path) -> None:
    stream, datagram = tmp_path / "stream", tmp_path / "datagram"
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as two:
        one.bind(str(stream))
        one.listen()
        two.bind(str(datagram))
        assert run(unix_socket_loop(str(stream), datagram=False, interval=0.01)).returncode == 0
        assert run(unix_socket_loop(str(datagram), datagram=True, interval=0.01)).returncode == 0


def test_names_and_words() -> None:
    assert [python_name(name) for name in ("server", "client-2", "2nd")] == ["server", "client_2", "_2nd"]
    assert as_text(["echo", "a b"]) == "echo 'a b'" and as_text("echo a b") == "echo a b"


def test_durations() -> None:
    assert [seconds_of(value) for value in (3, 1.5, timedelta(minutes=1))] == [3.0, 1.5, 60.0]


def test_keys() -> None:
    assert [keys_of(key) for key in ("~", "\n", "Z", "0")] == [
        ["shift", "grave_accent"],
        ["ret"],
        ["shift", "z"],
        ["0"],
    ]
    assert chord("ctrl-alt-f2") == ["ctrl", "alt", "f2"] and chord("enter") == ["ret"]
    for wrong in ("ä", ""):
        with pytest.raises(UsageError):
            chord(wrong)


def test_a_failed_command_tells_all_it_knows() -> None:
    result = Result("make it", 3, b"out\n", b"a\n" * 40, 0.25)
    entry = JournalEntry(1.0, "nginx.service", "nginx", "it broke", 3)
    error = CommandFailed("`make it` failed", result, [entry], machine="server", hint="orchestrator shell server")
    assert isinstance(error, AssertionError)
    lines = str(error).splitlines()
    assert lines[:3] == ["`make it` failed", "  stdout:", "    out"]
    assert "  stderr (the last 30 of 40 lines):" in lines and lines.count("    a") == 30
    assert lines[-3:] == ["  journal:", "    nginx.service: it broke", "  try: orchestrator shell server"]
