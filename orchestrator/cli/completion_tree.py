"""The command line as completion sees it: commands, options, and what their values are."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from orchestrator.cli.parser import CommandParser

# What stands for a value in ``--help`` → what is completed there.
KINDS = {
    "MACHINE": ("machine",),
    "NAME": ("service", "machine"),
    "V": ("variant",),
    "UNIT": ("unit",),
    "SOURCE": ("side",),
    "TARGET": ("side",),
    "FILE": ("file",),
    "DIR": ("folder",),
    "FOLDER": ("folder",),
}


@dataclass(frozen=True, slots=True)
class Value:
    """What may stand at a place: fixed words, and kinds of names (`KINDS`, or ``environment``)."""

    choices: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Option:
    """An option; ``value`` is None for a flag."""

    names: tuple[str, ...]
    help: str
    value: Value | None


@dataclass(frozen=True, slots=True)
class Command:
    """A command; the last of ``places`` goes on for ever when ``repeats``."""

    name: str
    aliases: tuple[str, ...]
    help: str
    options: tuple[Option, ...]
    places: tuple[Value, ...]
    repeats: bool


@dataclass(frozen=True, slots=True)
class Tree:
    options: tuple[Option, ...]
    commands: tuple[Command, ...]


def read_tree(parser: CommandParser) -> Tree:
    """The command line as plain data. Pure."""
    by_parser: dict[int, list[str]] = {}
    parsers = parser.commands()
    for name, command in parsers.items():
        by_parser.setdefault(id(command), []).append(name)
    return Tree(
        _options(parser),
        tuple(_command(parsers[words[0]], words[0], tuple(words[1:])) for words in by_parser.values()),
    )


def _command(parser: CommandParser, name: str, aliases: tuple[str, ...]) -> Command:
    places = [action for action in parser.actions() if not action.option_strings]
    return Command(
        name,
        aliases,
        (parser.description or "").rstrip("."),
        _options(parser),
        tuple(_value(action) for action in places),
        bool(places) and places[-1].nargs in ("*", "+"),
    )


def _options(parser: CommandParser) -> tuple[Option, ...]:
    return tuple(
        Option(tuple(action.option_strings), action.help or "", None if action.nargs == 0 else _value(action))
        for action in parser.actions()
        if action.option_strings
    )


def _value(action: argparse.Action) -> Value:
    if action.choices:
        return Value(choices=tuple(str(choice) for choice in action.choices))
    if "--name" in action.option_strings:
        return Value(kinds=("environment",))
    return Value(kinds=KINDS.get(str(action.metavar), ()))


# ------------------------------------------------------------------ the host
