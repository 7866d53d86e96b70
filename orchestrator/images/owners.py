"""Who owns a layer in a guest, as numbers. Names are looked up in the image, before anything boots."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.errors import ImageError
from orchestrator.images.contract import BuiltImage
from orchestrator.images.debian_host import search_path
from orchestrator.images.inodes import Owner
from orchestrator.process import run
from orchestrator.topology.document import suggest

ROOT_DISK = "root.raw"  # of an image whose disk is one ext4 file system without partitions
ROOT = "root"


async def owner_of(text: str, image: BuiltImage, deadline: Deadline) -> Owner:
    """The numbers of ``user`` or ``user:group``; a user without a group has its own.

    Raises:
        ImageError: the image has no such name, or cannot be looked into.
    """
    user, _, group = text.partition(":")
    known = {name: name.isdigit() or name == ROOT for name in (user, group) if name}
    if all(known.values()):
        number = _plain(user)
        return Owner(number, _plain(group) if group else number)
    users = _accounts(await _read(image, "/etc/passwd", text, deadline))
    groups = _accounts(await _read(image, "/etc/group", text, deadline)) if group else {}
    fields = _found(user, users, "user", image)
    return Owner(int(fields[2]), int(_found(group, groups, "group", image)[2]) if group else int(fields[3]))


def _plain(name: str) -> int:
    return 0 if name == ROOT else int(name)


def _found(name: str, known: Mapping[str, list[str]], word: str, image: BuiltImage) -> list[str]:
    if name.isdigit():
        return [name, "", name, name]
    if name not in known:
        raise ImageError(
            f"image {image.name} has no {word} {name}{suggest(name, known)}",
            why=f"a layer is to be owned by it; the image has {', '.join(sorted(known))}",
            hint="name one of these as owner of the layer, or write its number",
        )
    return known[name]


def _accounts(text: str) -> dict[str, list[str]]:
    """The lines of /etc/passwd or /etc/group by name; what is no such line is left out. Pure.

    >>> _accounts("www-data:x:33:33::/var/www:/bin/false\\n\\n+::::")
    {'www-data': ['www-data', 'x', '33', '33', '', '/var/www', '/bin/false']}
    """
    lines = [line.split(":") for line in text.splitlines()]
    return {line[0]: [*line, ""] if len(line) == 3 else line for line in lines if len(line) > 2 and line[2].isdigit()}


async def _read(image: BuiltImage, path: str, owner: str, deadline: Deadline) -> str:
    disk = image.path / ROOT_DISK
    hint = 'write numbers, as owner = "1000:1000"'
    if not Path(disk).is_file():
        raise ImageError(
            f"the owner {owner} of a layer cannot be looked up in image {image.name}",
            why="its disk is no plain file system that can be read from here",
            hint=hint,
        )
    argv = ["debugfs", "-R", f"cat {path}", disk.name]
    done = await run(argv, deadline=deadline, cwd=disk.parent, env={**os.environ, "PATH": search_path()})
    if not done.stdout:
        raise ImageError(f"image {image.name} has no {path}", why=done.stderr.strip()[-500:], hint=hint)
    return done.stdout
