"""Filters of the templates: links into the run folder, times in words, class names, blocks of lines."""

from __future__ import annotations

from urllib.parse import quote

from markupsafe import Markup, escape

from orchestrator.text import clean, duration_text

_LIMIT = 20_000


def one_line(value: object) -> object:
    """What a template shows: text without control characters, on one line, and bounded; markup of ours as it is.

    It is applied to every expression of a template (Jinja's ``finalize``), and autoescape quotes what it returns.
    """
    return clean(value, _LIMIT) if isinstance(value, str) and not isinstance(value, Markup) else value


def block(value: str) -> Markup:
    """``value`` quoted and cleaned, with its lines, for ``<pre>`` and titles."""
    return escape(clean(value, _LIMIT, multiline=True))


def safe_path(path: str) -> bool:
    """Whether ``path`` stays below the run folder, whoever wrote it."""
    parts = path.split("/")
    return bool(path) and not path.startswith("/") and "\\" not in path and ".." not in parts


def href(path: str) -> str:
    """The link from ``report/index.html`` to a file of the run folder."""
    return "../" + quote(path)


def seconds(value: float | None) -> str:
    """A duration in words; a dash for None."""
    return "–" if value is None else duration_text(value)


def percent(value: float) -> str:
    return f"{value:.2f}%"


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def slug(word: str) -> str:
    """A class name out of a word of a guest or an event."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in word[:40])
    return f"s-{kept.lower()}"
