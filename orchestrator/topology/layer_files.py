"""Which files of a folder are in a layer, and what is wrong with them before a guest has them.

Guests see an exact copy of the folder, without what is excluded.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from orchestrator.topology.model import Layer

PROGRAMS = "bin"  # the folder whose files are looked at: they are there to be run

# ELF: e_machine of the guests, names of others that people have, and the dynamic loaders that a guest has.
GUEST_MACHINE = 62
MACHINES = {3: "x86 (32 bits)", 40: "ARM (32 bits)", 62: "x86-64", 183: "arm64", 243: "RISC-V"}
LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-x86-64.so.2", "/usr/lib64/ld-linux-x86-64.so.2")
PT_INTERP = 3
SHOWN = 20  # problems of one layer: a wrong folder may have thousands


def excluded(inside: str, patterns: Sequence[str]) -> bool:
    """Whether a path, relative to the source, is left out by itself; the folders above it are not looked at. Pure.

    >>> [excluded(one, ["*.pyc", "/tests"]) for one in ("a/b.pyc", "tests", "lib/tests")]
    [True, True, False]
    """
    return any(_matches(inside.split("/"), pattern) for pattern in patterns)


def chosen(inside: str, patterns: Sequence[str]) -> bool:
    """Whether patterns name a path, relative to the source, or a folder above it. Pure.

    >>> [chosen(one, ["/share/pages", "*.css"]) for one in ("share/pages/a/b.html", "lib/a.css", "share/a.py")]
    [True, True, False]
    """
    parts = inside.split("/")
    return any(excluded("/".join(parts[: end + 1]), patterns) for end in range(len(parts)))


def _matches(parts: list[str], pattern: str) -> bool:
    if "/" not in pattern:
        return fnmatchcase(parts[-1], pattern)
    wanted = pattern.removeprefix("/").split("/")
    return len(wanted) == len(parts) and all(map(fnmatchcase, parts, wanted))


def layer_problems(layer: Layer) -> Iterator[str]:
    """A line for each reason why the folder of a layer cannot be used; it names the file."""
    source = layer.source
    if not source.is_dir():
        parts = f"; it should hold {', '.join(layer.requires)}" if layer.requires else ""
        yield f"{source} is not a folder{parts}"
        return
    for number, text in enumerate(_problems(layer)):
        if number == SHOWN:
            yield f"{source} has more such problems"
            return
        yield text


def _problems(layer: Layer) -> Iterator[str]:
    source = layer.source
    try:
        for part in layer.requires:
            if not any(path.is_file() and not _left_out(path, layer) for path in source.glob(part)):
                yield f"{source / part} is missing"
        for path in sorted((source / PROGRAMS).glob("*")):
            if path.is_file() and not _left_out(path, layer) and (why := program_problem(path)):
                yield f"{path} {why}"
    except OSError as error:
        yield f"{error.filename or source} cannot be read: {error.strerror}"


def _left_out(path: Path, layer: Layer) -> bool:
    parts = path.relative_to(layer.source).parts
    return any(excluded("/".join(parts[:length]), layer.exclude) for length in range(1, len(parts) + 1))


def program_problem(path: Path) -> str:
    """Why a guest cannot run a file of ``bin/``.

    It is not executable, for another processor, or needs a loader that the guest lacks. Empty where all is well, and
    for what is no program.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
            program = head[:4] == b"\x7fELF"
            if (program or head[:2] == b"#!") and not os.fstat(file.fileno()).st_mode & 0o111:
                return "is not executable; chmod +x it"
            if not program or len(head) < 64:
                return ""
            order = "<" if head[5] == 1 else ">"
            (machine,) = struct.unpack_from(f"{order}H", head, 18)
            if machine != GUEST_MACHINE:
                name = MACHINES.get(machine, f"processor {machine}")
                return f"is a program for {name}; the guests are {MACHINES[GUEST_MACHINE]}"
            loader = _loader(file.fileno(), head)
    except (OverflowError, struct.error):  # a place that no file reaches overflows
        return "cannot be read as the kind of program that its header names"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if loader and loader not in LOADERS:
        return f"wants the loader {loader}, which a guest does not have; build it static, or for glibc"
    return ""


def _loader(descriptor: int, head: bytes) -> str:
    """The path in PT_INTERP of a 64-bit little-endian program; empty for a static one."""
    (offset,) = struct.unpack_from("<Q", head, 32)
    size, count = struct.unpack_from("<HH", head, 54)
    for index in range(min(count, 64)):
        entry = os.pread(descriptor, size, offset + index * size)
        if struct.unpack_from("<I", entry)[0] == PT_INTERP:
            at, length = struct.unpack_from("<Q", entry, 8)[0], struct.unpack_from("<Q", entry, 32)[0]
            return os.pread(descriptor, min(length, 4096), at).rstrip(b"\0").decode("utf-8", "replace")
    return ""
