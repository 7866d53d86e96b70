"""``orchestrator matrix``: many runs as one, on one host or several."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from orchestrator.cli.matrix_run import MatrixRun, hosts_of
from orchestrator.cli.report import run_folder
from orchestrator.cli.run_folder import print_summary
from orchestrator.cli.runtime import run_command, say
from orchestrator.codec import encode
from orchestrator.debug import debug_log
from orchestrator.environment.paths import new_run_folder
from orchestrator.errors import UsageError
from orchestrator.fleet.cells import Cell, cells_of
from orchestrator.fleet.durations import DurationsFile, known_seconds
from orchestrator.fleet.journal import MatrixPlan, only_one, read_plan, write_plan
from orchestrator.fleet.needs import NOTHING, Needs
from orchestrator.fleet.settings import configure_dask
from orchestrator.scratch import scratch
from orchestrator.text import clean, duration_text, json_text
from orchestrator.topology.load import load_topology
from orchestrator.topology.model import Topology
from orchestrator.topology.read_matrix import Matrix, load_matrix

NAME_ROOM = 17  # characters of the topology's name in those of environments: they have at most 31


def run(arguments: argparse.Namespace) -> int:
    folder = _resumed(arguments)
    plan = read_plan(folder) if folder is not None else plan_of(arguments)
    topologies = topologies_of(plan)
    needs = needs_of(plan, topologies)
    durations = DurationsFile(arguments.durations) if arguments.durations else None
    seconds = known_seconds(durations, [cell.id for cell in plan.cells])
    if arguments.dry_run:
        _list(plan.cells, needs, seconds, as_json=arguments.json)
        return 0
    configure_dask()
    if folder is None:
        folder = new_run_folder(arguments.runs)
        plan = replace(plan, run=folder.name)
        write_plan(folder, plan)
    debug_log.write_to(folder)
    with only_one(folder), scratch("fleet") as sockets:
        hosts = hosts_of(arguments, plan, topologies, folder, sockets)
        matrix = MatrixRun(
            with_values(plan), folder, needs, seconds, hosts, arguments.all_evidence, arguments.scheduler or ""
        )
        try:
            code = run_command(arguments, matrix.run)
        finally:
            say(f"report: {folder / 'report' / 'index.html'}")
    if arguments.json:
        print_summary(folder, code)
    return code


def _resumed(arguments: argparse.Namespace) -> Path | None:
    if arguments.resume is None:
        return None
    return run_folder(None if arguments.resume == Path() else arguments.resume, arguments.runs)


def plan_of(arguments: argparse.Namespace) -> MatrixPlan:
    """What is to run, from the file and the command line."""
    file: Path = arguments.file
    matrix = with_axes(load_matrix(file), arguments)
    cells = _chosen(cells_of(matrix), arguments.cell)
    topology = load_topology(file)
    words = [f"--env={name.partition('=')[0]}" for name in arguments.env]
    words += [f"--grep={arguments.grep}"] if arguments.grep else []
    words += [f"--isolate={arguments.isolate}"] if arguments.isolate != "none" else []
    words += [f"--{one}" for one in ("fresh", "warm") if getattr(arguments, one)]
    given = [one.partition("=") for one in arguments.env]
    return MatrixPlan(
        run="",
        name=f"{(arguments.name or topology.name)[:NAME_ROOM].rstrip('-')}-{os.urandom(2).hex()}",
        topology=topology.path,
        cells=tuple(cells),
        command=matrix.command,
        words=tuple(words),
        variables={name: value for name, sign, value in given if sign},
        inherited=tuple(name for name, sign, _ in given if not sign),
        limit=arguments.timeout,
    )


def with_values(plan: MatrixPlan) -> MatrixPlan:
    """The plan with the values of inherited variables, for hosts and not for a file.

    Raises:
        UsageError: one is not set now, as may be with ``--resume``.
    """
    unset = [name for name in plan.inherited if name not in os.environ]
    if unset:
        raise UsageError(f"{unset[0]} is not set in this shell", why=f"the cells run with --env {unset[0]}")
    return replace(plan, variables={**plan.variables, **{name: os.environ[name] for name in plan.inherited}})


def with_axes(matrix: Matrix, arguments: argparse.Namespace) -> Matrix:
    """The matrix with the axes of the command line in place of the file's."""
    here = Path.cwd()
    layers: dict[str, list[Path]] = {}
    for one in arguments.layer:
        name, _, folder = one.partition("=")
        layers.setdefault(name, []).append(Path(os.path.normpath(here / folder)))
    given = {
        "variants": tuple(arguments.variants),
        "images": tuple(arguments.images),
        "layers": {**matrix.layers, **{name: tuple(folders) for name, folders in layers.items()}} if layers else {},
        "suites": tuple(Path(os.path.normpath(here / one)) for one in arguments.suites),
        "shards": arguments.shards,
    }
    changed = {key: value for key, value in given.items() if value}
    return replace(matrix, **changed, include=()) if changed else matrix


def _chosen(cells: list[Cell], names: Sequence[str]) -> list[Cell]:
    unknown = [name for name in names if name not in {cell.id for cell in cells}]
    if unknown:
        raise UsageError(
            f"the matrix has no cell {unknown[0]}",
            evidence=[f"there is {cell.id}" for cell in cells[:20]],
            hint="orchestrator matrix --dry-run",
        )
    return [cell for cell in cells if cell.id in names] if names else cells


def topologies_of(plan: MatrixPlan) -> dict[tuple[object, ...], Topology]:
    """The topology of each cell, by what its shards have in common.

    Raises:
        UsageError: one has nothing to run.
    """
    found: dict[tuple[object, ...], Topology] = {}
    for cell in plan.cells:
        if cell.whole not in found:
            topology = load_topology(plan.topology, variant=cell.variant, layers=cell.layers, suite=cell.suite)
            if topology.suite is None and not plan.command:
                raise UsageError(
                    f"the topology has no [suite] in cell {cell.id}",
                    where=[str(topology.path)],
                    hint="docs/topology.md",
                )
            found[cell.whole] = topology
    return found


def needs_of(plan: MatrixPlan, topologies: Mapping[tuple[object, ...], Topology]) -> dict[str, Needs]:
    """What each cell needs of a host. A command of one's own starts what it likes: nothing is known of it."""
    return {cell.id: NOTHING if plan.command else Needs.of(topologies[cell.whole]) for cell in plan.cells}


def _list(cells: Sequence[Cell], needs: Mapping[str, Needs], seconds: Mapping[str, float], *, as_json: bool) -> None:
    if as_json:
        listed = [
            {**encode(cell), **encode(needs[cell.id]), "seconds": seconds.get(cell.id), "words": cell.words()}
            for cell in cells
        ]
        sys.stdout.write(json_text(listed, indent=2) + "\n")
        return
    width = max(len(cell.id) for cell in cells)
    for cell in cells:
        need = needs[cell.id]
        known = f"  {duration_text(seconds[cell.id])}" if cell.id in seconds else ""
        size = f"{need.memory} MiB, {need.processors} processors" if need.memory else "a command"
        sys.stdout.write(f"{cell.number:>4}  {clean(cell.id, 100):<{width}}  {size}{known}\n")
