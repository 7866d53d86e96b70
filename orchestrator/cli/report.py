"""``orchestrator report``: the reports of a run folder, written again from its events."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from orchestrator.errors import HostError, UsageError
from orchestrator.report.clones import FOLDER as CLONES
from orchestrator.report.clones import write_clones
from orchestrator.report.matrix import FOLDER as CELLS
from orchestrator.report.matrix import write_again
from orchestrator.report.write import write_report

PLAN = "matrix.json"
EVENTS = "events.jsonl"
PAGE = Path("report") / "index.html"


def run(arguments: argparse.Namespace) -> int:
    folder = run_folder(arguments.run, arguments.runs)
    if (arguments.serve or arguments.export) and not (folder / EVENTS).is_file():
        raise UsageError(
            f"{folder} is divided among other runs",
            where=[str(folder / (CLONES if (folder / CLONES).is_dir() else CELLS))],
            hint="orchestrator report with the folder of one of them",
        )
    if arguments.serve:
        from orchestrator.cli.serve import serve

        return serve(folder, folder, arguments)
    if arguments.export is not None:
        return _export(folder, arguments.export)
    try:
        outcome = _written(folder)
    except OSError as error:
        raise HostError(
            "the reports cannot be written",
            why=f"{error.strerror or error}: {error.filename or folder}",
            where=[str(folder)],
            hint="make the folder writable, or copy it and name the copy",
        ) from error
    if not arguments.quiet:
        sys.stderr.write(f"{folder.name}: {outcome or 'not finished'}\n")
    sys.stdout.write(f"{folder / PAGE}\n")
    return 0


def _written(folder: Path) -> str:
    """Write the reports of what the folder is; the outcome."""
    if (folder / CLONES).is_dir():
        return str(write_clones(folder)["outcome"])
    if (folder / CELLS).is_dir() or (folder / PLAN).is_file():
        return str(write_again(folder)["outcome"])
    return write_report(folder).outcome


def _export(folder: Path, format_: str) -> int:
    from orchestrator.report.export import export

    try:
        written = export(folder, format_)
    except OSError as error:
        raise HostError("the run cannot be exported", why=str(error), where=[str(folder)]) from error
    for path in written:
        sys.stdout.write(f"{path}\n")
    if not written:
        sys.stderr.write("nothing to export: nobody noted when the lines of a console arrived\n")
    return 0


def run_folder(given: Path | None, runs: Path) -> Path:
    """The folder that is meant, absolute, with links resolved.

    Raises:
        UsageError: there is none, or it is not a run folder.
    """
    asked = given if given is not None else runs / "latest"
    folder = asked.resolve()
    if not folder.is_dir():
        known = _runs_below(runs)
        raise UsageError(
            f"there is not a run folder {asked}",
            why="" if known else f"{runs.absolute()} contains no run",
            evidence=[f"there is {path}" for path in known],
            hint="orchestrator report FOLDER" if known else "orchestrator run, or --runs DIR",
        )
    if not (folder / EVENTS).is_file() and not (folder / CLONES).is_dir():
        raise UsageError(
            f"{asked} is not a run folder",
            why=f"it contains no {EVENTS}",
            where=[str(folder)],
            hint="name the folder of one run, such as runs/latest",
        )
    return folder


def _runs_below(runs: Path, limit: int = 5) -> list[Path]:
    """The newest run folders, newest first; their names begin with the time."""
    if not runs.is_dir():
        return []
    found = sorted(path for path in runs.iterdir() if not path.is_symlink() and (path / EVENTS).is_file())
    return found[: -limit - 1 : -1]
