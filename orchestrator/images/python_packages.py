"""Python packages from PyPI for a guest: pip downloads what a lock file pins, checks its hashes and unpacks it.

Nothing is built and nothing runs: only wheels are taken, for the guest's Python and not for ours.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Final

from orchestrator.deadline import Deadline
from orchestrator.errors import ImageError
from orchestrator.process import run_shown

PLATFORMS: Final = {"amd64": "manylinux2014_x86_64", "arm64": "manylinux2014_aarch64"}
# The Python that a release has.
PYTHONS: Final = {"bookworm": "3.11", "trixie": "3.13", "forky": "3.13", "sid": "3.13"}


def folder_of(lock: Path, downloads: Path, *, python: str, architecture: str) -> Path:
    """Where the packages of a lock file are, or will be: the name changes with what is in it."""
    content = f"{python} {PLATFORMS[architecture]}\n{lock.read_text(encoding='utf-8')}"
    return downloads / f"python-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


async def install(lock: Path, target: Path, *, python: str, architecture: str, deadline: Deadline) -> None:
    """Fill ``target`` (of `folder_of`) if it is not there; to be put on a guest's ``sys.path``.

    Args:
        lock: requirements with hashes.
        python: the guest's version, like ``3.13``.

    Raises:
        ImageError: pip cannot get a package, or its hash is another one.
    """
    if target.is_dir():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".pip-", dir=target.parent))
    try:
        said: list[str] = []
        command = _command(lock, temporary / "python", python, architecture)
        done = await run_shown(command, said.append, deadline=deadline)
        if done.code != 0:
            lines = [line for line in (*said, *done.stderr.splitlines()) if not line.startswith("WARNING")]
            raise ImageError(f"pip cannot get the packages of {lock}", evidence=lines[-10:], where=[str(lock)])
        try:
            (temporary / "python").rename(target)
        except OSError:
            if not target.is_dir():  # else another run was faster
                raise
    finally:
        shutil.rmtree(temporary)


def _command(lock: Path, target: Path, python: str, architecture: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-input",
        "--target",
        str(target),
        "--no-deps",
        "--no-compile",
        "--require-hashes",
        "--only-binary=:all:",
        "--implementation=cp",
        f"--python-version={python}",
        f"--platform={PLATFORMS[architecture]}",
        "--requirement",
        str(lock),
    ]
