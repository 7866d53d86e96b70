"""Options that a unit can also set by its environment: a drop-in then needs no command line."""

from __future__ import annotations

import os
from argparse import ArgumentParser
from collections.abc import Callable


def add_option(
    parser: ArgumentParser, prefix: str, name: str, kind: Callable[[str], object], default: object, text: str
) -> None:
    """Add ``name``; without it the variable ``PREFIX_NAME`` counts, then ``default``."""
    variable = f"{prefix}_{name.removeprefix('--').upper()}"
    # argparse reads a default that is a text as if it had been typed, and complains of it as of an option.
    given = os.environ.get(variable) or default
    parser.add_argument(name, type=kind, default=given, help=f"{text} [{default}]")
