"""Writes the pages of the history: plain files that need no server, no network and no script."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files as package_files
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment
from markupsafe import Markup

import orchestrator
from orchestrator.atomic import write_atomically
from orchestrator.events import utc_text, wall_clock
from orchestrator.history.exporting import test_as_dict
from orchestrator.history.site_model import CELL, ORDER, Row, Site, columns_of, site_of
from orchestrator.history.statistics import rate_text
from orchestrator.history.verdicts import RECENT, Observation
from orchestrator.report import markup
from orchestrator.report.jinja import templates_of

OUTCOMES = {"passed": "passed", "suspicious": "mixed", "failed": "failed"}


def write_site(connection: sqlite3.Connection, root: Path) -> int:
    """Write ``index.html``, a page for each test below ``tests/``, and ``history.json``; how many pages there are.

    Raises:
        OSError: the folder cannot be written; each file is the old one or the new one.
    """
    site = site_of(connection, root)
    (root / "tests").mkdir(parents=True, exist_ok=True)
    write_atomically(root / "index.html", index_page(site), mode=0o644)
    pages: dict[str, list[Row]] = defaultdict(list)
    for series in site.series:
        for row in series.rows:
            pages[row.page].append(row)
    columns = columns_of(connection, root)
    template, about = _environment().get_template("test.html"), _about()
    for page, rows in pages.items():
        write_atomically(root / page, template.render(rows=rows, columns=columns, **about), mode=0o644)
    tests = [test_as_dict(row.history) for rows in pages.values() for row in rows]
    nights = [
        {key: night[key] for key in ("night_id", "topology", "outcome", "reason", "day")} for night in site.nights
    ]
    write_atomically(root / "history.json", json.dumps({"format": 1, "nights": nights, "tests": tests}), mode=0o644)
    return len(pages) + 1


def index_page(site: Site) -> str:
    """The text of ``index.html``."""
    template = _environment().get_template("index.html")
    return template.render(site=site, order=ORDER, cell=CELL, outcomes=OUTCOMES, **_about())


def _about() -> dict[str, object]:
    style = (package_files("orchestrator.history") / "site.css").read_text(encoding="utf-8")
    return {
        "style": Markup(style),  # noqa: S704 - a file of this package
        "version": orchestrator.__version__,
        "now": utc_text(wall_clock())[:16].replace("T", " "),
    }


@cache
def _environment() -> Environment:
    environment = templates_of("orchestrator.history")
    environment.filters |= {
        "seconds": markup.seconds,
        "rate": rate_text,
        "line": _line,
        "first_error": lambda one: next(iter(_by_count(one.errors)), ("", 0))[0],
        "by_count": _by_count,
        "recent": _recent,
        "quoted": quote,
    }
    return environment


def _line(seconds: Sequence[float]) -> str:
    """The points of a line of 300 by 60 from 0 to the longest."""
    top = max(*seconds, 0.001)
    step = 300 / max(1, len(seconds) - 1)
    return " ".join(f"{index * step:.1f},{58 - 56 * value / top:.1f}" for index, value in enumerate(seconds))


def _by_count(errors: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(errors.items(), key=lambda pair: -pair[1])[:10]


def _recent(observations: Sequence[Observation]) -> list[Observation]:
    return list(reversed(observations[-RECENT:]))
