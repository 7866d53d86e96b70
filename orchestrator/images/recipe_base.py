"""The base layer of a recipe as texts: its key, the early files, the script that is run in the new system. Pure.

Each step of the script says its name first, so that a failure can name the line of the recipe.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Final

from orchestrator.images.recipe import FileItem, FolderItem, LinkItem, Place, Recipe, User, digest
from orchestrator.images.recipe_templates import render

STEP: Final = "orchestrator: step "  # before the name of what is run, in the log
KEYRINGS: Final = "/etc/apt/keyrings"
# The sentences of apt about what it does not find.
_MISSING = re.compile(
    r"E: (?:Unable to locate package (\S+)|Package '([^']+)' has no installation candidate"
    r"|(?:Version|Release) '[^']*' for '([^']+)' was not found)"
)


def base_key(recipe: Recipe, builder: str) -> str:
    """Changes with the base layer: covers all but the files and the values that only the run script uses."""
    return digest(
        {
            "builder": builder,
            "name": recipe.name,
            "suite": recipe.suite,
            "architecture": recipe.architecture,
            "mirror": recipe.mirror,
            "packages": list(recipe.packages),
            "dpkg_exclude": recipe.dpkg_exclude,
            "apt": [source_line(recipe, name) for name in recipe.apt],
            "keys": [digest(source.key.read_bytes().hex()) for source in recipe.apt.values() if source.key],
            "size": recipe.size,
            "early": {target: [early_content(recipe, item).hex(), mode(item)] for target, item in _early(recipe)},
            "script": script(recipe),
        }
    )


def _early(recipe: Recipe) -> Iterator[tuple[str, FileItem]]:
    yield from sorted(recipe.early_files().items())


def mode(item: FileItem) -> int:
    """The permissions of a file that is written."""
    if item.ownership.mode is not None:
        return item.ownership.mode
    return 0o755 if item.source is not None and item.source.stat().st_mode & 0o111 else 0o644


def early_content(recipe: Recipe, item: FileItem) -> bytes:
    """The content of an early file."""
    if item.source is not None:
        return item.source.read_bytes()
    if item.template is not None:
        return render(item.template, recipe.variables).encode()
    return (item.content or "").encode()


def source_line(recipe: Recipe, name: str, key: str = "") -> str:
    """A line of sources.list for a source of packages.

    Args:
        key: where its key is; as in the image if empty.
    """
    source = recipe.apt[name]
    where = key or key_path(recipe, name)
    words = ["deb", f"[signed-by={where}]", source.uris, source.suites]
    return " ".join(words + ([] if source.suites.endswith("/") else list(source.components)))


def key_path(recipe: Recipe, name: str) -> str:
    """Where the key of a source of packages is in the image."""
    key = recipe.apt[name].key
    return f"{KEYRINGS}/{name}{key.suffix if key else '.gpg'}"


def script(recipe: Recipe) -> str:
    """The shell script that is run as root in the new system, after the packages."""
    own = recipe.units
    steps = [
        *((f"group {name}", _group(recipe, name)) for name in recipe.groups),
        *((f"user {name}", _user(name, user)) for name, user in recipe.users.items()),
        *((f"run {name}", step.text.strip("\n")) for name, step in recipe.run.items()),
        *((f"enable {unit}", f"systemctl enable {shlex.quote(unit)}") for unit in recipe.enable if unit not in own),
        *((f"disable {unit}", f"systemctl disable {shlex.quote(unit)}") for unit in recipe.disable),
    ]
    return "\n".join(f"echo {shlex.quote(STEP + name)}\n{text}" for name, text in steps) + "\n"


def _group(recipe: Recipe, name: str) -> str:
    group = recipe.groups[name]
    number = [] if group.gid is None else ["--gid", str(group.gid)]
    return shlex.join(["groupadd", *(["--system"] if group.system else []), *number, name])


def _user(name: str, user: User) -> str:
    words = ["useradd", "--user-group", "--home-dir", user.home, "--shell", user.shell]
    words += ["--create-home" if user.create_home else "--no-create-home"]
    words += ["--system"] if user.system else []
    words += [] if user.uid is None else ["--uid", str(user.uid)]
    words += ["--comment", user.comment] if user.comment else []
    words += ["--groups", ",".join(user.groups)] if user.groups else []
    # `*` and not `!`: sshd refuses keys for an account it takes for locked.
    return f"{shlex.join([*words, name])}\n{shlex.join(['usermod', '-p', '*', name])}"


def failures(recipe: Recipe, log: Sequence[str]) -> list[str]:
    """What a build's output says of the recipe, each with its place: packages that are not there, the failed step."""
    found = []
    for line in log:
        if match := _MISSING.match(line):
            name = next(word for word in match.groups() if word)
            place = _package_place(recipe, name)
            found.append(f"{place}: there is no package {name} in {recipe.suite} for {recipe.architecture}")
    steps = [line.removeprefix(STEP).strip() for line in log if line.startswith(STEP)]
    if not found and steps and (step_place := place_of(recipe, steps[-1])) is not None:
        found.append(f"{step_place}: {steps[-1]} failed")
    return list(dict.fromkeys(found))


def _package_place(recipe: Recipe, name: str) -> Place | str:
    for written, place in recipe.packages.items():
        if name in (written, re.split(r"[=/:]", written)[0]):
            return place
    return str(recipe.path)


def place_of(recipe: Recipe, step: str) -> Place | None:
    """Where a step of `script` was written."""
    kind, _, name = step.partition(" ")
    match kind:
        case "group":
            return recipe.groups[name].place if name in recipe.groups else None
        case "user":
            return recipe.users[name].place if name in recipe.users else None
        case "run":
            return recipe.run[name].place if name in recipe.run else None
        case "enable":
            return recipe.enable.get(name)
        case _:
            return recipe.disable.get(name)


def place_of_target(recipe: Recipe, line: str) -> Place | str:
    """Where the recipe says something of a path: that of a line ``PATH: …``, or of the folder it is in."""
    target = line.split(": ")[0]
    items: dict[str, LinkItem | FolderItem | FileItem] = {**recipe.links, **recipe.folders, **recipe.files}
    while target and target not in items:
        target = target.rpartition("/")[0]
    return items[target].place if target else str(recipe.path)
