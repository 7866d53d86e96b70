"""``report/index.html``: the whole run on one page that needs nothing else.

Style and script are inlined, no external resource is named. Pictures are
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
from string import Template

from orchestrator.report import sections
from orchestrator.report.markup import safe_path, section, text
from orchestrator.report.model import RunView
from orchestrator.report.timeline import timeline

EMBED_TOTAL = 6_000_000  # bytes of PNG in the page, before base64 makes 4/3 of it
PNG = b"\x89PNG\r\n\x1a\n"


def render_html(view: RunView, files: Collection[str] = (), images: Mapping[str, bytes] | None = None) -> str:
    """The page as text.

    Args:
        files: the files of the run folder as relative paths; only these are linked.
        images: content of the pictures to embed, by relative path.
    """
    present, embedded = frozenset(files), images or {}
    script = _asset("report.js")
    digest = b64encode(sha256(script.encode()).digest()).decode("ascii")
    chart = timeline(view)
    parts = [
        sections.failures(view, present, embedded),
        section("timeline", "Timeline", chart),
        sections.services(view),
        sections.tests(view, present),
        sections.screenshots(view, present, embedded),
        sections.log_matches(view),
        sections.what_ran(view),
        sections.notes(view),
        sections.evidence(present),
    ]
    return Template(_asset("template.html")).substitute(
        title=text(f"{view.outcome}: {view.environment} {view.run_id}".strip()),
        style=_asset("report.css"),
        script=script,
        script_hash=f"sha256-{digest}",
        headline=sections.headline(view),
        main="".join(parts),
        version=text(view.version),
    )


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
    return [path for path in dict.fromkeys(wanted) if path.lower().endswith(".png") and safe_path(path)]


@cache
def _asset(name: str) -> str:
    return (package_files("orchestrator.report") / name).read_text(encoding="utf-8")
