"""argparse with errors for people: what is wrong, the nearest valid word, what to type next."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NoReturn, Protocol

from orchestrator.cli.help_texts import SYNONYMS

GUEST_COMMAND = "exec"  # the one command whose words after ``--`` are not ours


def one_of(choices: Collection[str]) -> Callable[[str], str]:
    """An option's type that checks its environment variable too: argparse checks ``choices`` only as typed."""

    def check(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"invalid choice: {text!r} (choose from {', '.join(choices)})")
        return text

    return check


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, or ``""``."""
    from difflib import get_close_matches  # only when something is wrong

    found = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else ""


class CommandParser(argparse.ArgumentParser):
    """The parser of the whole command line, and of each command.

    Options must be written out: an abbreviation would change its meaning when an option is added.
    """

    # The argument that takes words after options too: argparse gives it only those that follow the machine's name.
    rest = ""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        keywords.setdefault("allow_abbrev", False)
        keywords.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(*args, **keywords)

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """Parse, or exit with 2 and an explanation on stderr."""
        words = list(sys.argv[1:] if args is None else args)
        words, rest = self._split(words)
        words = self._without_stdin(words)
        found, extra = self.parse_known_args(words, namespace)
        parser = self.commands().get(getattr(found, "command", None) or "", self)
        extra = parser.take_rest(extra, found)
        if extra:
            parser.explain_extra(extra, found)
        if found.command == GUEST_COMMAND:
            if not rest:
                parser.fail(
                    "exec needs a command after --",
                    hint=f"{parser.prog} {found.machine} -- COMMAND [ARGUMENT …]",
                )
            found.argv = rest
        return found

    def take_rest(self, extra: list[str], found: argparse.Namespace) -> list[str]:
        """Give `rest` the words that are left, as far as it takes them; the others."""
        action = next((one for one in self._actions if one.dest == self.rest), None)
        if action is None or not extra or any(word.startswith("-") and word != "-" for word in extra):
            return extra
        if action.nargs == "*":
            setattr(found, self.rest, [*getattr(found, self.rest), *extra])
            return []
        if getattr(found, self.rest) is None:
            try:
                setattr(found, self.rest, self._get_value(action, extra[0]))
            except argparse.ArgumentError as error:
                self.error(str(error))
            return extra[1:]
        return extra

    def commands(self) -> dict[str, CommandParser]:
        """The commands by every name they have; empty for the parser of a command."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction):
                return dict(action.choices)
        return {}

    def actions(self) -> list[argparse.Action]:
        """The options and arguments in the order of ``--help``, without those that are not shown."""
        return [action for action in self._actions if action.help != argparse.SUPPRESS]

    def _split(self, words: list[str]) -> tuple[list[str], list[str]]:
        """Our own words, and those of the guest command.

        argparse treats ``--`` differently in each version, so it never sees the ``--`` of `exec`.
        """
        if "--" not in words or self._command_in(words) != GUEST_COMMAND:
            return words, []
        at = words.index("--")
        return words[:at], words[at + 1 :]

    def _without_stdin(self, words: list[str]) -> list[str]:
        """ssh's ``-n`` of `exec` as the option it means here.

        ``-n`` is also short for ``--name NAME``. It is ssh's if no word is left to be its NAME: if the machine
        follows it, or nothing.
        """
        if self._command_in(words) != GUEST_COMMAND:
            return words
        command = self.commands()[GUEST_COMMAND]
        begin = self._free(words)[0] + 1
        for place in reversed(range(begin, len(words))):
            if words[place] == "-n":
                changed = [*words[:place], "--no-stdin", *words[place + 1 :]]
                if len(command._free(changed[begin:])) == 1:
                    return changed
        return words

    def _command_in(self, words: Sequence[str]) -> str:
        """The first word that is neither an option nor an option's value."""
        free = self._free(words)
        return words[free[0]] if free else ""

    def _free(self, words: Sequence[str]) -> list[int]:
        """The places of the words that are neither options nor options' values."""
        found, skip = [], False
        for place, word in enumerate(words):
            if skip:
                skip = False
            elif word.startswith("-"):
                action = self._option_string_actions.get(word)
                skip = action is not None and action.nargs is None
            else:
                found.append(place)
        return found

    # -------------------------------------------------------------- errors

    def error(self, message: str) -> NoReturn:
        """Turn argparse's sentence into an explanation; exit 2."""
        chosen = re.match(r"argument (\S+): invalid choice: '?(.*?)'? \(choose from", message)
        missing = re.match(r"the following arguments are required: (.*)", message)
        if chosen and chosen[1] == "COMMAND":
            self._unknown_command(chosen[2])
        if missing and missing[1] == "COMMAND":
            self.fail("no command is given", evidence=self._command_lines(), hint=f"{self.prog} COMMAND --help")
        if missing:
            self.fail(f"{self._own_name()} needs {missing[1]}", evidence=[self._usage()], hint=f"{self.prog} --help")
        if chosen:
            choices = self._choices_of(chosen[1])
            near = nearest(chosen[2], choices)
            self.fail(
                f"{chosen[1].rpartition('/')[2]}: {chosen[2]!r} is not among its choices{_meant(near)}",
                why=" ".join([f"choices are {', '.join(choices)}", *self._from_environment(message)]),
                hint=f"{self.prog} --help",
            )
        message = re.sub(r"^argument (?:-\w/)?", "", message)
        message = re.sub(r": expected one argument$", " needs a value", message)
        self.fail(message, why=" ".join(self._from_environment(message)), hint=f"{self.prog} --help")

    def explain_extra(self, extra: Sequence[str], found: argparse.Namespace) -> NoReturn:
        """Report unknown words; exit 2."""
        options = [word for word in extra if word.startswith("-")]
        if found.command == GUEST_COMMAND and extra[0] != "--" and (not options or extra[0] != options[0]):
            words = shlex.join(extra)
            self.fail(
                "exec needs -- before the command",
                why="so that the command's options are not taken for options of exec",
                hint=f"{self.prog} {found.machine} -- {words}",
            )
        if not options:
            self.fail(
                f"{self._own_name()} does not take {', '.join(repr(word) for word in extra)}",
                evidence=[self._usage()],
                hint=f"{self.prog} --help",
            )
        word = options[0].partition("=")[0]
        known = [name for name in self._option_string_actions if name.startswith("--")]
        self.fail(f"{self._own_name()} has no option {word}{_meant(nearest(word, known))}", hint=f"{self.prog} --help")

    def _unknown_command(self, word: str) -> NoReturn:
        known = self.commands()
        near = SYNONYMS.get(word) or nearest(word, known)
        self.fail(
            f"no command is named {word!r}{_meant(near)}",
            evidence=() if near else self._command_lines(),
            hint=f"{self.prog} {near}" if near else f"{self.prog} --help",
        )

    def _command_lines(self) -> list[str]:
        names = sorted({parser.prog.rpartition(" ")[2] for parser in self.commands().values()})
        half = (len(names) + 1) // 2
        return ["commands are " + ", ".join(names[:half]) + ",", "             " + ", ".join(names[half:])]

    def _choices_of(self, name: str) -> list[str]:
        wanted = name.split("/")
        for action in self._actions:
            if action.choices and (set(wanted) & {*action.option_strings, str(action.metavar), action.dest}):
                return [str(choice) for choice in action.choices]
        first = [action for action in self._actions if action.choices and not action.option_strings]
        return [str(choice) for choice in (first[0].choices or ())] if first else []

    def _from_environment(self, message: str) -> list[str]:
        """A sentence if the wrong value came from a variable and not from the command line."""
        for action in self._actions:
            variable = re.search(r"\[(ORCH_\w+)", action.help or "")
            value = os.environ.get(variable[1]) if variable else None
            if variable and value is not None and repr(value) in message:
                return [f"(the value is that of {variable[1]})"]
        return []

    def _own_name(self) -> str:
        return self.prog.rpartition(" ")[2]

    def _usage(self) -> str:
        return " ".join(self.format_usage().split())

    def fail(self, what: str, *, why: str = "", evidence: Iterable[str] = (), hint: str = "") -> NoReturn:
        """Explain on stderr, in the form of every other failure, and exit with 2."""
        from orchestrator.cli.progress_failure import render_failure, use_color

        error = {"what": what, "why": why, "evidence": list(evidence), "hint": hint}
        self.exit(2, render_failure(error, use_color(sys.stderr, False if "--no-color" in sys.argv else None)))


def _meant(near: str) -> str:
    return f" (did you mean {near}?)" if near else ""


class Adder(Protocol):
    """The type of the function that adds a command."""

    def __call__(self, name: str, help_text: str, aliases: tuple[str, ...] = ()) -> CommandParser: ...
