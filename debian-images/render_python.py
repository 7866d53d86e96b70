"""Python packages from PyPI for a guest: pip downloads what a lock file pins, checks its hashes and unpacks it.

Nothing is built and nothing runs: only wheels are taken, for the guest's Python and not for ours.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

GUEST_PYTHON = "3.13"  # of Debian 13
PLATFORM = "manylinux2014_x86_64"
LIMIT = 600  # seconds


def python_packages(lock: Path, downloads: Path) -> Path:
    """The folder with the packages of a lock file, made once; to be put on a guest's ``sys.path``.

    Args:
        lock: requirements with hashes.
        downloads: where it is kept; beside the image cache.

    Raises:
        ValueError: pip cannot get a package, or its hash is another one.
    """
    content = f"{GUEST_PYTHON} {PLATFORM}\n{lock.read_text(encoding='utf-8')}"
    target = downloads / f"python-{hashlib.sha256(content.encode()).hexdigest()[:16]}"
    if target.is_dir():
        return target
    downloads.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=".pip-", dir=downloads))
    try:
        _install(lock, temporary / "python")
        try:
            (temporary / "python").rename(target)
        except OSError:
            if not target.is_dir():  # else another run was faster
                raise
    finally:
        shutil.rmtree(temporary)
    return target


def _install(lock: Path, target: Path) -> None:
    command = [
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
        f"--python-version={GUEST_PYTHON}",
        f"--platform={PLATFORM}",
        "--requirement",
        str(lock),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"{lock.name}: pip did not end within {LIMIT} s") from error
    if done.returncode != 0:
        said = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
        raise ValueError(f"{lock.name}: pip cannot get the packages: {' '.join(said[-3:])}")
