"""Where this program keeps its files: the only module that reads the variables about folders.

========  =================  ===================  ==========================
what      own variable       XDG's                else
========  =================  ===================  ==========================
state     ``ORCH_STATE_DIR``  ``XDG_STATE_HOME``   ``~/.local/state``
cache     ``ORCH_CACHE_DIR``  ``XDG_CACHE_HOME``   ``~/.cache``
runtime                      ``XDG_RUNTIME_DIR``  the temporary folder
========  =================  ===================  ==========================

The own variable names the folder itself; below the others it is ``orchestrator``.
``~`` is the home in all of them, and every result is absolute.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path


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


def _root(environment: Mapping[str, str], own: str, xdg: str, default: str) -> Path:
    if folder := environment.get(own):
        return Path(folder).expanduser().absolute()
    return (Path(environment.get(xdg) or default).expanduser() / "orchestrator").absolute()
