"""A script file: plain Python, or the testScript of a Nix file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.driver.testscript.nix_text import Problem, extract
from orchestrator.errors import UsageError


@dataclass(frozen=True, slots=True)
class Script:
    """A script that can be compiled.

    Attributes:
        path: absolute.
        shown: the path as it was given, for messages.
        text: of Python, its lines numbered as in the file.
        problems: what hinders to run it, found while it was read.
    """

    path: Path
    shown: str
    text: str
    problems: tuple[Problem, ...] = ()

    @property
    def name(self) -> str:
        """What its tests are listed under."""
        return self.path.stem

    def line(self, number: int) -> str:
        """A line of it, without the blanks around it."""
        lines = self.text.splitlines()
        return lines[number - 1].strip() if 0 < number <= len(lines) else ""


def load_script(path: Path) -> Script:
    """Read a script.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read", why=str(error)) from error
    if path.suffix == ".nix":
        extracted = extract(text)
        return Script(path.absolute(), str(path), extracted.text, extracted.problems)
    return Script(path.absolute(), str(path), text)
