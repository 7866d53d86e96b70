"""The page of a matrix: readable on a phone, without scripts, each cell with the way to its own report."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from orchestrator.report.clones import GREEN, TOTALS, WORST_FIRST
from orchestrator.report.model_tests import words
from orchestrator.text import duration_text

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:1rem;max-width:75rem}"
    "td,th{padding:.2rem .8rem .2rem 0;text-align:left;vertical-align:top}"
    ".bad{color:#b00020}.bar{position:relative;height:1.3rem;background:#8881;margin:.15rem 0}"
    ".bar a{position:absolute;top:.1rem;bottom:.1rem;min-width:2px;background:#3a7d44;border-radius:2px;"
    "overflow:hidden;font-size:.7rem;color:#fff;text-decoration:none;white-space:nowrap}"
    ".bar a.bad{background:#b00020}"
)


def page_of(summary: dict[str, Any]) -> str:
    """The page of a summary, as `orchestrator.report.matrix` makes it. Pure."""
    cells = sorted(summary["cells"], key=_rank)
    title = f"{summary['outcome']}: {len(cells)} cells"
    tests = ", ".join(f"{summary['tests'][word]} {words(word)}" for word in TOTALS if summary["tests"][word])
    left = "".join(f"<li>{escape(str(one))}</li>" for one in summary.get("left", ()))
    missing = "".join(f"<li>{escape(str(one))}</li>" for one in summary.get("missing", ()))
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
        f"<h1>{escape(title)}</h1><p>{escape(summary['cause'])}</p><p>{escape(tests or 'no test ran')}</p>"
        + (f"<h2>Left running</h2><ul>{left}</ul>" if left else "")
        + (f"<h2>Tests in no cell</h2><ul>{missing}</ul>" if missing else "")
        + "<h2>Cells</h2><table><tr><th>cell</th><th>outcome</th><th>tests</th><th>time</th><th>host</th></tr>"
        + "".join(_row(one) for one in cells)
        + f"</table><h2>Hosts</h2>{_timeline(cells)}</html>\n"
    )


def _rank(cell: dict[str, Any]) -> int:
    outcome = cell["outcome"]
    return WORST_FIRST.index(outcome) if outcome in WORST_FIRST else 0


def _row(cell: dict[str, Any]) -> str:
    tests = ", ".join(f"{number} {words(word)}" for word, number in cell["tests"].items() if number)
    bad = "" if cell["outcome"] in GREEN else ' class="bad"'
    again = f" (attempt {cell['attempt']})" if cell["attempt"] > 1 else ""
    cause = f"<br>{escape(cell['cause'])}" if cell["cause"] else ""
    return (
        f"<tr><td>{_link(cell, escape(cell['id']))}</td><td{bad}>{escape(cell['outcome'])}{cause}</td>"
        f"<td>{escape(tests)}</td><td>{escape(duration_text(cell['seconds']))}</td>"
        f"<td>{escape(cell['host'])}{again}</td></tr>"
    )


def _link(cell: dict[str, Any], text: str, attributes: str = "") -> str:
    """A link to the cell's report; without one, the text."""
    if not cell["run_folder"]:
        return f"<a{attributes}>{text}</a>" if attributes else text
    way = "../" + "/".join(escape(part, quote=True) for part in cell["run_folder"].split("/"))
    return f'<a href="{way}/report/index.html"{attributes}>{text}</a>'


def _timeline(cells: Sequence[dict[str, Any]]) -> str:
    """A bar for each host and each cell that it had at the same time."""
    ran = sorted((one for one in cells if one["began"]), key=lambda one: one["began"])
    if not ran:
        return "<p>no cell began</p>"
    start = ran[0]["began"]
    whole = max(one["began"] + one["seconds"] for one in ran) - start or 1.0
    lanes: dict[str, list[list[dict[str, Any]]]] = {}
    for cell in ran:
        mine = lanes.setdefault(cell["host"], [])
        free = [lane for lane in mine if lane[-1]["began"] + lane[-1]["seconds"] <= cell["began"]]
        (free[0] if free else _added(mine)).append(cell)
    return "".join(
        f"<p>{escape(host)}</p>" + "".join(f'<div class="bar">{_bars(lane, start, whole)}</div>' for lane in mine)
        for host, mine in sorted(lanes.items())
    )


def _added(lanes: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    lanes.append([])
    return lanes[-1]


def _bars(lane: Sequence[dict[str, Any]], start: float, whole: float) -> str:
    def place(cell: dict[str, Any]) -> str:
        left, width = 100 * (cell["began"] - start) / whole, 100 * cell["seconds"] / whole
        bad = "" if cell["outcome"] in GREEN else ' class="bad"'
        told = escape(f"{cell['id']}: {cell['outcome']}, {duration_text(cell['seconds'])}", quote=True)
        return f' style="left:{left:.2f}%;width:{width:.2f}%" title="{told}"{bad}'

    return "".join(_link(cell, escape(cell["id"]), place(cell)) for cell in lane)
