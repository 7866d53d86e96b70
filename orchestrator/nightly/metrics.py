"""Figures of a night for Prometheus, as node_exporter's textfile collector reads them. Pure, but for the writing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from orchestrator.atomic import write_atomically
from orchestrator.nightly.message import GOOD
from orchestrator.nightly.model import Night

PREFIX = "orchestrator_night"


def metrics_text(night: Night, last_success: float | None) -> str:
    """The file; it has no times of its own, and ends with a newline.

    Args:
        last_success: when a night ended last that passed, seconds since the epoch.
    """
    name = {"name": night.name}
    lines: list[str] = []
    lines += _family("success", "gauge", "whether the last night passed", [(name, float(night.outcome in GOOD))])
    lines += _family("exit_code", "gauge", "its exit code", [(name, float(night.exit_code or 0))])
    lines += _family("end_timestamp_seconds", "gauge", "when it ended", [(name, night.ended)])
    success = night.ended if night.outcome in GOOD else last_success
    if success is not None:
        lines += _family("last_success_timestamp_seconds", "gauge", "when one passed last", [(name, success)])
    lines += _family("duration_seconds", "gauge", "how long it took", [(name, max(0.0, night.ended - night.started))])
    lines += _family("missed", "gauge", "nights that are missing before it", [(name, float(night.missed))])
    cells = [({**name, "cell": cell.name}, cell) for cell in night.cells]
    lines += _family("cell_duration_seconds", "gauge", "of the first run", [(one, cell.seconds) for one, cell in cells])
    counts = [
        ({**one, "status": status}, float(count))
        for one, cell in cells
        for status, count in (
            ("all", cell.tests),
            ("failed", len(cell.failed)),
            ("flaky", len(cell.flaky)),
            ("quarantined", len(cell.quarantined)),
            ("new", len(cell.new)),
        )
    ]
    lines += _family("tests", "gauge", "tests of the first run, by status", counts)
    return "\n".join(lines) + "\n"


def write_metrics(path: Path, text: str) -> None:
    """Replace the file; its readers are other users.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text, mode=0o644)


def _family(name: str, kind: str, help_text: str, values: Sequence[tuple[Mapping[str, str], float]]) -> Iterator[str]:
    full = f"{PREFIX}_{name}"
    yield f"# HELP {full} {help_text}"
    yield f"# TYPE {full} {kind}"
    for labels, value in values:
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        yield f"{full}{{{inner}}} {value:.15g}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
