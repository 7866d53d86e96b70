"""Reports of a run, made from its events and nothing else.

``write_report`` is loaded at its first use: the terminal's progress needs only
the fold, and must not pay for XML and HTML.
"""

from __future__ import annotations

from pathlib import Path

from orchestrator.report.model import RunView

__all__ = ["RunView", "write_report"]


def write_report(run_folder: Path) -> RunView:
    """Write every report of a run folder; see `orchestrator.report.write.write_report`."""
    from orchestrator.report.write import write_report as write

    return write(run_folder)
