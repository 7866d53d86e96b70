"""The options of ``orchestrator matrix``."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from orchestrator.cli.argument_types import app_folder, count, layer_folder, variable
from orchestrator.cli.parser import Adder, CommandParser, one_of
from orchestrator.cli.shared_options import PROVIDERS, limit_option, runs_option
from orchestrator.topology.matrix_keys import MOST_SHARDS


def matrix_command(add: Adder) -> None:
    """The command itself."""
    matrix = add("matrix", "run the cells of a matrix: variants, images, layers, suites, shards")
    _axes(matrix)
    where = matrix.add_mutually_exclusive_group()
    where.add_argument(
        "--scheduler",
        type=scheduler,
        metavar="URL",
        help="run on the hosts of a Dask scheduler that is there already: tls://HOST:PORT",
    )
    where.add_argument(
        "--hosts",
        type=hosts,
        default=[],
        metavar="A,B",
        help="run on these hosts, as ssh names them; `local` is this one [this host alone]",
    )
    matrix.add_argument(
        "--remote-python",
        default="",
        metavar="PATH",
        help="the Python of the other hosts that has this program [that of the same path as here, else python3]",
    )
    matrix.add_argument("--cell", action="append", default=[], metavar="NAME", help="only this cell; may be repeated")
    matrix.add_argument("--dry-run", action="store_true", help="list the cells, run nothing")
    matrix.add_argument("--json", action="store_true", help="print cells or outcome as JSON on stdout")
    matrix.add_argument(
        "--resume",
        nargs="?",
        type=Path,
        const=Path(),
        default=None,
        metavar="FOLDER",
        help="go on with the matrix of a run folder [the latest below --runs]: cells that ended do not run again",
    )
    runs_option(matrix)
    limit_option(matrix, "--timeout", "ORCH_TIMEOUT", "3h", "limit of each cell")
    _passed_on(matrix)
    matrix.add_argument(
        "--durations",
        type=Path,
        metavar="FILE",
        help="seconds of earlier runs, as JSON by the cells' names: the longest begin first",
    )
    matrix.add_argument(
        "--all-evidence", action="store_true", help="bring all evidence home from other hosts, of cells that passed too"
    )


def _axes(matrix: CommandParser) -> None:
    group = matrix.add_argument_group(
        "axes", "An axis given here replaces that of [matrix]; `include` of the file is then left out."
    )
    group.add_argument(
        "--variant", action="append", default=[], dest="variants", metavar="V", help="a variant; may be repeated"
    )
    group.add_argument(
        "--images",
        type=one_of(PROVIDERS),
        action="append",
        default=[],
        choices=PROVIDERS,
        help="where images come from; may be repeated",
    )
    group.add_argument(
        "--layer",
        type=layer_folder,
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="a folder in place of a layer's source; each further one of the same layer is another cell",
    )
    group.add_argument(
        "--app", type=app_folder, action="append", dest="layer", metavar="DIR", help="the same as --layer app=DIR"
    )
    group.add_argument(
        "--suite", type=Path, action="append", default=[], dest="suites", metavar="DIR", help="a suite; may be repeated"
    )
    group.add_argument("--shards", type=shards, metavar="N", help="in how many cells the tests of each are divided")


def _passed_on(matrix: CommandParser) -> None:
    group = matrix.add_argument_group("options of `run` that all cells have")
    start = group.add_mutually_exclusive_group()
    start.add_argument("--fresh", action="store_true", help="cold starts")
    start.add_argument("--warm", action="store_true", help="start from a saved healthy state, or not at all")
    group.add_argument(
        "--isolate",
        choices=("none", "suite", "file", "test"),
        default="none",
        nargs="?",
        const="file",
        help="as of run",
    )
    group.add_argument("--grep", metavar="REGEX", help="only browser tests whose title matches")
    group.add_argument(
        "--env", type=variable, action="append", default=[], metavar="NAME[=VALUE]", help="a variable for the suite"
    )


def shards(text: str) -> int:
    """How many shards."""
    number = count(text)
    if not 1 <= number <= MOST_SHARDS:
        raise argparse.ArgumentTypeError(f"{text} is not a number of shards; write 1 to {MOST_SHARDS}")
    return number


def scheduler(text: str) -> str:
    """The address of a scheduler."""
    if not re.fullmatch(r"(tcp|tls)://[^/\s]+:[0-9]{1,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a scheduler; write tls://HOST:PORT")
    return text


def hosts(text: str) -> list[str]:
    """Names of hosts, as ssh takes them, with commas between them."""
    found = [one for one in text.split(",") if one]
    for one in found:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@:%\[\]-]*", one):
            raise argparse.ArgumentTypeError(f"{one!r} is not the name of a host; write HOST or USER@HOST")
    if not found or len(set(found)) < len(found):
        raise argparse.ArgumentTypeError(f"{text!r} does not name hosts, each once; write a,b")
    return found
