"""The shipped suite through `run`, and everything a run must leave to be read.

A test or two of each of its files: the whole suite is what `scripts/e2e` runs.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import ROOT, Shared
from host import HERE, Done, Host, contents

# Titles of the shipped suite; in each file something that only a browser, the database or the proxy can answer.
CHOSEN = (
    "the start page shows the application",
    "a conversation fits the screen",
    "every answer carries each security header",
    "the status page shows the applied migrations",
    "a message that is sent is stored",
    "a message posted elsewhere appears at once",
    "the page still loads and says",
    "the API and the health check answer 502",
)
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def finished(shared: Shared) -> Iterator[Done]:
    """`run` with both phases of the suite."""
    yield shared.host.run("run", "--json", "--grep", "|".join(CHOSEN), limit=900)


@pytest.fixture(scope="module")
def folder(shared: Shared, finished: Done) -> Path:
    return shared.host.latest


def test_each_file_of_the_suite_is_in_the_choice() -> None:
    texts = {path.name: path.read_text() for path in (ROOT / "suite/tests").glob("*.spec.ts")}
    del texts["faults.spec.ts"]  # its phases have faults: test_90_faults.py
    assert all(any(title in text for title in CHOSEN) for text in texts.values())
    assert all(sum(title in text for text in texts.values()) == 1 for title in CHOSEN)


def test_every_browser_test_passes(finished: Done, folder: Path) -> None:
    finished.expect(0, "suite stack: ", "suite backend-down: ", "!error:")
    tests = finished.json["tests"]
    assert (tests["passed"], tests["failed"], tests["skipped"]) == (len(CHOSEN), 0, 0)
    assert json.loads((folder / "summary.json").read_text())["outcome"] == "passed"


def test_junit_has_every_gate_and_every_test(finished: Done, folder: Path) -> None:
    root = ElementTree.parse(folder / "junit.xml").getroot()
    found = list(root.iter("testcase"))
    assert len(found) >= len(CHOSEN) + 9
    assert not list(root.iter("failure")) and not list(root.iter("error"))
    assert all(float(case.get("time", "-1")) >= 0 for case in found)
    names = " ".join(str(case.get("name")) for case in found)
    for service in ("network", "postgresql", "database", "migrations", "backend", "nginx", "client"):
        assert service in names


def test_the_report_is_one_page_that_needs_nothing_else(finished: Done, folder: Path) -> None:
    page = (folder / "report/index.html").read_text()
    needed: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            values = dict(attrs)
            if tag in ("script", "img", "iframe") and values.get("src"):
                needed.append(str(values["src"]))
            if tag == "link" and values.get("href"):
                needed.append(str(values["href"]))

    Reader().feed(page)
    # Pictures of the run lie beside it; nothing comes from elsewhere, and what it names is there.
    assert not [one for one in needed if re.match(r"(https?:)?//", one)]
    assert not [one for one in needed if not one.startswith("data:") and not (folder / "report" / one).exists()]
    for word in ("backend", "migrations", "server", "client", "viewport"):
        assert word in page


def test_the_browsers_own_reports_came_home(finished: Done, folder: Path) -> None:
    for phase in ("stack", "backend-down"):
        assert (folder / f"playwright/report/{phase}/index.html").is_file()
        assert json.loads((folder / f"playwright/results-{phase}.json").read_text())["stats"]["unexpected"] == 0
    assert list((folder / "playwright").rglob("*.png"))


def test_pictures_of_both_machines_at_each_step(vm: Host, finished: Done, folder: Path) -> None:
    """Those of the boot where it was; those of the run in its own folder."""
    steps = {machine: set[str]() for machine in ("server", "client")}
    for machine, found in steps.items():
        for place in (vm.started_in(), folder):
            for path in (place / "machines" / machine / "screenshots").glob("*.png"):
                assert path.read_bytes().startswith(PNG)
                found.add(path.stem.split("-", 1)[1])
    assert list((folder / "machines/client/screenshots").glob("*-suite-stack-end.png"))
    assert {"ready", "network", "postgresql", "database", "migrations", "backend", "nginx", "end"} <= steps["server"]
    assert {"ready", "client", "suite-stack-start", "suite-stack-end", "end"} <= steps["client"]


def test_logs_of_every_service_and_machine(vm: Host, finished: Done, folder: Path) -> None:
    for machine in ("server", "client"):
        for name in ("serial.log", "journal.jsonl", "qemu.log"):
            assert (folder / "machines" / machine / name).exists()
        console = vm.started_in() / "machines" / machine / "serial.log"
        assert "Linux version" in console.read_text(errors="replace")
    services = folder / "machines/server/services"
    said = {
        "postgresql.log": "ready to accept connections",
        "postgresql-setup.log": "database alicia of alicia is ready",
        "alicia-migrate.log": "Migrations: ",
        "alicia.log": "listening on",
        "mock-llm.log": "",
        "mock-livekit.log": "",
        "nginx.log": "Started nginx",
        "var-log-nginx-access.log": "GET /api/v1/conversations",
        "var-log-nginx-error.log": "",
    }
    for name, text in said.items():
        assert text in (services / name).read_text(errors="replace"), name


def test_no_secret_is_in_anything_a_run_leaves(vm: Host, finished: Done, folder: Path) -> None:
    canary = (HERE / "canary.env").read_text().strip().partition("=")[2]
    stack = (ROOT / "stack/stack.toml").read_text()
    secrets = {canary, *re.findall(r'^(?:password|ALICIA_LIVEKIT_API_SECRET) = "([^"]+)"', stack, re.MULTILINE)}
    assert len(secrets) >= 3
    state = next((vm.root / "state/environments").iterdir()) / "state.json"
    for path in [state, *(path for path in folder.rglob("*") if path.is_file())]:
        for content in contents(path):
            assert not [secret for secret in secrets if secret.encode() in content], f"a secret is in {path}"
    for pid, line in vm.processes().items():
        assert not [secret for secret in secrets if secret in line], pid
    output = finished.stdout + finished.stderr
    assert not [secret for secret in secrets if secret in output]
