"""What is found wrong with an application package before anything is built, and said of which file."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from topology_samples import folder

from orchestrator.topology.app_package import MIGRATIONS, binary_problem, package_problems

ROOT = Path(__file__).parents[2]


def elf(machine: int, loader: bytes = b"", *, order: str = "<") -> bytes:
    """The start of a 64-bit program: its header, and one program header with a loader."""
    data = 1 if order == "<" else 2
    header = struct.pack("4sBBBBQ", b"\x7fELF", 2, data, 1, 0, 0)
    header += struct.pack(f"{order}HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1 if loader else 0, 64, 0, 0)
    if not loader:
        return header
    return header + struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(loader) + 1, len(loader) + 1, 1) + loader + b"\0"


def found(app: Path) -> list[str]:
    return [line.replace(f"{app}/", "") for line in package_problems(app)]


def test_everything_is_told_at_once_and_names_the_file(tmp_path: Path) -> None:
    app = folder(tmp_path) / "standin"
    assert found(app) == []
    (app / "share/alicia/frontend/index.html").unlink()
    (app / "bin/alicia").chmod(0o644)
    (app / "bin/helper").write_bytes(elf(183))
    (app / "share/alicia/migrations/002 two.up.sql").touch()
    assert found(app) == [
        "share/alicia/frontend/index.html is missing",
        "bin/alicia is not executable; chmod +x it",
        "share/alicia/migrations/002 two.up.sql: the name of a migration may contain only letters, digits and _ . -",
        "bin/helper is a program for arm64; the guests are x86-64",
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"#!/bin/sh\n", ""),
        (b"", ""),
        (b"\x7fELF", ""),
        (elf(62), ""),
        (elf(62, b"/lib64/ld-linux-x86-64.so.2"), ""),
        (elf(62, b"/lib/ld-musl-x86_64.so.1"), "wants the loader /lib/ld-musl-x86_64.so.1"),
        (elf(62, b"/nix/store/x-glibc/lib/ld-linux-x86-64.so.2"), "wants the loader /nix/store/x-glibc/lib/"),
        (elf(40), "is a program for ARM (32 bits)"),
        (elf(22, order=">"), "is a program for processor 22"),
        (elf(62, b"x")[:70], "cannot be read"),
        (elf(62, b"x")[:32] + b"\xff" * 8 + elf(62, b"x")[40:], "cannot be read"),  # its headers are beyond every file
        (elf(62, b"x")[:72] + b"\xff" * 8 + elf(62, b"x")[80:], "cannot be read"),  # so is its loader's name
    ],
)
def test_programs_that_a_guest_cannot_run(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(content)
    told = binary_problem(tmp_path / "program")
    assert told.startswith(why) if why else told == ""


def test_a_real_program_of_this_host_can_run() -> None:
    assert binary_problem(Path(shutil.which("env") or "")) == ""


def test_the_guest_applies_the_migrations_that_are_looked_for(tmp_path: Path) -> None:
    """One rule for their names: the loader's and the script's."""
    pattern = MIGRATIONS.rpartition("/")[2]
    script = ROOT / "stack/alicia-migrate.sh"
    assert f'set -- "$folder"/{pattern}\n' in script.read_text()
    empty = subprocess.run([script, tmp_path], capture_output=True, text=True, check=False)
    assert (empty.returncode, pattern in empty.stderr) == (2, True)
