"""Columns, sizes and times as people read them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def aligned(rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> str:
    """Rows of equal length as columns two blanks apart; those in ``right`` are set to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines) + "\n" if lines else ""


def size_text(size: float) -> str:
    """Bytes as ``512 B``, ``1.5 GiB``."""
    unit = 0
    while size >= 1024 and unit < len(_UNITS) - 1:
        size /= 1024
        unit += 1
    return f"{size:.0f} {_UNITS[unit]}" if unit == 0 or size >= 100 else f"{size:.1f} {_UNITS[unit]}"


def ago(seconds: float) -> str:
    """``now``, ``5 min ago``, ``3 h ago``, ``12 d ago``."""
    if seconds < 60:
        return "now"
    for unit, length in (("d", 2 * 86400), ("h", 2 * 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // {'d': 86400, 'h': 3600, 'min': 60}[unit]:.0f} {unit} ago"
    return "now"
