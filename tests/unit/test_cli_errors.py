"""The command line is misused: exit 2, an explanation, the nearest right word, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_process import ROOT, Cli

from orchestrator.cli.arguments import build_parser
from orchestrator.cli.main import MODULES


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ((), "no command is given"),
        (("statu",), "no command is named 'statu' (did you mean status?)"),
        (("stop",), "(did you mean down?)"),
        (("frobnicate",), "commands are add, bisect, completion, config"),
        (("up", "--variat", "x"), "up has no option --variat (did you mean --variant?)"),
        (("up", "--vari", "small"), "(did you mean --variant?)"),  # no abbreviations
        (("up", "--images", "debain"), "--images: 'debain' is not among its choices (did you mean debian?)"),
        (("images", "bild"), "'bild' is not among its choices (did you mean build?)"),
        (("shell",), "shell needs MACHINE"),
        (("down", "server"), "down does not take 'server'"),
        (("up", "--variant"), "--variant needs a value"),
        (("-n", "BAD", "up"), "'BAD' is not an environment name"),
        (("images", "prune", "--keep", "-1"), "--keep"),
        (("logs", "--since", "soon"), "'soon' is not a duration; write 90, 90s, 10m, 1h30m, 7d or 500ms"),
        (("exec", "alpha", "ls", "-l"), "orchestrator exec alpha -- ls -l"),
        (("exec", "alpha"), "exec needs a command after --"),
        (("exec", "alpha", "--"), "exec needs a command after --"),
    ],
)
def test_misuse_is_explained(cli: Cli, words: tuple[str, ...], expected: str) -> None:
    done = cli(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert expected in done.stderr
    assert "  next:  orchestrator" in done.stderr


@pytest.mark.parametrize(
    ("variable", "command"),
    [
        ("ORCH_PROGRESS", "graph"),
        ("ORCH_NAME", "graph"),
        ("ORCH_IMAGES", "up"),
        ("ORCH_WAIT_TIMEOUT", "up"),
        ("ORCH_TIMEOUT", "run"),
    ],
)
def test_a_wrong_variable_is_named(cli: Cli, variable: str, command: str) -> None:
    done = cli(command, **{variable: "Wrong!"})
    assert done.returncode == 2
    assert f"(the value is that of {variable})" in done.stderr


def test_a_variable_that_is_not_set_is_not_blamed(cli: Cli) -> None:
    done = cli("-n", "None", "graph")
    assert done.returncode == 2
    assert "the value is that of" not in done.stderr


def test_a_wrong_variable_does_not_break_help(cli: Cli) -> None:
    assert cli("up", "--help", ORCH_WAIT_TIMEOUT="Wrong!").returncode == 0


def test_an_option_wins_over_its_variable() -> None:
    found = build_parser().parse_args(["-n", "one", "up", "--wait-timeout", "3m"])
    assert (found.name, found.wait_timeout) == ("one", 180.0)


def test_common_options_stand_before_or_after_the_command() -> None:
    before = build_parser().parse_args(["-n", "one", "-q", "--file", "a.toml", "status"])
    after = build_parser().parse_args(["status", "-n", "one", "-q", "--file", "a.toml"])
    assert vars(before) == vars(after)
    assert build_parser().parse_args(["-n", "one", "status", "-n", "two"]).name == "two"


@pytest.mark.parametrize(
    ("words", "machine", "user", "argv"),
    [
        (["exec", "m", "--", "ls", "-l"], "m", "root", ["ls", "-l"]),
        (["exec", "m", "--user", "u", "--", "a", "--", "--user", "b"], "m", "u", ["a", "--", "--user", "b"]),
        (["-n", "exec", "exec", "--user", "u", "m", "--", "--help"], "m", "u", ["--help"]),
        (["exec", "m", "--", "--"], "m", "root", ["--"]),
    ],
)
def test_exec_hands_over_the_guest_command_untouched(
    words: list[str], machine: str, user: str, argv: list[str]
) -> None:
    found = build_parser().parse_args(words)
    assert (found.machine, found.user, found.argv) == (machine, user, argv)


@pytest.mark.parametrize(
    ("words", "machine", "name", "no_stdin"),
    [
        (["exec", "-n", "m", "--", "cat", "-n"], "m", None, True),
        (["exec", "m", "-n", "--", "cat"], "m", None, True),
        (["exec", "--user", "u", "-n", "m", "--", "cat"], "m", None, True),
        (["exec", "-n", "env", "m", "--", "cat"], "m", "env", False),
        (["exec", "m", "-n", "env", "--", "cat"], "m", "env", False),
        (["-n", "env", "exec", "-n", "m", "--", "cat"], "m", "env", True),
        (["exec", "-n", "env", "-n", "m", "--", "cat"], "m", "env", True),
        (["exec", "-n", "-n", "env", "m", "--", "cat"], "m", "env", True),
        (["-n", "exec", "exec", "m", "--", "cat", "-n"], "m", "exec", False),
        (["exec", "--no-stdin", "m", "--", "cat"], "m", None, True),
    ],
)
def test_exec_n_is_sshs_where_no_name_follows(words: list[str], machine: str, name: str | None, no_stdin: bool) -> None:
    found = build_parser().parse_args(words)
    assert (found.machine, found.name, found.no_stdin) == (machine, name, no_stdin)


@pytest.mark.parametrize("name", ["", *MODULES, "ps"])
def test_help_of_every_command(cli: Cli, name: str) -> None:
    done = cli(*([name] if name else []), "--help")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: orchestrator")
    assert "--progress" in done.stdout
    if name:
        assert "examples:\n  orchestrator" in done.stdout or "examples:\n  ssh" in done.stdout or "eval" in done.stdout


def test_every_command_has_its_module() -> None:
    commands = build_parser().commands()
    assert {commands[name].get_default("command") for name in commands} == set(MODULES)
    for module in MODULES.values():
        assert (ROOT / (module.replace(".", "/") + ".py")).is_file()


HEAVY = "paramiko qemu.qmp httpx rich asyncio cryptography"


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["up", "--help"], ["completion", "names"]])
def test_help_and_version_import_nothing_heavy(cli: Cli, words: list[str]) -> None:
    code = (
        "import sys\n"
        "from orchestrator.cli.main import main\n"
        "try:\n"
        f"    code = main({words!r})\n"
        "except SystemExit as end:\n"
        "    code = end.code\n"
        f"print('heavy:', [name for name in {HEAVY!r}.split() if name in sys.modules], code)\n"
    )
    done = cli.python("-c", code)
    assert done.stdout.rstrip().endswith("heavy: [] 0"), done.stdout


def test_status_imports_neither_ssh_nor_http(cli: Cli) -> None:
    code = (
        "import sys, orchestrator.cli.status\n"
        "print([name for name in ('paramiko', 'httpx', 'cryptography') if name in sys.modules])"
    )
    assert cli.python("-c", code).stdout == "[]\n"


def test_version(cli: Cli) -> None:
    import orchestrator

    done = cli("--version")
    assert (done.returncode, done.stdout) == (0, f"orchestrator {orchestrator.__version__}\n")


def test_a_closed_pipe_is_no_error(cli: Cli) -> None:
    done = cli.python(
        "-c",
        "import subprocess, sys\n"
        "p = subprocess.Popen([sys.executable, '-m', 'orchestrator', 'config'], stdout=subprocess.PIPE,"
        " stderr=subprocess.PIPE)\n"
        "p.stdout.close()\n"
        "err = p.stderr.read()\n"
        "print(p.wait(), err.decode())",
    )
    assert done.stdout.strip() == "141"
