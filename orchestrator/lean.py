"""Importing libraries without what only commands of their own need: a tenth of the time of a short command of ours."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without(*names: str) -> Iterator[None]:
    """In the block, modules that nobody has imported yet seem not to be installed; afterwards they are as before.

    For modules that the libraries imported there can do without, and say so by catching the ImportError.
    """
    hidden = [name for name in names if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # what Python takes for "not there"
    try:
        yield
    finally:
        for name in hidden:
            if sys.modules.get(name) is None:
                sys.modules.pop(name, None)
