"""A Debian recipe: the TOML file that describes a machine's image.

Loading is the only I/O; a `Recipe` is frozen data and its key a pure function.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from orchestrator.errors import ImageError
from orchestrator.quantities import MIB, parse_size

_KEYS = frozenset(
    [
        "name",
        "include",
        "suite",
        "mirror",
        "packages",
        "dpkg_exclude",
        "size",
        "memory",
        "cpus",
        "kernel_parameters",
        "before",
        "customize",
        "layer",
    ]
)


@dataclass(frozen=True, slots=True)
class EarlyFile:
    """A file that exists before the packages are installed."""

    path: str
    content: str
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Layer:
    """The program that renders the application layer.

    It is called as ``python PROGRAM ARGUMENTS --variant V --out DIR`` and writes
    ``manifest.json`` into DIR (orchestrator.images.manifest).
    """

    program: Path
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image is made of.

    Attributes:
        size: of the root file system, bytes.
        memory: MiB (in the file also a size with its unit), cpus: what the run script asks for by itself.
        customize: shell script, run as root inside the new system.
        layer: the application layer, or None.
    """

    path: Path
    name: str
    suite: str
    mirror: str
    packages: tuple[str, ...]
    dpkg_exclude: tuple[str, ...]
    size: int
    memory: int
    cpus: int
    kernel_parameters: tuple[str, ...]
    before: tuple[EarlyFile, ...]
    customize: str
    layer: Layer | None

    def base_key(self, builder: str) -> str:
        """Changes with the base layer: covers all but the layer and the values that only the run script uses."""
        data = asdict(self)
        for name in ("path", "layer", "memory", "cpus", "kernel_parameters"):
            del data[name]
        return digest({"builder": builder, **data})


def digest(data: object) -> str:
    """SHA-256 of JSON-ready data, the order of keys aside."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


def load_recipe(path: Path) -> Recipe:
    """Read a recipe and what it includes.

    Lists of included files come first and are joined; single values of the including file win.

    Raises:
        ImageError: the file is missing or not TOML, a key is unknown, missing or of the wrong type.
    """
    data = _merged(path, ())
    problems: list[str] = []

    def text(key: str, default: str | None = None) -> str:
        value = data.get(key, default)
        if not isinstance(value, str):
            problems.append(f"{key}: expected a string")
            return ""
        return value

    def number(key: str, default: int) -> int:
        value = data.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            problems.append(f"{key}: expected an integer from 1")
            return default
        return value

    def texts(key: str) -> tuple[str, ...]:
        value = data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            problems.append(f"{key}: expected a list of strings")
            return ()
        return tuple(value)

    def size(key: str, default: str | None = None) -> int:
        try:
            found = parse_size(text(key, default))
        except ValueError:
            found = 0
        if found < MIB:
            problems.append(f'{key}: expected a size from 1MiB, like "512MiB" or "3GiB"')
        return found

    problems += [f"{key}: unknown key" for key in sorted(set(data) - _KEYS)]
    recipe = Recipe(
        path=path,
        name=text("name"),
        suite=text("suite"),
        mirror=text("mirror", "http://deb.debian.org/debian"),
        packages=tuple(sorted(set(texts("packages")))),
        dpkg_exclude=texts("dpkg_exclude"),
        size=size("size"),
        memory=number("memory", 1024) if isinstance(data.get("memory"), int) else size("memory", "1GiB") // MIB,
        cpus=number("cpus", 1),
        kernel_parameters=texts("kernel_parameters"),
        before=_early_files(data.get("before", []), problems),
        customize=_customize(data.get("customize", {}), problems),
        layer=_layer(data.get("layer"), path.parent, problems),
    )
    if problems:
        raise ImageError(f"the recipe {path} is wrong", evidence=problems, where=[str(path)])
    return recipe


def _customize(steps: object, problems: list[str]) -> str:
    """The scripts of a table, one after the other."""
    if not isinstance(steps, dict) or not all(isinstance(step, str) for step in steps.values()):
        problems.append("customize: expected a table of shell scripts")
        return ""
    return "\n".join(step.strip("\n") for step in steps.values())


def _merged(path: Path, above: tuple[Path, ...]) -> dict[str, object]:
    if path in above:
        raise ImageError(f"the recipe {path} includes itself", where=[str(one) for one in above])
    try:
        data: dict[str, object] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        where = [str(above[-1])] if above else []
        raise ImageError(f"there is no recipe {path}", where=where) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ImageError(f"the recipe {path} is not TOML", why=str(error), where=[str(path)]) from error
    result: dict[str, object] = {}
    includes = data.pop("include", [])
    if not isinstance(includes, list):
        raise ImageError(f"the recipe {path} is wrong", evidence=["include: expected a list of file names"])
    for name in includes:
        _merge(result, _merged((path.parent / str(name)).resolve(), (*above, path)))
    _merge(result, data)
    return result


def _merge(into: dict[str, object], data: Mapping[str, object]) -> None:
    for key, value in data.items():
        old = into.get(key)
        if isinstance(old, list) and isinstance(value, list):
            into[key] = old + value
        elif isinstance(old, dict) and isinstance(value, dict):
            into[key] = {**old, **value}
        else:
            into[key] = value


def _early_files(value: object, problems: list[str]) -> tuple[EarlyFile, ...]:
    files = []
    for item in value if isinstance(value, list) else [None]:
        if not isinstance(item, dict) or not isinstance(item.get("path"), str) or "content" not in item:
            problems.append("before: expected tables with path, content and optionally mode")
            continue
        mode = str(item.get("mode", "0644"))
        if not re.fullmatch(r"0[0-7]{3}", mode) or not str(item["path"]).startswith("/"):
            problems.append(f"before: {item['path']}: expected an absolute path and a mode like 0644")
            continue
        files.append(EarlyFile(str(item["path"]), str(item["content"]).lstrip("\n"), int(mode, 8)))
    return tuple(files)


def _layer(value: object, folder: Path, problems: list[str]) -> Layer | None:
    if value is None:
        return None
    if not isinstance(value, dict) or not isinstance(value.get("program"), str):
        problems.append("layer: expected a table with program (and arguments)")
        return None
    arguments = value.get("arguments", [])
    if not isinstance(arguments, list) or not all(isinstance(item, str) for item in arguments):
        problems.append("layer.arguments: expected a list of strings")
        return None
    return Layer(folder / value["program"], tuple(arguments))
