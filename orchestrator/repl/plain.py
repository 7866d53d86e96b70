"""Python's own prompt, with history, and statements that come through a pipe."""

from __future__ import annotations

import code
import os
import sys
from codeop import compile_command
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import CodeType
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.repl.typed import Typed

CONTINUES = ("else", "elif", "except", "finally", "case")  # words that begin a line of a compound statement


def error_text(error: OrchestratorError) -> str:
    """An error of ours, without a traceback. Pure."""
    lines = [f"{type(error).__name__}: {error.what}"]
    lines += [f"  {line}" for line in error.why.splitlines()]
    lines += [f"  {line}" for line in error.evidence]
    lines += [f"  see {place}" for place in error.where]
    lines += [f"  next: {error.hint}"] if error.hint else []
    return "\n".join(lines) + "\n"


class PlainConsole(code.InteractiveConsole):
    """Runs statements and remembers those that did not fail.

    Attributes:
        failed: the last statement did.
    """

    def __init__(self, namespace: dict[str, Any], typed: Typed) -> None:
        super().__init__(namespace)
        self.failed = False
        self._typed = typed

    def runsource(self, source: str, filename: str = "<input>", symbol: str = "single") -> bool:
        """Run a source if it is complete; whether more is needed."""
        self.failed = False
        more = super().runsource(source, filename, symbol)
        if not more and not self.failed and source.strip():
            self._typed.add(source)
        return more

    def runcode(self, code: CodeType) -> None:
        """Run a statement; an interruption ends it and nothing else."""
        try:
            exec(code, self.locals)  # noqa: S102 - the user's own
        except SystemExit:
            raise
        except KeyboardInterrupt:
            self.failed = True
            self.write("interrupted\n")
        except OrchestratorError as error:
            self.failed = True
            self.write(error_text(error))
        except BaseException:  # noqa: BLE001 - whatever the user's statement raises
            self.showtraceback()

    def showtraceback(self) -> None:
        """Show what the user's statement raised."""
        self.failed = True
        super().showtraceback()

    def showsyntaxerror(self, filename: str | None = None, **keywords: Any) -> None:
        """Show what is no Python."""
        self.failed = True
        super().showsyntaxerror(filename, **keywords)


def interact(namespace: dict[str, Any], typed: Typed, banner: str, history: Path) -> int:
    """The prompt, until Ctrl-D or ``exit()``; the exit code.

    Args:
        history: the file of the lines typed, of this user alone.
    """
    console = PlainConsole(namespace, typed)
    _use_readline(namespace, history)
    try:
        console.interact(banner, exitmsg="")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        _write_history(history)
    return 0


def run_piped(lines: Iterable[str], namespace: dict[str, Any], typed: Typed) -> int:
    """Run statements as they come; the exit code: 1 after the first that fails, and nothing else is run then."""
    console = PlainConsole(namespace, typed)
    more = False
    try:
        for line in lines:
            text = line.rstrip("\n")
            # At Python's prompt a block ends at an empty line. In a script it ends where the next statement begins.
            if more and _begins_statement(text) and _complete(console.buffer):
                more = console.push("")
                if console.failed:
                    return 1
            more = console.push(text)
            if console.failed:
                return 1
        if more:
            console.push("")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    if console.buffer:
        console.write(f"the last statement is not complete: {console.buffer[0]}\n")
        return 1
    return int(console.failed)


def _begins_statement(line: str) -> bool:
    word = line.split(maxsplit=1)[0].rstrip(":") if line.strip() else ""
    return bool(word) and not line[0].isspace() and word not in CONTINUES


def _complete(buffer: list[str]) -> bool:
    """Whether an empty line would end what was typed so far."""
    try:
        return compile_command("\n".join([*buffer, ""]), "<input>", "single") is not None
    except (SyntaxError, ValueError, OverflowError):
        return True


def private_file(path: Path) -> None:
    """Make a file that only this user can read, where it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
    path.chmod(0o600)


def _use_readline(namespace: dict[str, Any], history: Path) -> None:
    with suppress(ImportError, OSError):
        import readline
        import rlcompleter

        readline.set_completer(rlcompleter.Completer(namespace).complete)
        readline.parse_and_bind("tab: complete")
        private_file(history)
        readline.read_history_file(history)


def _write_history(history: Path) -> None:
    with suppress(ImportError, OSError):
        import readline

        readline.set_history_length(10_000)
        readline.write_history_file(history)
        history.chmod(0o600)


def is_interactive() -> bool:
    """Whether a person types."""
    return sys.stdin.isatty()
