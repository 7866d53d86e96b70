"""``orchestrator add``: a machine, a service or a check for the topology, validated before anything is written."""

from __future__ import annotations

import argparse
import shlex
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.atomic import write_atomically
from orchestrator.errors import HostError, TopologyError, UsageError
from orchestrator.scaffold import entries
from orchestrator.scaffold.edit import added, block, diff
from orchestrator.scaffold.entries import Entry, MachineOptions, ServiceOptions
from orchestrator.topology.document import read
from orchestrator.topology.load import load_variants

# Option → the entries that have it; argparse knows one list for all.
OPTIONS = {
    "image": ("machine",),
    "recipe": ("machine",),
    "network": ("machine",),
    "address": ("machine",),
    "cpus": ("machine",),
    "memory": ("machine",),
    "port": ("machine",),
    "machine": ("service",),
    "unit": ("service", "check"),
    "kind": ("service",),
    "depends_on": ("service",),
    "description": ("service",),
    "timeout": ("service", "check"),
    "service": ("check",),
    "http": ("check",),
    "tcp": ("check",),
    "exec": ("check",),
    "exists": ("check",),
    "dns": ("check",),
    "status": ("check",),
    "contains": ("check",),
    "user": ("check",),
    "stdout": ("check",),
    "origin": ("check",),
}
_WRITTEN = {"exists": "file", "origin": "from"}  # option → key, where an option of that name means something else


def run(arguments: argparse.Namespace) -> int:
    path: Path = arguments.file
    given = _given(arguments)
    load_variants(path)  # what is wrong already is no fault of this command
    before = read(path)
    entry = make_entry(tomllib.loads(before), arguments.what, arguments.entry, given)
    after = added(before, entry)
    try:
        load_variants(path, text=after)
    except TopologyError as error:
        raise UsageError(
            f"the topology would be wrong with this {arguments.what}",
            why="\n".join(error.evidence) or error.what,
            evidence=block(entry).splitlines(),
            where=[str(path)],
            hint="give other values; nothing was written",
        ) from error
    change = diff(before, after, str(path))
    if arguments.dry_run:
        sys.stdout.write(change)
        return 0
    try:
        write_atomically(path.resolve(), after, mode=path.stat().st_mode & 0o777)
    except OSError as error:
        raise HostError(f"{path} cannot be written", why=str(error), where=[str(path)]) from error
    if not arguments.quiet:
        lines = [line[1:] for line in change.splitlines()[2:] if line.startswith("+") and line != "+"]
        sys.stdout.write(f"{path}:\n" + "".join(f"  {line}\n" for line in lines))
        if arguments.recipe and not (path.parent / arguments.recipe).exists():
            sys.stderr.write(
                f"note: there is no {arguments.recipe} yet; "
                'a recipe of an empty machine is the line include = ["orchestrator:base"]\n'
            )
    return 0


def make_entry(data: Mapping[str, Any], what: str, name: str, given: Mapping[str, Any]) -> Entry:
    """The table that the options describe. Pure.

    Args:
        data: the topology file.
        given: the options that were given, by the name argparse stores them under.
    """
    makers: dict[str, Callable[[], Entry]] = {
        "machine": lambda: entries.machine(data, name, _machine_options(given)),
        "service": lambda: entries.service(data, name, ServiceOptions(**given)),
        "check": lambda: entries.check(data, name, given.get("service"), _check_keys(given)),
    }
    return makers[what]()


def _machine_options(given: Mapping[str, Any]) -> MachineOptions:
    ports = given.get("port", ())
    return MachineOptions(**{key: value for key, value in given.items() if key != "port"}, ports=ports)


def _check_keys(given: Mapping[str, Any]) -> dict[str, Any]:
    keys = {_WRITTEN.get(key, key): value for key, value in given.items() if key != "service"}
    if "exec" in keys:
        try:
            keys["exec"] = shlex.split(keys["exec"])
        except ValueError as error:
            raise UsageError(f"--exec cannot be divided into words: {error}", hint="close each quote") from error
    return keys


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of the command line.

    Raises:
        UsageError: some belong to another kind of entry; all of them are named.
    """
    given = {name: getattr(arguments, name) for name in OPTIONS if getattr(arguments, name) is not None}
    foreign = [name for name in given if arguments.what not in OPTIONS[name]]
    if foreign:
        shown = {"origin": "from"}
        raise UsageError(
            f"a {arguments.what} has no "
            + ", ".join(f"--{shown.get(name, name).replace('_', '-')}" for name in foreign),
            evidence=[
                f"--{shown.get(name, name).replace('_', '-')}: of a {' or '.join(OPTIONS[name])}" for name in foreign
            ],
            hint="orchestrator add --help",
        )
    return given
