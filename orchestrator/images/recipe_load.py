"""Reads a recipe with all that it includes: files beside it, templates, and the bases that the package ships."""

from __future__ import annotations

import json
import platform
import tomllib
from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from orchestrator.errors import RecipeError, TopologyError
from orchestrator.images.recipe import Place, Recipe
from orchestrator.images.recipe_read import Draft, FileReader
from orchestrator.images.recipe_templates import SUFFIX, render
from orchestrator.quantities import MIB
from orchestrator.topology.document import Problems, parse, quote, suggest

BASES: Final = Path(__file__).with_name("bases")
BUILT_IN: Final = "orchestrator:"
DEFAULTS: Final[Mapping[str, str | int]] = {
    "suite": "trixie",
    "mirror": "http://deb.debian.org/debian",
    "size": 2 << 30,
    "memory": 1024,
    "cpus": 1,
}
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def base_names() -> list[str]:
    """The built-in bases, as `include` names them."""
    return sorted(f"{BUILT_IN}{path.stem}" for path in BASES.glob("*.toml"))


def load_recipe(path: Path, *, variant: str = "") -> Recipe:
    """Read a recipe and what it includes.

    Lists of included files come first and are joined, tables are merged, single values of the including file win.

    Args:
        variant: of the topology, for templates.

    Raises:
        RecipeError: a file is missing or not TOML, a key is unknown or of the wrong type, a source does not exist; all
            of it at once, each with its place.
    """
    loader = _Loader(variant)
    loader.file(path, ())
    recipe = _recipe(path, loader.draft)
    lines = [*loader.lines, *_twice(recipe)]
    if lines:
        count = "a problem" if len(lines) == 1 else f"{len(lines)} problems"
        raise RecipeError(
            f"the recipe {path} has {count}",
            where=[str(path)],
            hint="correct the lines named here, then run `orchestrator validate`",
            evidence=lines,
        )
    return recipe


class _Loader:
    """The files of one recipe, read into one draft."""

    def __init__(self, variant: str) -> None:
        self.draft = Draft(variables={"variant": variant})
        self.lines: list[str] = []
        self._read: set[Path] = set()

    def file(self, path: Path, above: tuple[Path, ...]) -> None:
        """Read a file, after what it includes; one that was read already is not read again."""
        if path in above:
            raise RecipeError(f"the recipe {path} includes itself", where=[str(one) for one in above])
        if path in self._read:
            return
        self._read.add(path)
        text, shown = self._text(path, above)
        problems = Problems(shown)
        try:
            reader = FileReader(parse(text, problems), problems, path.parent)
        except TopologyError as error:  # no TOML: there is nothing to go on with
            raise RecipeError(f"the recipe {shown} is not TOML", evidence=error.evidence, where=[str(path)]) from error
        if not above:
            self.draft.single["name"] = path.name.split(".")[0]
        reader.single(self.draft)  # templates can ask for them; read again below, for those of the including file win
        self._variables(reader)
        for node, name in reader.includes():
            try:
                self.file(_included(name, path.parent), (*above, path))
            except FileNotFoundError as error:
                problems.add(node.at, str(error))
        reader.into(self.draft)
        self.lines += problems.lines()

    def _text(self, path: Path, above: tuple[Path, ...]) -> tuple[str, Path]:
        """The text of a recipe, and what its lines are called."""
        if path.suffix == SUFFIX:
            return render(path, _single(self.draft) | self.draft.variables), path.with_name(f"{path.name} (filled in)")
        try:
            return path.read_bytes().removeprefix(BOM_UTF8).decode(), path
        except FileNotFoundError as error:
            where = [str(above[-1])] if above else []
            raise RecipeError(f"there is no recipe {path}", where=where) from error
        except OSError as error:
            raise RecipeError(f"the recipe {path} cannot be read", why=error.strerror or str(error)) from error
        except UnicodeDecodeError as error:
            raise RecipeError(f"the recipe {path} is not TOML", why=str(error), where=[str(path)]) from error

    def _variables(self, reader: FileReader) -> None:
        """Those of the including files are there already, and win."""
        own = dict(reader.variables())
        for name, place, path in reader.data_files():
            try:
                own[name] = _data(path)
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else str(error)
                self.lines.append(f"{place}: data {quote(name)}: {path}: {why}")
        self.draft.variables = own | self.draft.variables


def _included(name: str, folder: Path) -> Path:
    """The file that `include` means."""
    if name.startswith(BUILT_IN):
        found = BASES / f"{name.removeprefix(BUILT_IN)}.toml"
        if not found.is_file():
            known = base_names()
            raise FileNotFoundError(
                f"there is no base {quote(name)}{suggest(name, known)}; there are {', '.join(known)}"
            )
        return found
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"there is no recipe {path}")
    return path.resolve()


def _data(path: Path) -> object:
    text = path.read_bytes().removeprefix(BOM_UTF8).decode()
    return json.loads(text) if path.suffix == ".json" else tomllib.loads(text)


def _single(draft: Draft) -> dict[str, object]:
    """The single values so far, or what holds without them."""
    return {"architecture": _ARCHITECTURES.get(platform.machine(), "amd64"), **DEFAULTS, **draft.single}


def _recipe(path: Path, draft: Draft) -> Recipe:
    single = _single(draft)
    return Recipe(
        path=path,
        name=str(single["name"]),
        suite=str(single["suite"]),
        architecture=str(single["architecture"]),
        mirror=str(single["mirror"]),
        packages=dict(sorted(draft.packages.items())),
        dpkg_exclude=tuple(dict.fromkeys(draft.dpkg_exclude)),
        apt=draft.apt,
        size=int(str(single["size"])),
        memory=int(str(single["memory"])),
        cpus=int(str(single["cpus"])),
        kernel_parameters=tuple(draft.kernel_parameters),
        groups=draft.groups,
        users=draft.users,
        run=draft.run,
        files=draft.files,
        folders=draft.folders,
        links=draft.links,
        units=draft.units,
        drop_ins=draft.drop_ins,
        enable=draft.enable,
        disable=draft.disable,
        mask=draft.mask,
        npm=draft.npm,
        python=draft.python,
        variables=single | draft.variables,
        layer=draft.layer,
    )


UNIT_FOLDER: Final = "/etc/systemd/system"


def _twice(recipe: Recipe) -> Iterator[str]:
    """Everything that stands in another's place."""
    seen: dict[str, Place] = {}
    named: list[tuple[str, Place]] = [
        *((target, item.place) for target, item in recipe.files.items()),
        *((target, item.place) for target, item in recipe.folders.items()),
        *((target, item.place) for target, item in recipe.links.items()),
        *((f"{UNIT_FOLDER}/{unit}", item.place) for unit, item in recipe.units.items()),
        *((f"{UNIT_FOLDER}/{unit}", place) for unit, place in recipe.mask.items()),
    ]
    for target, place in named:
        if target in seen:
            yield f'{place}: {quote(target)} is also at {seen[target]}; "absent" takes one away'
        seen[target] = place
    for target, item in recipe.files.items():
        if item.early and (item.ownership.owner, item.ownership.group) != ("root", "root"):
            yield f"{item.place}: {quote(target)}: an early file is owned by root; there are no other users yet"
    if recipe.size < 64 * MIB and recipe.packages:
        yield f"{recipe.path}: size: {recipe.size // MIB} MiB are too few for any package; at least 64MiB"
