"""Completion scripts, run by the shells they are for, where those are installed."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from cli_process import Cli

from orchestrator.cli.arguments import build_parser
from orchestrator.cli.completion_scripts import script
from orchestrator.cli.shared_options import PROVIDERS

pytestmark = pytest.mark.slow


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    cli = Cli(tmp_path)
    tools = tmp_path / "tools"
    tools.mkdir()
    program = tools / "orchestrator"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m orchestrator "$@"\n')
    program.chmod(0o755)
    cli.variables["PATH"] = f"{tools}:{os.environ['PATH']}"
    return cli


def need(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    return found


def run(cli: Cli, argv: list[str]) -> list[str]:
    done = subprocess.run(
        argv, cwd=cli.folder, env=cli.environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n")[:-1]


CASES = [
    (["st"], {"status"}),
    (["shell", ""], {"alpha", "beta"}),
    (["shell", "al"], {"alpha"}),
    (["shell", "alpha", ""], set()),
    (["screen", "al"], {"alpha"}),
    (["power", ""], {"on", "off", "reset", "pause", "resume", "crash"}),
    (["power", "off", "be"], {"beta"}),
    (["link", "up", "alpha", ""], {"lan"}),
    (["restart", "w"], {"web", "worker"}),
    (["restart", "web", "a"], {"alpha"}),
    (["logs", "--unit", "wo"], {"worker.service"}),
    (["logs", "alpha", "b"], {"beta"}),
    (["up", "--variant", ""], {"small", "keyed"}),
    (["up", "--images", ""], set(PROVIDERS)),
    (["--progress", "pl"], {"plain"}),
    (["-n", ""], {"tiny", "other"}),
    (["-n", "other", "shell", ""], {"lonely"}),
    (["images", ""], {"build", "list", "prune", "diff"}),
    (["up", "--wait-t"], {"--wait-timeout"}),
    (["ps", "--js"], {"--json"}),
    (["exec", "--user", "root", "al"], {"alpha"}),
]


def other_environment(cli: Cli) -> None:
    """An environment deployed from another topology: its own machines count, not the file's."""
    folder = cli.folder / "state" / "environments" / "other"
    folder.mkdir(parents=True)
    (folder / "state.json").write_text('{"topology": {"machines": {"lonely": {}}, "services": {}}}')


def in_bash(cli: Cli, words: list[str]) -> list[str]:
    """What bash would offer with the cursor at the end of the last word."""
    file = cli.folder / "completion.bash"
    file.write_text(script(build_parser(), "bash"))
    code = (
        f"source {file}; COMP_WORDS=({shlex.join(['orchestrator', *words])}); COMP_CWORD={len(words)};"
        "_orchestrator; printf '%s\\n' \"${COMPREPLY[@]}\""
    )
    return run(cli, [need("bash"), "--norc", "-c", code])


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_bash(cli: Cli, words: list[str], expected: set[str]) -> None:
    other_environment(cli)
    found = in_bash(cli, words)
    assert {word for word in found if word} == expected
    assert len(found) == max(1, len(expected))  # nothing twice


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["up", "--images", "=", "d"], {"debian", "disk"}),  # bash takes --images=d apart
        (["up", "--images", "="], set(PROVIDERS)),
        (["cp", "al"], {"alpha:"}),
        (["cp", "alpha", ":", "/e"], set()),
        (["exec", "alpha", "--", "l"], set()),
        (["up", "--file", "orch"], {"orchestrator.toml"}),
    ],
)
def test_bash_alone(cli: Cli, words: list[str], expected: set[str]) -> None:
    assert {word for word in in_bash(cli, words) if word} == expected


def test_bash_registers_itself(cli: Cli) -> None:
    code = "source <(orchestrator completion bash); complete -p orchestrator"
    assert run(cli, [need("bash"), "--norc", "-c", code]) == ["complete -o bashdefault -F _orchestrator orchestrator"]


@pytest.mark.parametrize(("words", "expected"), CASES)
def test_fish(cli: Cli, words: list[str], expected: set[str]) -> None:
    fish = need("fish")
    other_environment(cli)
    file = cli.folder / "completion.fish"
    file.write_text(script(build_parser(), "fish"))
    line = " ".join(["orchestrator", *words])
    cli.variables["HOME"] = str(cli.folder)
    found = run(cli, [fish, "--no-config", "-c", f"source {file}; complete -C {shlex.quote(line)}"])
    assert {line.split("\t")[0] for line in found} == expected


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("stat", "orchestrator status "),
        ("shell al", "orchestrator shell alpha "),
        ("-n other shell l", "lonely "),
        ("up --images ni", "--images nixos "),
        ("up --images=de", "--images=debian "),
        ("up --wait-t", "--wait-timeout="),
        ("cp al", "cp alpha:"),
    ],
)
def test_zsh(cli: Cli, words: str, shown: str) -> None:
    """In a real interactive zsh: the line is typed, Tab pressed, and read back."""
    zsh = need("zsh")
    other_environment(cli)
    (cli.folder / "_orchestrator").write_text(script(build_parser(), "zsh"))
    (cli.folder / ".zshrc").write_text(
        f"PS1='> '\nfpath=({cli.folder} $fpath)\nautoload -Uz compinit && compinit -u -D\n"
        'accept() { print -r -- "LINE[$BUFFER]"; BUFFER=; zle accept-line }\n'
        "zle -N accept\nbindkey '^X' accept\nbindkey '^I' complete-word\nprint READY\n"
    )
    cli.variables |= {"ZDOTDIR": str(cli.folder), "TERM": "dumb"}
    seen = in_terminal(cli, [zsh, "-i"], f"orchestrator {words}\t\x18", b"LINE[", b"]")
    line = seen.rpartition(b"LINE[")[2].partition(b"]")[0].decode()
    assert line.endswith(shown)


@pytest.mark.parametrize(
    ("words", "rest"), [("stat", "us "), ("shell al", "pha "), ("up --images ni", "xos "), ("-n ti", "ny ")]
)
def test_tcsh(cli: Cli, words: str, rest: str) -> None:
    """In a real interactive tcsh: the line is typed, Tab pressed, and tcsh types the rest."""
    tcsh = need("tcsh")
    other_environment(cli)
    (cli.folder / "completion.tcsh").write_text(script(build_parser(), "tcsh"))
    (cli.folder / ".tcshrc").write_text(f"set prompt='READY> '\nsource {cli.folder}/completion.tcsh\n")
    cli.variables |= {"HOME": str(cli.folder), "TERM": "xterm"}
    in_terminal(cli, [tcsh], f"orchestrator {words}\t", f"orchestrator {words}".encode(), rest.encode())


def in_terminal(cli: Cli, argv: list[str], typed: str, *marks: bytes) -> bytes:
    """What an interactive shell shows until ``marks``, when ``typed`` came after its READY."""
    ours, theirs = pty.openpty()
    shell = subprocess.Popen(
        argv,
        cwd=cli.folder,
        env=cli.environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # tcsh edits lines of its controlling terminal only
    )
    os.close(theirs)
    try:
        read_until(ours, b"READY")
        os.write(ours, typed.encode())
        return read_until(ours, *marks)
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)


def read_until(descriptor: int, *marks: bytes, limit: float = 30) -> bytes:
    """What comes until the marks came in this order."""
    seen, end = b"", time.monotonic() + limit
    while time.monotonic() < end:
        if select.select([descriptor], [], [], 0.2)[0]:
            seen += os.read(descriptor, 65536)
        rest = seen
        for mark in marks:
            _, found, rest = rest.partition(mark)
            if not found:
                break
        else:
            return seen
    raise AssertionError(f"{marks} did not come: {seen!r}")


def test_names_of_some_kinds(cli: Cli) -> None:
    assert cli("completion", "names", "machine").stdout.splitlines() == ["alpha", "beta"]
    assert cli("completion", "names", "service", "machine").stdout.split() == ["alpha", "beta", "web", "worker"]


def test_names_prefer_what_is_deployed(cli: Cli) -> None:
    from_file = cli("completion", "names").stdout.splitlines()
    assert "machine\talpha" in from_file
    assert "unit\tweb.service" in from_file
    assert [line for line in from_file if line.startswith("variant")] == ["variant\tsmall", "variant\tkeyed"]
    cli.record(alive=False)
    (cli.folder / "orchestrator.toml").write_text('name = "tiny"\n[machines.changed]\n')
    deployed = cli("completion", "names").stdout.splitlines()
    assert "machine\talpha" in deployed
    assert "machine\tchanged" not in deployed


def test_names_never_complain(cli: Cli) -> None:
    (cli.folder / "orchestrator.toml").write_text("name = [broken")
    done = cli("completion", "names")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    paths = cli.paths("odd")
    paths.folder.mkdir(parents=True)
    paths.state.write_text("[1, 2")
    done = cli("completion", "names", "-n", "odd")
    assert (done.returncode, done.stdout) == (0, "environment\todd\n")
