"""``orchestrator completion``: scripts for bash, zsh, fish and tcsh, made from the argparse tree.

What only the host knows (machines, services, units, variants, environments)
the scripts ask for with ``orchestrator completion names KIND …``, which reads the state
file and the topology file, starts nothing and never complains.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

from orchestrator.folders import state_root


def run(arguments: argparse.Namespace) -> int:
    if arguments.shell == "names":
        pairs = list(names(arguments.file, arguments.name))
        wanted = arguments.kinds
        lines = [f"{kind}\t{name}" for kind, name in pairs if not wanted]
        lines += [name for kind, name in pairs if kind in wanted]
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        return 0
    from orchestrator.cli.arguments import build_parser
    from orchestrator.cli.completion_scripts import script

    sys.stdout.write(script(build_parser(), arguments.shell))
    return 0


def names(file: Path, environment: str | None) -> Iterator[tuple[str, str]]:
    """Pairs of kind and name: what is deployed, or else what the topology file says.

    Whatever cannot be read is left out: an error message in the middle of a
    half-typed line helps nobody.
    """
    topology = _toml(file)
    folder = state_root() / "environments"
    known = sorted(path.name for path in folder.glob("*") if path.is_dir()) if folder.is_dir() else []
    own = topology.get("name")
    for name in dict.fromkeys([*known, *([own] if isinstance(own, str) else [])]):
        yield "environment", name
    for name in _table(topology, "variants"):
        yield "variant", name
    chosen = environment or (own if isinstance(own, str) else known[0] if len(known) == 1 else "")
    deployed = _table(_json(folder / chosen / "state.json"), "topology") if chosen else {}
    source = deployed or topology
    for name in _table(source, "machines"):
        yield "machine", name
    for name in _table(source, "networks"):
        yield "network", name
    units = []
    for name, service in _table(source, "services").items():
        yield "service", name
        if isinstance(service, Mapping) and isinstance(service.get("unit"), str):
            units.append(service["unit"])
    for unit in dict.fromkeys(units):
        yield "unit", unit


def _toml(path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}


def _json(path: Path) -> Mapping[str, object]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


def _table(data: Mapping[str, object], key: str) -> Mapping[str, object]:
    found = data.get(key)
    return found if isinstance(found, dict) else {}
