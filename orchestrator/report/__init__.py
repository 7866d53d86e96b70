"""Reports of a run, made from its events and nothing else."""

from __future__ import annotations

from orchestrator.report.fold import fold, load_events
from orchestrator.report.model import RunView
from orchestrator.report.write import write_report

__all__ = ["RunView", "fold", "load_events", "write_report"]
