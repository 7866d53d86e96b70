"""The prompt: what is run, what is remembered, and the test written of it. The environment is a fake."""

from __future__ import annotations

import ast
import os
import pty
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import HostError, UsageError
from orchestrator.repl.plain import PlainConsole, error_text, private_file, run_piped
from orchestrator.repl.typed import Typed, module_text

MACHINES = ("server", "client_2")


class Machine:
    def __init__(self) -> None:
        self.commands: list[str] = []

    def succeed(self, command: str) -> str:
        self.commands.append(command)
        if command == "false":
            raise HostError("it failed", why="exit code 1", evidence=["stderr:", "  no"], hint="look")
        return f"{command}\n"


@pytest.fixture
def server() -> Machine:
    return Machine()


def piped(text: str, server: Machine) -> tuple[int, Typed, dict[str, Any]]:
    typed = Typed("shop", MACHINES)
    namespace: dict[str, Any] = {"server": server}
    return run_piped(text.splitlines(keepends=True), namespace, typed), typed, namespace


# ------------------------------------------------------------------ statements of a pipe


def test_statements_are_run_as_they_come(server: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    code, typed, _ = piped("server.succeed('one')\nx = 2\nx + 1\n", server)
    assert (code, server.commands) == (0, ["one"])
    assert capsys.readouterr().out == "'one\\n'\n3\n"
    assert typed.statements == ["server.succeed('one')", "x = 2", "x + 1"]


SCRIPT = '''\
import re
for name in ("a", "b"):
    if name == "a":
        server.succeed(name)
    else:
        server.succeed("other")
text = """
first

second
"""
try:
    server.succeed("false")
except Exception:
    caught = True
else:
    caught = False
@staticmethod
def f():
    return 1

server.succeed(
    "last")
'''


def test_a_script_needs_no_empty_lines_after_blocks(server: Machine) -> None:
    code, typed, names = piped(SCRIPT, server)
    assert code == 0
    assert server.commands == ["a", "other", "false", "last"]
    assert names["text"] == "\nfirst\n\nsecond\n"
    assert names["caught"] is True
    assert len(typed.statements) == 6


def test_a_block_ends_at_an_empty_line_as_at_a_prompt(server: Machine) -> None:
    def lines() -> Iterator[str]:
        yield "for n in '12':\n"
        yield "    server.succeed(n)\n"
        assert server.commands == []
        yield "\n"
        assert server.commands == ["1", "2"]

    assert run_piped(lines(), {"server": server}, Typed("shop", MACHINES)) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server.succeed('false')\nserver.succeed('never')\n", "HostError: it failed\n  exit code 1\n  stderr:\n"),
        ("1/0\nserver.succeed('never')\n", "ZeroDivisionError"),
        ("x = = 1\nserver.succeed('never')\n", "SyntaxError"),
        ("for n in (1,):\n    1/0\nserver.succeed('never')\n", "ZeroDivisionError"),
        ("server.succeed(\n", "the last statement is not complete: server.succeed("),
    ],
)
def test_the_first_error_ends_it(text: str, message: str, server: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    code, typed, _ = piped(text, server)
    assert code == 1
    assert message in capsys.readouterr().err
    assert "never" not in server.commands
    assert typed.statements == []


@pytest.mark.parametrize(("text", "code"), [("exit(7)\n", 7), ("exit()\n", 0), ("exit('why')\n", 1), ("", 0)])
def test_exit_codes(text: str, code: int, server: Machine) -> None:
    assert piped(text, server)[0] == code


def test_an_error_of_ours_has_no_traceback() -> None:
    error = HostError("it failed", why="first\nsecond", where=["/a/log"], hint="try again")
    assert error_text(error) == "HostError: it failed\n  first\n  second\n  see /a/log\n  next: try again\n"


def test_an_interruption_ends_the_statement_only(server: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    typed = Typed("shop", MACHINES)
    console = PlainConsole({"server": server}, typed)
    console.push("raise KeyboardInterrupt")
    console.push("x = 1")
    assert capsys.readouterr().err == "interrupted\n"
    assert typed.statements == ["x = 1"]


# ------------------------------------------------------------------ the prompt on a terminal

PROGRAM = """
import sys
from pathlib import Path
from orchestrator.errors import HostError
from orchestrator.repl.plain import interact
from orchestrator.repl.typed import Typed
class Server:
    def succeed(self, command):
        if command == "false":
            raise HostError("it failed")
        return command
typed = Typed("shop", ["server"])
names = {"server": Server(), "save_test": typed.save_test}
sys.exit(interact(names, typed, "Try server.", Path(sys.argv[1])))
"""


def test_a_person_types_and_saves_a_test(tmp_path: Path) -> None:
    history = tmp_path / "state/history"
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(history)], stdin=slave, stdout=slave, stderr=slave, cwd=tmp_path
    )
    os.close(slave)
    os.write(master, b"server.succeed('false')\nserver.succeed('true')\nsave_test('test_x.py')\nexit(3)\n")
    seen = b""
    try:
        while data := os.read(master, 1 << 12):
            seen += data
    except OSError:  # the terminal's other side was closed
        pass
    os.close(master)
    assert process.wait(20) == 3, seen
    assert b"Try server." in seen
    assert b"HostError: it failed" in seen
    assert b"Traceback" not in seen
    assert (tmp_path / "test_x.py").read_text().endswith("def test_typed(server):\n    server.succeed('true')\n")
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert "server.succeed('true')" in history.read_text()


def test_a_history_is_its_users_own(tmp_path: Path) -> None:
    path = tmp_path / "new/history"
    private_file(path)
    path.write_text("kept")
    path.chmod(0o644)
    private_file(path)
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("kept", 0o600)


# ------------------------------------------------------------------ the test


def written(*statements: str) -> str:
    text = module_text("shop", MACHINES, statements)
    ast.parse(text)
    return text


def test_a_test_has_the_machines_that_it_uses() -> None:
    assert written("server.succeed('true')", "x = client_2.succeed('id')", "x", "assert 'root' in x") == (
        '"""Typed at the prompt of environment shop."""\n\n\n'
        "def test_typed(server, client_2):\n"
        "    server.succeed('true')\n"
        "    x = client_2.succeed('id')\n"
        "    assert 'root' in x\n"
    )


def test_what_is_of_use_at_a_prompt_only_is_left_out() -> None:
    text = written(
        "%timeit server.succeed('true')",
        "server.shell_interact()",
        "help(server)",
        "server",
        "save_test('x.py')",
        "exit",
        "server.console_interact(); server.succeed('one')",
    )
    assert text.partition("def ")[2] == "test_typed(server):\n    server.succeed('one')\n"


def test_imports_come_first_and_the_environment_is_a_fixture() -> None:
    text = written("import re", "import re", "services['web'].restart()", "env['client-2'].succeed('true')")
    assert text == (
        '"""Typed at the prompt of environment shop."""\n\nimport re\n\n\n'
        "def test_typed(environment):\n"
        "    env = environment\n"
        "    services = environment.services\n"
        "    services['web'].restart()\n"
        "    env['client-2'].succeed('true')\n"
    )


def test_blocks_keep_their_text_and_long_strings_their_value() -> None:
    block = "for n in range(2):  # twice\n    server.succeed(f'echo {n}')\n"
    text = written(block, 'server.succeed("""\nline\n  indented\n""")', "@cache\ndef f():\n    return 1")
    assert textwrap.indent(block, "    ") in text
    assert "server.succeed('\\nline\\n  indented\\n')" in text
    assert "    @cache\n    def f():\n        return 1\n" in text


def test_a_test_is_not_written_over_another(tmp_path: Path) -> None:
    typed = Typed("shop", MACHINES)
    path = tmp_path / "test_a.py"
    with pytest.raises(UsageError, match="nothing to write"):
        typed.save_test(str(path))
    assert not path.exists()
    typed.add("server.succeed('true')")
    typed.save_test(str(path))
    with pytest.raises(UsageError, match="exists already"):
        typed.save_test(str(path))
    with pytest.raises(UsageError, match="cannot be written"):
        typed.save_test(str(tmp_path / "no/such/test_a.py"))
