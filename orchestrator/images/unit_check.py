"""Units of a recipe, looked at by systemd's own checker while the image is built: a typing error is told before a boot.

The checker is that of the image, with its libraries, taken out of the base layer without mounting it.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from orchestrator.deadline import Deadline
from orchestrator.images.manifest import LayerEntry
from orchestrator.images.recipe import Recipe
from orchestrator.images.recipe_load import UNIT_FOLDER
from orchestrator.process import run
from orchestrator.scratch import scratch

CHECKER: Final = "checker"  # in the base layer: units/ and what runs the program
PROGRAM: Final = "systemd-analyze"
_UNIT_FOLDERS = ("usr/lib/systemd/system", "etc/systemd/system")
_ELSEWHERE = re.compile(r"is not executable|Failed to (?:open|load) manual|man page")  # programs come by layers too


async def keep_checker(tree: Path, folder: Path, *, deadline: Deadline) -> None:
    """Keep the units and the checker of a new system in the base layer.

    Args:
        tree: the root of the new system.
        folder: of the base layer.
    """
    target = folder / CHECKER
    for name in _UNIT_FOLDERS:
        if not (tree / name).is_dir():
            return  # no system of systemd
        shutil.copytree(tree / name, target / "units" / name, symlinks=True, ignore_dangling_symlinks=True)
    loader = next(iter(sorted((tree / "usr/lib64").glob("ld-linux*"))), None) or next(
        iter(sorted((tree / "usr/lib").glob("ld-linux*"))), None
    )
    program = tree / "usr/bin" / PROGRAM
    if loader is None or not program.is_file():
        return
    argv = [str(loader), "--library-path", ":".join(_library_folders(tree)), "--list", str(program)]
    done = await run(argv, deadline=deadline, check=False)
    if done.code != 0:
        return  # of another processor than this host's: nothing can be run
    libraries = [Path(found) for found in re.findall(r"=> (/\S+)", done.stdout)]
    (target / "lib").mkdir(parents=True, exist_ok=True)
    for path in (loader, program, *libraries):
        shutil.copy(path, target / "lib" / (PROGRAM if path == program else path.name))
    (target / "loader").write_text(loader.name)


def _library_folders(tree: Path) -> list[str]:
    folders = [path for path in sorted((tree / "usr/lib").glob("*-linux-gnu")) if path.is_dir()]
    return [str(one) for folder in folders for one in (folder, folder / "systemd")] + [str(tree / "usr/lib/systemd")]


async def unit_problems(recipe: Recipe, entries: Iterable[LayerEntry], base: Path, *, deadline: Deadline) -> list[str]:
    """What the image's systemd does not take of the units and drop-ins of a recipe, each line with its place.

    Args:
        entries: everything that is written over the base layer.
        base: the folder of the base layer.
    """
    checker = base / CHECKER
    mine = [*recipe.units, *recipe.drop_ins]
    if not mine or not (checker / "loader").is_file():
        return []
    with scratch("units") as root:
        shutil.copytree(checker / "units", root, symlinks=True, dirs_exist_ok=True)
        for entry in entries:
            if entry.target.startswith(f"{UNIT_FOLDER}/"):
                _put(entry, root)
        loader = checker / "lib" / (checker / "loader").read_text()
        argv = [
            str(loader),
            "--library-path",
            str(checker / "lib"),
            str(checker / "lib" / PROGRAM),
            "verify",
            f"--root={root}",
            "--man=no",
            "--recursive-errors=no",
            *mine,
        ]
        done = await run(argv, deadline=deadline, check=False, env={**os.environ, "LC_ALL": "C.UTF-8"})
        lines = [line.replace(str(root), "") for line in done.stderr.splitlines()]
    return problems(recipe, lines)


def _put(entry: LayerEntry, root: Path) -> None:
    target = root / entry.target.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    if entry.source is not None:
        shutil.copyfile(entry.source, target)
    elif entry.to:
        target.symlink_to(entry.to)


def problems(recipe: Recipe, lines: Iterable[str]) -> list[str]:
    """What the checker said of the recipe's own units, each line with its place. Pure."""
    places = {unit: item.place for unit, item in (*recipe.drop_ins.items(), *recipe.units.items())}
    found = []
    for line in lines:
        named = next((unit for unit in sorted(places, key=len, reverse=True) if unit in line), None)
        if named is not None and not _ELSEWHERE.search(line):
            found.append(f"{places[named]}: {line.strip()}")
    return list(dict.fromkeys(found))
