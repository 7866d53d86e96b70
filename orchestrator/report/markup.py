"""Small pieces of HTML: quoting, links into the run folder, times in words."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from urllib.parse import quote

from orchestrator.text import clean

_LIMIT = 20_000


def text(value: str) -> str:
    """``value`` as HTML text or attribute value, on one line."""
    return escape(clean(value, _LIMIT), quote=True)


def block(value: str) -> str:
    """``value`` as HTML text that keeps its lines, for ``<pre>``."""
    return escape(clean(value, _LIMIT, multiline=True), quote=True)


def pre(lines: str | Iterable[str], name: str = "") -> str:
    """A scrolling block of lines; nothing for none."""
    whole = lines if isinstance(lines, str) else "\n".join(lines)
    return f'<pre class="{name}">{block(whole)}</pre>' if whole.strip() else ""


def safe_path(path: str) -> bool:
    """Whether ``path`` stays below the run folder, whoever wrote it."""
    parts = path.split("/")
    return bool(path) and not path.startswith("/") and "\\" not in path and ".." not in parts


def href(path: str) -> str:
    """The link from ``report/index.html`` to a file of the run folder."""
    return "../" + quote(path)


def link(path: str, label: str, files: frozenset[str] | set[str]) -> str:
    """A link if the file is there, otherwise its label and a word that it is not."""
    if safe_path(path) and path in files:
        return f'<a href="{href(path)}">{text(label)}</a>'
    return f'<span class="gone" title="not in the run folder">{text(label)}</span>'


def seconds(value: float | None) -> str:
    """``0.03 s``, ``4.2 s``, ``132.4 s``, ``11 min 3 s``; a dash for None."""
    if value is None:
        return "–"
    if value < 0.1:
        return f"{value:.2f} s"
    if value < 600:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def section(identifier: str, title: str, body: str, extra: str = "") -> str:
    """A titled section; nothing when its body is empty."""
    if not body:
        return ""
    return f'<section id="{identifier}"><h2>{title}{extra}</h2>\n{body}\n</section>\n'


def table(name: str, heads: Iterable[str], rows: Iterable[str]) -> str:
    """A table that scrolls inside its own box on narrow screens."""
    head = "".join(f'<th scope="col">{h}</th>' for h in heads)
    return (
        f'<div class="scroll"><table class="{name}"><thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{''.join(rows)}</tbody></table></div>"
    )


def badge(word: str, label: str = "") -> str:
    """A state or status as a coloured word; ``word`` chooses the colour."""
    return f'<span class="badge {slug(word)}">{text(label or word)}</span>'


def slug(word: str) -> str:
    """A class name out of a word of a guest or an event."""
    kept = "".join(c if c.isascii() and c.isalnum() else "-" for c in word[:40])
    return f"s-{kept.lower()}"
