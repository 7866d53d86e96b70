"""Temporary folders that outlive nobody for long: what a killed command left, the next one removes.

Each is locked as long as its command lives, so that the dead are known from the
living whatever their pids are, also where several containers share one ``/tmp``.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PREFIX = "orch-scratch-"


@contextmanager
def scratch(purpose: str) -> Iterator[Path]:
    """A folder of mode 0700 for the block; those of killed commands go first.

    Args:
        purpose: a word for who finds it.
    """
    sweep()
    descriptor, folder = _locked(purpose)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def sweep() -> list[Path]:
    """Remove the folders of this user's killed commands; which they were."""
    removed = []
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is just being removed, or not ours
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                if os.fstat(descriptor).st_uid != os.geteuid():
                    continue
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                removed.append(folder)
            finally:
                os.close(descriptor)
    return removed


def _locked(purpose: str) -> tuple[int, Path]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{purpose}-"))
        # Before it is locked, somebody who sweeps may take it for a dead one's: then another is made.
        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if os.path.samestat(os.fstat(descriptor), folder.stat()):
                    return descriptor, folder
            os.close(descriptor)
