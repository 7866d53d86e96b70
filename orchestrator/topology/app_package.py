"""The layout of an application package, and the problems of a folder that should be one.

The one place that knows the layout; stack/alicia-migrate.sh takes the same names of migrations.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path

PROGRAM = "bin/alicia"
MIGRATIONS = "share/alicia/migrations/*.up.sql"
PARTS = (PROGRAM, "share/alicia/frontend/index.html", MIGRATIONS)
MIGRATION_NAME = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-")

# ELF: e_machine of the guests, names of others that people have, and the dynamic loaders that a guest has.
GUEST_MACHINE = 62
MACHINES = {3: "x86 (32 bits)", 40: "ARM (32 bits)", 62: "x86-64", 183: "arm64", 243: "RISC-V"}
LOADERS = ("/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-x86-64.so.2", "/usr/lib64/ld-linux-x86-64.so.2")
PT_INTERP = 3


def package_problems(app: Path) -> Iterator[str]:
    """A line for each reason why ``app`` is not a package; it names the file."""
    if not app.is_dir():
        yield f"{app} is not a folder; it should hold {', '.join(PARTS)}"
        return
    for part in PARTS:
        if not any(found.is_file() for found in app.glob(part)):
            yield f"{app / part} is missing"
    program = app / PROGRAM
    if program.is_file() and not program.stat().st_mode & 0o111:
        yield f"{program} is not executable; chmod +x it"
    for migration in sorted(app.glob(MIGRATIONS)):
        if not set(migration.name) <= MIGRATION_NAME:
            yield f"{migration}: the name of a migration may contain only letters, digits and _ . -"
    for path in sorted((app / "bin").glob("*")):
        if path.is_file() and (why := binary_problem(path)):
            yield f"{path} {why}"


def binary_problem(path: Path) -> str:
    """Why a guest cannot run a program: it is for another processor, or needs a loader that the guest lacks.

    Empty for scripts, and for everything that a guest can run.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
            if head[:4] != b"\x7fELF" or len(head) < 64:
                return ""
            order = "<" if head[5] == 1 else ">"
            (machine,) = struct.unpack_from(f"{order}H", head, 18)
            if machine != GUEST_MACHINE:
                name = MACHINES.get(machine, f"processor {machine}")
                return f"is a program for {name}; the guests are {MACHINES[GUEST_MACHINE]}"
            loader = _loader(file.fileno(), head)
    except (OSError, OverflowError, struct.error):  # a place that no file reaches overflows
        return "cannot be read as the kind of program that its header names"
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
