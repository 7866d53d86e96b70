"""docs/commands.md, made from the argparse tree.

``python -m orchestrator.cli.reference > docs/commands.md`` writes it again. It is
built from the options themselves and not from ``--help``, because the layout of
``--help`` depends on the Python version, the terminal width and the environment.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from orchestrator.cli.arguments import build_parser
from orchestrator.cli.help_texts import ENVIRONMENT, EXAMPLES, EXIT_MEANINGS, NOTES
from orchestrator.cli.parser import GUEST_COMMAND, CommandParser

HEAD = """\
# Commands

<!-- Made by `python -m orchestrator.cli.reference`; change orchestrator/cli/arguments.py, not this file. -->

`orchestrator COMMAND`, or `python -m orchestrator COMMAND`. Data goes to stdout, progress and explanations to
stderr. Times are written `90`, `90s`, `10m`, `2h` or `7d`. Options must be written out in full."""

EXIT_NOTE = """\
`exec` and `shell` end with the guest command's own code, or with 128+n if signal n ended it. A second Ctrl-C ends a
command and its machines at once. SIGTERM and SIGHUP (the terminal closed) shut a command down in order, like Ctrl-C;
under `nohup` SIGHUP is ignored. Code 3 also means that the output cannot be written (a full disk), or an unexpected
error: its traceback is stored in a file that the message names."""


def reference(parser: CommandParser) -> str:
    """The whole document. Pure."""
    return "\n".join(_document(parser)) + "\n"


def _document(parser: CommandParser) -> Iterator[str]:
    commands = _own_names(parser)
    yield HEAD
    yield from ("", "| command | |", "|---|---|")
    for name, (command, aliases) in commands.items():
        also = "".join(f", `{alias}`" for alias in aliases)
        yield _row(f"[`{name}`](#{name}){also}", (command.description or "").rstrip("."))
    common = {action.option_strings[0] for action in parser.actions() if action.option_strings} - {"--version"}
    yield from ("", "## Common options", "", "They can be given before or after the command.", "")
    yield from _table([action for action in parser.actions() if action.option_strings])
    for name, (command, aliases) in commands.items():
        yield from _command(name, command, aliases, common)
    yield from ("", "## Exit codes", "", "| code | meaning |", "|---|---|")
    for code, meaning in EXIT_MEANINGS.items():
        yield _row(f"`{code}`", meaning)
    yield from ("", EXIT_NOTE, "", "## Environment variables", "")
    yield from ("An option on the command line overrides its variable.", "", "| variable | meaning |", "|---|---|")
    for variable, meaning in ENVIRONMENT.items():
        yield _row(f"`{variable}`", meaning)


def _command(name: str, command: CommandParser, aliases: list[str], common: set[str]) -> Iterator[str]:
    yield from ("", f"## {name}", "", command.description or "")
    if aliases:
        yield from ("", f"Also `{'`, `'.join(aliases)}`.")
    places = [action for action in command.actions() if not action.option_strings]
    own = [action for action in command.actions() if action.option_strings and action.option_strings[0] not in common]
    words = ["orchestrator", name, "[OPTIONS]", *(_place(action) for action in places)]
    if name == GUEST_COMMAND:
        words.append("-- COMMAND [ARGUMENT ...]")
    yield from ("", "```", " ".join(words), "```")
    if places or own:
        yield ""
        yield from _table([*places, *own])
    for note in NOTES.get(name, ()):
        yield from ("", *note.split("\n"))
    if examples := EXAMPLES.get(name):
        yield from ("", "```sh", *examples, "```")


def _own_names(parser: CommandParser) -> dict[str, tuple[CommandParser, list[str]]]:
    """Each command once, under its first name, with the others."""
    found: dict[str, tuple[CommandParser, list[str]]] = {}
    for name, command in parser.commands().items():
        first = next((known for known, (other, _) in found.items() if other is command), None)
        if first is None:
            found[name] = (command, [])
        else:
            found[first][1].append(name)
    return found


def _table(actions: list[argparse.Action]) -> Iterator[str]:
    yield from ("| option | meaning |", "|---|---|")
    for action in actions:
        yield _row(_names(action), (action.help or "") + _choices(action))


def _names(action: argparse.Action) -> str:
    if not action.option_strings:
        return f"`{action.metavar or action.dest.upper()}`"
    value = "" if action.nargs == 0 else f" {action.metavar or action.dest.upper()}"
    return ", ".join(f"`{name}{value if name.startswith('--') else ''}`" for name in action.option_strings)


def _choices(action: argparse.Action) -> str:
    return ": " + ", ".join(f"`{choice}`" for choice in action.choices) if action.choices else ""


def _place(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest.upper())
    return {"?": f"[{name}]", "*": f"[{name} ...]", "+": f"{name} [{name} ...]"}.get(str(action.nargs), name)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    sys.stdout.write(reference(build_parser()))
