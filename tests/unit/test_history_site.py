"""The pages of the history: complete, quoted, and in need of nothing but themselves."""

from __future__ import annotations

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts/lib"))

from night_runs import InventedRun

from orchestrator.history.filling import fill
from orchestrator.history.site import write_site
from orchestrator.history.store import History

EVIL = "</script><script>alert(1)</script> & <b>"


class Page(HTMLParser):
    """Collects what a page refers to, and its text."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 nights: one test is flaky, one breaks, one gets slower; one night says nothing."""
    folder = tmp_path_factory.mktemp("site")
    for night in range(40):
        tests = {
            "steady": "p",
            f"evil {EVIL}": "p",
            "now and then": "fp" if night % 5 == 0 else "p",
            "broken lately": "f" if night > 36 else "p",
            "more": "p",
        }
        run = InventedRun(night, tests, outcome="error" if night == 20 else "", seconds=9.0 if night > 25 else 1.0)
        made = run.write(folder / "the runs")
        if night == 39:
            (made / "report").mkdir()
            (made / "report/index.html").write_text("the report")
    history = History(folder / "state")
    history.add_folder(folder / "the runs")
    root = folder / "public/nights"
    history.use(lambda one: (fill(one, history.folders()), write_site(one, root)), lambda _: None)
    return root


def test_everything_is_there_and_leads_somewhere(root: Path) -> None:
    pages = [root / "index.html", *sorted((root / "tests").iterdir())]
    assert len(pages) == 6
    for path in pages:
        page = Page(path)
        assert "script" not in page.tags
        for link in page.links:
            assert not re.match(r"[a-z]+:|//", link), "it needs no network"
            assert (path.parent / link.replace("%20", " ")).is_file(), link
    assert any("the%20runs" in link for path in pages[1:] for link in Page(path).links), "to a report that exists"


def test_the_first_page_says_what_matters_first(root: Path) -> None:
    text = Page(root / "index.html").text
    assert text.index("broken lately") < text.index("now and then") < text.index("steady")
    assert "1 broken, 1 flaky" in text
    assert re.search(r"Flaky tests .* in \d+ % to \d+ % of 39 runs now and then", text)
    assert "Durations that changed" in text
    assert "steady 1 s 9 s" in text


def test_the_map_has_a_cell_for_each_night(root: Path) -> None:
    text = (root / "index.html").read_text()
    row = re.search(r'<td class="state flaky">flaky</td><td><svg[^>]* aria-label="([^"]*)"', text)
    assert row
    assert row[1] == "32 passed, 7 mixed, 1 infrastructure"
    assert len(re.findall(r"<rect ", text)) == 40


def test_a_page_of_a_test_has_its_runs_and_errors(root: Path) -> None:
    texts = [Page(path).text for path in (root / "tests").iterdir()]
    (text,) = (one for one in texts if one.startswith("broken lately"))
    assert "Broken since" in text
    assert "3 × expected N, found N" in text
    assert text.count("✘") == 3


def test_what_a_guest_said_is_text(root: Path) -> None:
    assert "<script" not in "".join(path.read_text() for path in root.rglob("*.html"))
    assert any(EVIL in one["title"] for one in json.loads((root / "history.json").read_text())["tests"])
