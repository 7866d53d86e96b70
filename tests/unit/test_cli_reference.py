"""docs/commands.md says what the command line is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from cli_process import ROOT, Cli

from orchestrator.cli.arguments import build_parser
from orchestrator.cli.help_texts import ENVIRONMENT, EXAMPLES, EXIT_CODES, EXIT_MEANINGS, SYNONYMS
from orchestrator.cli.main import MODULES
from orchestrator.cli.reference import reference
from orchestrator.errors import OrchestratorError

DOCUMENT = ROOT / "docs" / "commands.md"


def test_the_document_is_current() -> None:
    made = reference(build_parser())
    assert DOCUMENT.read_text(encoding="utf-8") == made, "run: python -m orchestrator.cli.reference > docs/commands.md"


def test_it_is_the_same_wherever_it_is_made(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    variables = {"COLUMNS": "37", "ORCH_NAME": "other", "ORCH_FILE": "x.toml", "ORCH_RUNS": "/r", "LC_ALL": "C.UTF-8"}
    done = cli.python("-m", "orchestrator.cli.reference", **variables)
    assert done.stdout == DOCUMENT.read_text(encoding="utf-8")


def test_every_option_of_every_command_is_in_it() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for name, command in build_parser().commands().items():
        if name not in MODULES:
            assert f"`{name}`" in text  # an alias
            continue
        section = text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        common = text.partition("## Common options")[2].partition("\n## ")[0]
        for action in command.actions():
            for word in action.option_strings:
                assert f"`{word}" in section or f"`{word}" in common, (name, word)
            assert action.help, (name, action.dest)


def test_exit_codes_are_those_of_the_errors() -> None:
    codes = {OrchestratorError.exit_code}
    pending = list(OrchestratorError.__subclasses__())
    while pending:
        error = pending.pop()
        codes.add(error.exit_code)
        pending += error.__subclasses__()
    assert {str(code) for code in codes} <= set(EXIT_MEANINGS)
    for code, meaning in EXIT_MEANINGS.items():
        assert f"{code} {meaning}" in EXIT_CODES


def test_every_variable_the_program_reads_is_documented() -> None:
    read = set()
    for path in (ROOT / "orchestrator").rglob("*.py"):
        read |= set(re.findall(r"\bORCH_[A-Z_]*[A-Z]\b", path.read_text(encoding="utf-8")))
    assert read <= set(ENVIRONMENT)
    assert {name for name in ENVIRONMENT if name.startswith("ORCH_")} <= read


def test_examples_are_command_lines_that_parse() -> None:
    parser = build_parser()
    assert set(EXAMPLES) == set(MODULES)
    for lines in EXAMPLES.values():
        for line in lines:
            inner = re.search(r"\$\((orchestrator [^)]*)\)", line)
            words = shlex.split(re.split(r" [|<>] ", inner[1] if inner else line)[0])
            assert words[0] == "orchestrator"
            assert parser.parse_args(words[1:]).command in MODULES


def test_synonyms_lead_to_commands() -> None:
    commands = build_parser().commands()
    for word, meant in SYNONYMS.items():
        assert word not in commands
        assert meant in commands or meant == "--help"
