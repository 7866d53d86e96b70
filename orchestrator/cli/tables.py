"""Tables and times for people."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def aligned(rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> str:
    """Rows of equal length as columns two blanks apart; columns in ``right`` are aligned to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n" if lines else ""


def ago(seconds: float) -> str:
    """``now``, ``5 min ago``, ``3 h ago``, ``12 d ago``."""
    if seconds < 60:
        return "now"
    for unit, length in (("d", 2 * 86400), ("h", 2 * 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // {'d': 86400, 'h': 3600, 'min': 60}[unit]:.0f} {unit} ago"
    return "now"
