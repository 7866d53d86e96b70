"""``report/index.html``: the whole run on one page that needs nothing else.

The templates are in ``templates/``. Whatever they show is quoted (autoescape) and cleaned (`markup.one_line`) by
construction. Style and script are inlined, no external resource is named. Pictures are
embedded up to a total, so that the page can be read when only it was copied.
A content security policy allows exactly our own script: if guest text ever
got past the quoting, the browser would still not run it.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Collection, Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files as package_files
from urllib.parse import quote

from jinja2 import Environment
from markupsafe import Markup

from orchestrator.report import markup, sections
from orchestrator.report.axis_data import axis_data, axis_text
from orchestrator.report.jinja import templates_of
from orchestrator.report.model import RunView
from orchestrator.report.model_tests import Attachment, words
from orchestrator.report.timeline import timeline as chart
from orchestrator.timeline.model import Timeline
from orchestrator.timeline.story import NO_STORY, tell

LIVE_FILES = "files/"  # where a served page has the files of the run folder
EMBED_TOTAL = 6_000_000  # bytes of PNG in the page, before base64 makes 4/3 of it
PNG = b"\x89PNG\r\n\x1a\n"


AXIS_SCRIPTS = ("axis/axis.js", "axis/lanes.js", "axis/log.js")


def render_html(
    view: RunView,
    files: Collection[str] = (),
    images: Mapping[str, bytes] | None = None,
    timeline: Timeline | None = None,
    *,
    live: bool = False,
) -> str:
    """The page as text.

    Args:
        files: the files of the run folder as relative paths; only these are linked.
        images: content of the pictures to embed, by relative path.
        timeline: everything of the run by time; ``view`` is of events whose times are on its axis. None: the page
            has only the chart.
        live: the page is served, asks for what is new, and has the files of the run below ``files/``.
    """
    present = frozenset(files)
    script = "".join(_asset(name) for name in (*(AXIS_SCRIPTS if timeline is not None else ()), "report.js"))
    story = NO_STORY if timeline is None else tell(timeline, view.run_id)
    digest = b64encode(sha256(script.encode()).digest()).decode("ascii")
    running = live and not view.finished
    environment = _environment().overlay()
    environment.filters = {**environment.filters, "named_file": lambda place: sections.named_file(place, present)}
    if live:
        environment.filters["href"] = lambda path: LIVE_FILES + quote(path)
    environment.tests = {**environment.tests, "film": lambda item: _is_film(item, present)}
    return environment.get_template("page.html").render(
        view=view,
        files=present,
        pictures={
            path: Markup("data:image/png;base64,") + b64encode(content).decode("ascii")
            for path, content in (images or {}).items()
        },
        style=Markup(_asset("report.css") + _asset("axis/axis.css")),  # noqa: S704 - files of this package
        axis=None if timeline is None else Markup(axis_text(axis_data(view, timeline, story))),  # noqa: S704 - quoted there
        story=story,
        live=live,
        script=Markup(script),  # noqa: S704
        script_hash=f"sha256-{digest}",
        headline="Running" if running else sections.headline(view),
        outcome="running" if running else view.outcome,
        about=sections.about(view),
        date=sections.date(view.started),
        facts=sections.facts(view),
        failures=sections.failures(view),
        failed_tests=sections.failed_tests(view),
        timeline=chart(view),
        plan=sections.plan(view),
        evidence=sections.evidence(present),
        test_id=sections.test_id,
    )


@cache
def _environment() -> Environment:
    """The templates, their filters and tests."""
    environment = templates_of("orchestrator.report")
    own = (markup.block, markup.href, markup.seconds, markup.percent, markup.plural, markup.slug)
    own_sections = (sections.counts, sections.colour, sections.short, words)
    environment.filters |= {filter_.__name__: filter_ for filter_ in (*own, *own_sections)}
    environment.tests |= {"inside": markup.safe_path, "picture": lambda item: item.path.lower().endswith(".png")}
    return environment


def _is_film(item: Attachment, files: frozenset[str]) -> bool:
    return item.path.endswith(".webm") and markup.safe_path(item.path) and item.path in files


def wanted_images(view: RunView) -> list[str]:
    """Pictures in the order they deserve a place in the page, as safe relative paths.

    First those of failed tests, then the last screen of each machine, then the
    other screenshots from the newest.
    """
    wanted = [
        attachment.path
        for test in view.tests
        if test.status == "failed" and test.first_failure is not None
        for attachment in test.first_failure.attachments
    ]
    wanted += {shot.machine: shot.path for shot in view.screenshots}.values()
    wanted += [shot.path for shot in reversed(view.screenshots)]
    return [path for path in dict.fromkeys(wanted) if path.lower().endswith(".png") and markup.safe_path(path)]


@cache
def _asset(name: str) -> str:
    return (package_files("orchestrator.report") / name).read_text(encoding="utf-8")
