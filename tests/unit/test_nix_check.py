"""scripts/check-nix as a program, on a host without Nix: what it says, and that stale facts are not taken for good."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from nix_facts import ROOT

COPIED = ("nixos-images", "stack", "standin", "debian-images", "scripts", "tests/golden/nix")


def check(root: Path, *arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / "scripts/check-nix"), *arguments],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.fixture
def bare(tmp_path: Path) -> str:
    """A PATH without Nix; the programs of the system are found by check-nix itself."""
    folder = tmp_path / "path"
    folder.mkdir()
    for name in ("id", "runuser", "sh"):
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return str(folder)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    root = tmp_path / "copy"
    for name in COPIED:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def test_without_nix_it_says_so_and_checks_the_rest(bare: str) -> None:
    done = check(ROOT, "--only", "server-mock", "--only", "client", path=bare)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert "not checked syntax: no nix-instantiate on PATH" in lines
    assert any(line.startswith("not checked evaluation: no Nix on PATH; the facts of the last") for line in lines)
    assert any(line.startswith("ok          kept facts: of these sources; nixpkgs ") for line in lines)
    for machine in ("server-mock", "client"):
        assert f"ok          {machine}: assertions: all hold" in lines
        assert any(line.startswith(f"ok          {machine}: same as Debian: ") for line in lines)


def test_changed_sources_make_the_facts_stale(bare: str, copy: Path) -> None:
    data = copy / "stack/stack.toml"
    text = data.read_text(encoding="utf-8")
    data.write_text(f"# only a comment\n{text}", encoding="utf-8")
    assert "FAILED" not in check(copy, "--only", "client", path=bare).stdout
    data.write_text(text.replace("LimitNOFILE = 65536", "LimitNOFILE = 1024"), encoding="utf-8")
    done = check(copy, "--only", "client", path=bare)
    assert done.returncode == 1
    assert "FAILED      kept facts: made from other sources" in done.stdout
    assert "kept facts" in done.stderr


def test_a_wrong_call_is_usage(bare: str) -> None:
    assert check(ROOT, "--only", "laptop", path=bare).returncode == 2


FAKE_NIX = """#!/bin/sh
case "$*" in
    --version) echo "nix-instantiate (Nix) {version}" ;;
    *--find-file*) {nixpkgs} ;;
    *--parse*) {parse} ;;
    *) echo "evaluation warning: this is old" >&2; echo "error: boom" >&2; exit 1 ;;
esac
"""


def with_nix(bare: str, **parts: str) -> str:
    parts = {"version": "2.26.3", "nixpkgs": "exit 1", "parse": "true", **parts}
    tool = Path(bare, "nix-instantiate")
    tool.write_text(FAKE_NIX.format(**parts), encoding="utf-8")
    tool.chmod(0o755)
    return bare


def test_nix_without_nixpkgs_still_parses(bare: str) -> None:
    done = check(ROOT, "--only", "client", path=with_nix(bare))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "files parse" in done.stdout
    assert "no nixpkgs in NIX_PATH" in done.stdout


def test_an_old_nix_a_syntax_error_and_a_failed_evaluation_are_failures(bare: str) -> None:
    path = with_nix(bare, version="2.3.16", parse="echo 'error: syntax error' >&2; exit 1", nixpkgs="echo /n")
    done = check(ROOT, "--only", "client", path=path)
    assert done.returncode == 1
    assert "FAILED      Nix: 2.3.16 is older than 2.18" in done.stdout
    assert "FAILED      syntax: error: syntax error" in done.stdout
    assert "error: boom" in done.stdout
