"""What runs below a process of a test."""

from __future__ import annotations

from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Its children and theirs, as far as its first thread started them."""
    try:
        children = [int(n) for n in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:  # it has just ended
        return []
    return children + [n for child in children for n in descendants(child)]
