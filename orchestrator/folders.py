"""Where this program keeps its files: the only module that reads the variables about folders.

========  =================  ===================  ==========================
what      own variable       XDG's                else
========  =================  ===================  ==========================
state     ``ORCH_STATE_DIR``  ``XDG_STATE_HOME``   ``~/.local/state``
cache     ``ORCH_CACHE_DIR``  ``XDG_CACHE_HOME``   ``~/.cache``
runtime                      ``XDG_RUNTIME_DIR``  the temporary folder
memory    ``ORCH_RAM_DIR``                      ``/dev/shm``
========  =================  ===================  ==========================

The own variable names the folder itself; below the others it is ``orchestrator``.
``~`` is the home in all of them, and every result is absolute.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path

from orchestrator.errors import HostError


def state_root(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of all environments."""
    return _root(environment, "ORCH_STATE_DIR", "XDG_STATE_HOME", "~/.local/state")


def cache_root(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of images, snapshots and the accelerator's probe."""
    return _root(environment, "ORCH_CACHE_DIR", "XDG_CACHE_HOME", "~/.cache")


def socket_root(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder below which sockets are made; ``/tmp`` where libvdeplug would not take the other one for a path.

    Quotes, backslashes and brackets mean something in the name of a switch, and not the same in all of its versions.
    """
    import tempfile  # slow to import, and completion needs the other folders at once

    root = environment.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
    path = str(Path(root).expanduser())
    return Path(path if re.fullmatch(r"[\w@%+=:,. /~-]+", path) else "/tmp")  # noqa: S108 - made private, or refused


def shared_memory(environment: Mapping[str, str] = os.environ) -> Path:
    """Where a file is memory: ORCH_RAM_DIR, else /dev/shm."""
    return Path(environment.get("ORCH_RAM_DIR") or "/dev/shm")  # noqa: S108 - folders of mode 0700 are made in it


def make_private(folder: Path, *, parent: bool = True) -> None:
    """Make a folder of mode 0700 that is ours.

    Args:
        parent: its parent must be ours too, with nobody else writing in it: in a place that
            all users share, somebody could put another folder in the place of ours.

    Raises:
        HostError: it is not so.
    """
    checked = (folder.parent, folder) if parent else (folder,)
    try:
        for one in (folder.parent, folder):
            one.mkdir(parents=True, exist_ok=True, mode=0o700)
        for one in checked:
            found = one.lstat()
            if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o022:
                raise HostError(
                    f"{one} is not this user's own folder",
                    why="another user created it or can write to it; its files would not be private",
                    hint="remove it, or set ORCH_RAM_DIR",
                )
        folder.chmod(0o700)
    except OSError as error:
        raise HostError(f"{folder} cannot be made", why=str(error)) from error


def _root(environment: Mapping[str, str], own: str, xdg: str, default: str) -> Path:
    if folder := environment.get(own):
        return Path(folder).expanduser().absolute()
    return (Path(environment.get(xdg) or default).expanduser() / "orchestrator").absolute()
