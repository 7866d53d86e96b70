"""The types of command-line values: each makes a value of a text, or says what to write instead."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.plugin_names import extension_names
from orchestrator.quantities import parse_duration

LONGEST_NAME = 31  # of an environment: it is part of socket names


def env(flag_variable: str, default: str) -> str:
    """An option's default, from its environment variable; argparse converts it with the option's type, as if typed."""
    return os.environ.get(flag_variable) or default


def duration(text: str) -> float:
    """A time above 0, in seconds: ``90``, ``90s``, ``10m``, ``1h30m``, ``7d``."""
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if found <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration: it is not above 0")
    return found


def count(text: str) -> int:
    """A whole number from 0."""
    if not re.fullmatch(r"[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def clones(text: str) -> int:
    """A number of environments, 2 to 64."""
    number = count(text)
    if not 2 <= number <= 64:
        raise argparse.ArgumentTypeError(f"{text} is not a number of clones; write 2 to 64")
    return number


def port(text: str) -> int:
    """A TCP port."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port; write 1 to 65535")
    return int(text)


def variable(text: str) -> str:
    """``NAME=VALUE``, or ``NAME`` for the value in our own environment."""
    name, given, _ = text.partition("=")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise argparse.ArgumentTypeError(f"{name!r} is not the name of a variable; write NAME=VALUE")
    if not given and name not in os.environ:
        raise argparse.ArgumentTypeError(f"{name} is not set in this shell; write {name}=VALUE")
    return text


def layer_folder(text: str) -> str:
    """``NAME=DIR``: a folder for a layer."""
    name, given, folder = text.partition("=")
    if not name or not given or not folder:
        raise argparse.ArgumentTypeError(f"{text!r} is not a layer and a folder; write NAME=DIR")
    return text


def app_folder(text: str) -> str:
    """``DIR``, as the folder of the layer ``app``."""
    return f"app={text}"


def layers_of(arguments: argparse.Namespace) -> dict[str, Path]:
    """The folders that ``--layer`` and ``--app`` name, by layer.

    Raises:
        UsageError: one layer has two.
    """
    found: dict[str, Path] = {}
    for one in arguments.layer or ():
        name, _, folder = one.partition("=")
        if name in found:
            raise UsageError(
                f"--layer {name} is given twice",
                why=f"{found[name]} and {folder} cannot both be in its place",
                hint="--app DIR is the same as --layer app=DIR",
            )
        found[name] = Path(folder)
    return found


def shard(text: str) -> str:
    """``2/3``: the second of three parts."""
    found = re.fullmatch(r"([1-9][0-9]{0,3})/([1-9][0-9]{0,3})", text)
    if not found or int(found[1]) > int(found[2]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shard; write 1/3, 2/3 or 3/3")
    return text


def environment_name(text: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", text) or len(text) > LONGEST_NAME:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an environment name; write lower-case letters, digits, hyphens"
        )
    return text


class Providers(tuple[str, ...]):
    """The values of ``--images``: ours are shown, those of other installed packages are good too."""

    __slots__ = ()

    def __contains__(self, word: object) -> bool:
        return super().__contains__(word) or word in extension_names("orchestrator.images")
