"""Where a path of the frontend leads: a plain file server, without any fallback."""

from __future__ import annotations

import mimetypes
from pathlib import Path
from urllib.parse import quote


class Missing(Exception):
    """No such file."""


class Moved(Exception):
    """The same content has another, canonical path: ``str()`` is the Location."""


def find(root: Path, path: str) -> Path:
    """The file a decoded URL path means.

    A folder means its ``index.html``; asking for ``index.html`` itself leads to
    the folder, and a folder without its slash to the path with it.

    Raises:
        Missing, Moved
    """
    if "\0" in path:
        raise Missing(path)
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Missing(path)
    if parts and parts[-1] == "index.html" and not path.endswith("/"):
        raise Moved("./")
    try:
        folder = root.resolve(strict=True)
        target = folder.joinpath(*parts).resolve(strict=True)
    except (OSError, RuntimeError):
        raise Missing(path) from None
    if not target.is_relative_to(folder):
        raise Missing(path)
    if target.is_dir():
        if not path.endswith("/"):
            raise Moved(f"{quote(parts[-1])}/")
        target = target / "index.html"
    if not target.is_file():
        raise Missing(path)
    return target


def content_type(file: Path) -> str:
    """The type of a file by its name; texts are UTF-8."""
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
