"""The files made of a run: exact for the samples, well-formed for anything."""

import json
import os
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest
from event_records import recorded
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.events import Event
from orchestrator.events.base import KINDS
from orchestrator.events.read import RENAMED, load_events
from orchestrator.report import write_report
from orchestrator.report.fold import fold
from orchestrator.report.html import PNG, render_html, wanted_images
from orchestrator.report.junit import junit_xml
from orchestrator.report.summary import SUMMARY_FORMAT, summary_json
from orchestrator.report.write import read_images

GOLDEN = Path(__file__).parents[1] / "golden" / "report"
SAMPLES = ("sample", "failed-migrations", "failed-tests")
VOID = {"meta", "img", "br", "hr", "input", "link"}
HOSTILE = "</script></pre><img src=x onerror=alert(1)>\x1b]0;t\x07\x00&amp;\"'`${x}$title]]>\ud800\u202e"


class Skeleton(HTMLParser):
    """Checks that tags are balanced, and keeps them with their attributes, and every link."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append((tag, named))
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag


class PageText(HTMLParser):
    """The page as a person reads it: a line for each heading, row, item and bar, ``|`` between cells, links in <>."""

    BREAKS = frozenset("article dl div details figure h1 h2 h3 h4 header li p pre summary table tr ul".split())  # noqa: SIM905

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.hidden = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        css = (named.get("class") or "").split()
        if tag in ("style", "script", "title"):
            self.hidden = tag
        elif tag in ("h1", "h2", "h3", "h4"):
            self.text.append("\n" * 2 + "#" * int(tag[1]) + " ")
        elif tag in self.BREAKS and not {"name", "track"} & set(css):
            self.text.append("\n")
        elif tag in ("td", "th", "dd") or "track" in css:
            self.text.append(" | ")
        elif tag in ("small", "time", "code") or "title" in css or "number" in css:
            self.text.append(" ")
        elif "label" in css or "ready" in css:
            self.text.append("\n    → ")
        if "bar" in css and "title" in named:
            tip = " / ".join((named["title"] or "").split("\n"))
            self.text.append(f"\n    {css[1].removeprefix('s-')} at {named['style']}: {tip}")
        for name in ("href", "src"):
            if tag in ("img", "video") or (name in named and "bar" not in css and "sign" not in css):
                self.text.append(f" <{(named.get(name) or '')[:60]}> " if named.get(name) else "")

    def handle_endtag(self, tag: str) -> None:
        self.hidden = "" if tag == self.hidden else self.hidden

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.text.append(data)


def page_text(page: str) -> str:
    reader = PageText()
    reader.feed(page)
    reader.close()
    lines = [
        " ".join(line.split()) if line[:4] != "    " else line.rstrip() for line in "".join(reader.text).split("\n")
    ]
    return "\n".join(line for line in lines if line.strip(" |")) + "\n"


def golden(name: str, actual: str) -> None:
    """Compare with a stored file; UPDATE_GOLDEN=1 writes it instead."""
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(actual)
    assert actual == path.read_text()


def files_of(sample: str) -> list[str]:
    view = fold(load_events(GOLDEN / f"{sample}-events.jsonl"))
    shots = [shot.path for shot in view.screenshots]
    attached = [a.path for t in view.tests for attempt in t.attempts for a in attempt.attachments]
    return sorted({*shots, *attached, "events.jsonl", "machines/server/serial.log", "playwright/report/index.html"})


@pytest.mark.parametrize("sample", SAMPLES)
def test_samples(sample: str) -> None:
    view = fold(load_events(GOLDEN / f"{sample}-events.jsonl"))
    files = files_of(sample)
    golden(f"{sample}-summary.json", summary_json(view, files))
    golden(f"{sample}-junit.xml", junit_xml(view))
    golden(f"{sample}-page.txt", page_text(render_html(view, files)))


def test_junit_tells_flaky_failed_and_skipped_apart() -> None:
    root = ElementTree.fromstring(junit_xml(fold(load_events(GOLDEN / "failed-tests-events.jsonl"))))
    assert (root.get("tests"), root.get("failures"), root.get("errors"), root.get("skipped")) == ("21", "2", "0", "1")
    cases = {case.get("name"): case for case in root.iter("testcase")}
    flaky = cases["conversations.spec.ts › conversations › creates, renames and deletes"]
    assert flaky.find("failure") is None
    assert flaky.find("flakyFailure") is not None
    failed = cases["chat.spec.ts › chat › sends a message and shows the answer"]
    assert "9 × locator" in (failed.findtext("failure") or ""), "the first failing attempt is the failure"
    assert "8 × locator" in (failed.findtext("rerunFailure") or "")
    assert "[[ATTACHMENT|playwright/test-results/chat-0/trace.zip]]" in (failed.findtext("system-out") or "")
    assert cases["postgresql"].get("time") == "6.310"


def test_junit_of_a_run_that_failed_outside_of_any_case_is_not_green() -> None:
    failure = {"type": "HostError", "what": "no QEMU", "why": "", "where": [], "hint": "", "evidence": []}
    started = recorded("run.started", "a", {"machines": [{"name": "m"}]}, at=1.0)
    root = ElementTree.fromstring(junit_xml(fold([started, recorded("failure", "", failure, at=2.0)])))
    assert root.get("errors") == "1"
    killed = ElementTree.fromstring(junit_xml(fold([started])))
    assert killed.get("errors") == "1"
    assert killed.get("skipped") == "1"


def test_junit_finds_the_part_that_a_failure_without_subject_names() -> None:
    failed = recorded("service.state", "backend", {"state": "failed"}, at=1.0)
    failure = recorded(
        "failure", "", {"type": "ServiceError", "what": "service backend failed", "why": "exit 1"}, at=2.0
    )
    root = ElementTree.fromstring(junit_xml(fold([failed, failure])))
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("1", "1", "0")
    assert "why: exit 1" in (root.findtext(".//failure") or "")


def test_page_names_no_external_resource_and_links_only_what_is_there() -> None:
    view = fold(load_events(GOLDEN / "failed-tests-events.jsonl"))
    files = files_of("failed-tests")
    image = wanted_images(view)[0]
    page = Skeleton(render_html(view, files, {image: PNG + b"rest"}))
    ids = {named["id"] for _, named in page.tags if "id" in named}
    for link in page.links:
        assert link.startswith(("../", "#", "data:image/png;base64,"))
        if link.startswith("#"):
            assert link[1:] in ids
        if link.startswith("../"):
            assert link[3:] in files
    assert sum(link.startswith("data:") for link in page.links) == 1
    assert len(ids) == len([1 for _, named in page.tags if "id" in named]), "ids are unique"


def events_of(hostile: str) -> list[Event]:
    error = {"type": hostile, "what": hostile, "why": hostile, "where": [hostile], "hint": hostile}
    attachment = {"name": hostile, "path": hostile + ".png", "content_type": hostile}
    plan = {"machines": [{"name": hostile, "image": hostile}], "services": [{"name": hostile, "depends_on": [hostile]}]}
    raw: list[tuple[str, dict[str, object]]] = [
        ("run.started", {**plan, "command": hostile, "run_id": hostile, "version": hostile, "topology": hostile}),
        ("host.accelerator", {"accelerator": hostile, "reason": hostile, "qemu": hostile}),
        ("image.state", {"state": "failed", "key": hostile, "detail": hostile, "provider": hostile}),
        ("image.output", {"line": hostile}),
        ("network.state", {"state": hostile}),
        ("machine.state", {"state": "booting"}),
        (
            "log.match",
            {"pattern": hostile, "line": hostile, "explanation": hostile, "severity": hostile, "waiver": hostile},
        ),
        ("service.state", {"state": "starting", "machine": hostile}),
        ("check.result", {"check": hostile, "message": hostile}),
        ("service.state", {"state": hostile, "detail": hostile}),
        ("wait.heartbeat", {"what": hostile, "detail": hostile}),
        ("screenshot", {"path": "../../etc/passwd.png", "step": hostile}),
        ("screenshot", {"path": "javascript:alert(1)//.png", "step": hostile}),
        ("suite.state", {"state": "running"}),
        ("suite.output", {"line": hostile}),
        ("test.begin", {"phase": hostile, "file": hostile}),
        ("test.end", {"phase": hostile, "status": "failed", "error": hostile, "attachments": [attachment]}),
        ("test.end", {"phase": hostile, "status": hostile, "file": hostile}),
        ("note", {"message": hostile, "level": hostile}),
        ("failure", {**error, "evidence": [hostile]}),
    ]
    return [recorded(kind, hostile, data, at=1e9 + i) for i, (kind, data) in enumerate(raw)]


def test_hostile_text_stays_text() -> None:
    view = fold(events_of(HOSTILE))
    page = render_html(view, [])
    assert "<img src=x" not in page
    assert "\x1b" not in page
    assert "\x00" not in page
    tags = Skeleton(page).tags
    assert [tag for tag, _ in tags].count("script") == 1
    assert not any(name.startswith("on") for _, named in tags for name in named)
    assert not any(link.startswith(("javascript:", "../..")) for link in Skeleton(page).links)
    root = ElementTree.fromstring(junit_xml(view))
    assert any("onerror" in (case.get("name") or "") for case in root.iter("testcase"))
    assert json.loads(summary_json(view))["outcome"] == "interrupted"


TEXT = st.text(st.characters(), max_size=30) | st.sampled_from([HOSTILE, "server", "backend", "failed", "healthy"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted(KINDS.keys() | RENAMED.keys())
FIELDS = sorted(
    {one.name for kind in KINDS.values() for one in fields(kind)}
    | {old for _, names in RENAMED.values() for old in names}
    | {"name", "depends_on", "content_type", "cpus", "unit"}
)
STATES = st.sampled_from(["starting", "checking", "healthy", "failed", "running", "finished", "passed", "ready"])
EVENTS = st.lists(
    st.builds(
        recorded,
        kind=st.sampled_from(NAMES),
        subject=TEXT,
        data=st.dictionaries(st.sampled_from(FIELDS), JSON | STATES, max_size=8),
        at=st.floats(0, 4e9) | st.floats(1e9, 1e9 + 100),
    ),
    max_size=25,
)


@given(EVENTS)
def test_any_stream_gives_well_formed_files(events: list[Event]) -> None:
    view = fold(events)
    ElementTree.fromstring(junit_xml(view))
    Skeleton(render_html(view, ["events.jsonl"]))
    assert json.loads(summary_json(view))["format"] == SUMMARY_FORMAT


def test_write_report_completes_the_folder_of_a_killed_run(tmp_path: Path) -> None:
    whole = (GOLDEN / "failed-tests-events.jsonl").read_bytes()
    events = tmp_path / "events.jsonl"
    events.write_bytes(whole[: len(whole) // 2])
    assert write_report(tmp_path).outcome == "interrupted"
    assert json.loads((tmp_path / "summary.json").read_text())["outcome"] == "interrupted"
    events.write_bytes(whole)
    shot = tmp_path / "machines/client/screenshots/01-ready.png"
    shot.parent.mkdir(parents=True)
    shot.write_bytes(PNG + b"picture")
    assert write_report(tmp_path).outcome == "failed"
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert (summary["outcome"], summary["exit_code"]) == ("failed", 1)
    assert summary["artifacts"] == [
        "events.jsonl",
        "junit.xml",
        "machines/client/screenshots/01-ready.png",
        "report/index.html",
        "summary.json",
        "trace.json.gz",
    ]
    assert "data:image/png;base64," in (tmp_path / "report/index.html").read_text()
    assert not list(tmp_path.rglob("*.part"))


def test_only_real_pictures_of_the_run_folder_are_embedded(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.png").write_bytes(PNG + b"secret")
    run = tmp_path / "run"
    run.mkdir()
    (run / "link.png").symlink_to(outside / "secret.png")
    (run / "folder").symlink_to(outside)
    (run / "text.png").write_bytes(b"not a picture")
    (run / "a.png").write_bytes(PNG + b"1" * 50)
    (run / "b.png").write_bytes(PNG + b"2" * 50)
    names = ["link.png", "folder/secret.png", "text.png", "missing.png", "nul\0.png", "a.png", "b.png"]
    assert list(read_images(run, names, total=100)) == ["a.png"]
    assert list(read_images(run, names, total=200)) == ["a.png", "b.png"]


@pytest.mark.parametrize(("code", "cases"), [(4, 0), (3, 1)])
def test_a_phase_that_was_left_without_tests_is_no_error(code: int, cases: int) -> None:
    def event(kind: str, subject: str, **data: object) -> Event:
        return recorded(kind, subject, data, 1.0)

    view = fold(
        [
            event("run.started", "t", command="run --grep x"),
            event("suite.state", "empty", state="running"),
            event("suite.state", "empty", state="finished", exit_code=code, passed=0, failed=0),
            event("run.finished", "t", outcome="passed", exit_code=0, elapsed=1.0),
        ]
    )
    root = ElementTree.fromstring(junit_xml(view))
    assert root.get("errors") == str(cases)


def test_a_film_of_a_test_plays_in_the_page(tmp_path: Path) -> None:
    film = {"name": "video", "path": "playwright/a test/video.webm", "content_type": "video/webm"}
    gone = {**film, "path": "playwright/gone.webm"}
    outside = {**film, "path": "playwright/../../video.webm"}
    run = fold(
        [
            recorded("run.started", "x", {"run_id": "r"}, 1.0),
            recorded(
                "test.end",
                "filmed",
                {"phase": "p", "id": "1", "status": "passed", "duration": 1.0, "attachments": [film, gone, outside]},
                2.0,
            ),
        ]
    )
    page = render_html(run, files={"playwright/a test/video.webm"})
    assert page.count("<video ") == 1
    assert """<video src="../playwright/a%20test/video.webm" controls""" in page
    assert "media-src 'self' file:" in page
