"""The frontend of the stand-in is consistent: names, hashes, and what a strict browser allows."""

from __future__ import annotations

import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

FRONTEND = Path(__file__).parents[2] / "standin/share/alicia/frontend"
ASSETS = sorted((FRONTEND / "assets").iterdir())
Attributes = dict[str, str | None]


class Page(HTMLParser):
    """Collects the tags of a page and the text inside scripts and styles."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, Attributes]] = []
        self.inline: list[str] = []
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style") and data.strip():
            self.inline.append(data)

    def all(self, tag: str) -> list[Attributes]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def page() -> Page:
    return Page((FRONTEND / "index.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("asset", ASSETS, ids=lambda path: path.name)
def test_an_asset_is_named_after_its_content(asset: Path) -> None:
    digest = hashlib.sha256(asset.read_bytes()).hexdigest()[:8]
    stem = asset.name.split("-")[0].split(".")[0]
    wanted = f"{stem}-{digest}{asset.suffix}"
    assert asset.name == wanted, f"rename {asset.name} to {wanted}, also in index.html"


def test_the_page_names_exactly_the_assets_that_exist(page: Page) -> None:
    named = {tag.get("src") or tag.get("href") for tag in page.all("script") + page.all("link")}
    assert named == {f"/assets/{asset.name}" for asset in ASSETS}


def test_the_page_has_what_the_checks_and_a_phone_need(page: Page) -> None:
    assert {"id": "root"} in page.all("div")
    assert page.all("html") == [{"lang": "en"}]
    viewport = next(meta for meta in page.all("meta") if meta.get("name") == "viewport")
    assert "width=device-width" in (viewport["content"] or "")
    assert [tag["href"] for tag in page.all("link") if tag.get("rel") == "icon"]


def test_the_page_needs_no_inline_script_or_style(page: Page) -> None:
    assert page.inline == []
    assert all(tag.get("src") for tag in page.all("script"))
    names = {name for _, attributes in page.tags for name in attributes}
    assert {name for name in names if name.startswith("on") or name == "style"} == set()


@pytest.mark.parametrize(
    "name",
    ["randomUUID", "crypto.subtle", "clipboard", "serviceWorker", "mediaDevices", "innerHTML", "outerHTML", "eval("],
)
def test_the_script_uses_nothing_that_plain_http_forbids_or_markup_from_outside(name: str) -> None:
    # http://server is not a secure context; texts of the server are never markup.
    scripts = [asset for asset in ASSETS if asset.suffix == ".js"]
    assert scripts
    assert [script.name for script in scripts if name in script.read_text(encoding="utf-8")] == []


def test_nothing_is_loaded_from_another_host() -> None:
    for path in [FRONTEND / "index.html", *ASSETS]:
        urls = re.findall(r"https?://[\w.]+", path.read_text(encoding="utf-8"))
        assert [url for url in urls if url != "http://www.w3.org"] == [], path.name
