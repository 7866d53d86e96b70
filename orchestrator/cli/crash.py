"""An unexpected error: one line for the user, its traceback in a file for a bug report."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from orchestrator.errors import OrchestratorError, UnforeseenError, as_error
from orchestrator.events import utc_text, wall_clock

# Where the traceback is tried to be written first: the run folder, once there is one.
FOLDERS: list[Path] = []


def explained(cause: Exception) -> OrchestratorError:
    """Any exception as an error of the tree."""
    try:
        return as_error(cause) if isinstance(cause, OrchestratorError | OSError) else unforeseen(cause)
    except OSError:
        return unforeseen(cause)


def unforeseen(cause: BaseException) -> UnforeseenError:
    """The error that is shown instead of a traceback. It never fails, whatever is wrong with the host."""
    text = "".join(traceback.format_exception(cause))
    last = next((line for line in reversed(text.splitlines()) if line.strip()), type(cause).__name__)
    path = _write(text)
    return UnforeseenError(
        "an unexpected error",
        why=" ".join(traceback.format_exception_only(cause)[-1].split())[:500] or last,
        where=[str(path)] if path else [],
        evidence=[] if path else text.splitlines()[-20:],
        hint="this is a bug of orchestrator: report it with that file" if path else "report it with these lines",
    )


def _write(text: str) -> Path | None:
    """The file the text was written to; None if no folder of this host is writable."""
    at = utc_text(wall_clock())
    head = f"{at} pid {os.getpid()} Python {sys.version}\n{sys.argv!r}\n\n"
    for folder in _folders():
        with suppress(Exception):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            path = folder / f"crash-{at.replace(':', '')}-{os.getpid()}.txt"
            path.write_text(head + text, encoding="utf-8", errors="backslashreplace")
            return path
    return None


def _folders() -> Iterator[Path]:
    yield from FOLDERS
    with suppress(Exception):
        from orchestrator.folders import state_root

        yield state_root() / "crashes"
    with suppress(Exception):
        yield Path(tempfile.gettempdir())
