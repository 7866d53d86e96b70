"""What is found wrong with the folder of a layer before anything starts, and said of which file."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from topology_samples import folder

from orchestrator.topology.layer_files import SHOWN, excluded, layer_problems, program_problem
from orchestrator.topology.load import load_topology
from orchestrator.topology.model import Layer

ROOT = Path(__file__).parents[2]


def elf(machine: int, loader: bytes = b"", *, order: str = "<") -> bytes:
    """The start of a 64-bit program: its header, and one program header with a loader."""
    data = 1 if order == "<" else 2
    header = struct.pack("4sBBBBQ", b"\x7fELF", 2, data, 1, 0, 0)
    header += struct.pack(f"{order}HHIQQQIHHHHHH", 2, machine, 1, 0, 64, 0, 0, 64, 56, 1 if loader else 0, 64, 0, 0)
    if not loader:
        return header
    return header + struct.pack("<IIQQQQQQ", 3, 4, 120, 0, 0, len(loader) + 1, len(loader) + 1, 1) + loader + b"\0"


def found(layer: Layer) -> list[str]:
    return [line.replace(f"{layer.source}/", "") for line in layer_problems(layer)]


def alicias(app: Path) -> Layer:
    """The layer of the shipped topology, with another folder."""
    return load_topology(ROOT / "orchestrator.toml", layers={"app": app}).layers["app"]


def test_everything_is_told_at_once_and_names_the_file(tmp_path: Path) -> None:
    app = folder(tmp_path) / "standin"
    layer = alicias(app)
    assert found(layer) == []
    (app / "share/alicia/frontend/index.html").unlink()
    (app / "bin/alicia").write_text("#!/bin/sh\n")
    (app / "bin/alicia").chmod(0o644)
    (app / "bin/helper").write_bytes(elf(183))
    (app / "bin/helper").chmod(0o755)
    (app / "bin/README").write_text("not a program")
    assert found(layer) == [
        "share/alicia/frontend/index.html is missing",
        "bin/alicia is not executable; chmod +x it",
        "bin/helper is a program for arm64; the guests are x86-64",
    ]


def test_what_is_left_out_neither_counts_nor_is_looked_at(tmp_path: Path) -> None:
    app = folder(tmp_path) / "standin"
    (app / "bin/helper").write_bytes(elf(183))
    layer = Layer("app", app, "/opt/app", exclude=("/bin", "*.html"), requires=("share/alicia/frontend/*", "bin/*"))
    assert found(layer) == ["share/alicia/frontend/* is missing", "bin/* is missing"]


def test_a_wrong_folder_does_not_fill_the_screen(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for number in range(3 * SHOWN):
        (tmp_path / f"bin/{number}").write_text("#!/bin/sh\n")
    lines = found(Layer("app", tmp_path, "/opt/app"))
    assert len(lines) == SHOWN + 1
    assert lines[-1] == f"{tmp_path} has more such problems"
    assert found(Layer("app", tmp_path / "nowhere", "/opt/app", requires=("a", "b"))) == [
        f"{tmp_path}/nowhere is not a folder; it should hold a, b"
    ]


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("*.pyc", ["a.pyc", "lib/a.pyc", ".pyc"], ["a.py", "lib.pyc/a"]),
        ("tests", ["tests", "lib/tests"], ["tests2", "tests/a"]),
        ("/tests", ["tests"], ["lib/tests"]),
        ("lib/*.c", ["lib/a.c"], ["lib/a/b.c", "a.c", "x/lib/a.c"]),
        ("[ab]?", ["ax", "lib/bx"], ["a", "cx", "AX"]),
    ],
)
def test_patterns_of_what_is_left_out(pattern: str, matching: list[str], others: list[str]) -> None:
    assert [path for path in (*matching, *others) if excluded(path, [pattern])] == matching


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
    (tmp_path / "program").chmod(0o755)
    told = program_problem(tmp_path / "program")
    assert told.startswith(why) if why else told == ""


def test_a_real_program_of_this_host_can_run() -> None:
    assert program_problem(Path(shutil.which("env") or "")) == ""


def test_the_guest_applies_the_migrations_that_are_looked_for(tmp_path: Path) -> None:
    """One rule for their names: the topology's and the script's."""
    layer = load_topology(ROOT / "orchestrator.toml").layers["app"]
    pattern = layer.requires[-1].rpartition("/")[2]
    script = ROOT / "stack/alicia-migrate.sh"
    assert f'set -- "$folder"/{pattern}\n' in script.read_text()
    empty = subprocess.run([script, tmp_path], capture_output=True, text=True, check=False)
    assert (empty.returncode, pattern in empty.stderr) == (2, True)
