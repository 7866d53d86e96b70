"""A suite that nobody here wrote, as it is: its packages, films, reporter and environment; on what is up already."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from host import HERE, Host
from test_30_suites import run_suite, summary

from orchestrator.folders import cache_root
from orchestrator.images.npm_packages import NpmPackage, own_registry, unpacked

DATE_FNS = NpmPackage(  # 9000 small files
    "node_modules/date-fns",
    "4.1.0",
    "https://registry.npmjs.org/date-fns/-/date-fns-4.1.0.tgz",
    "sha512-Ukq0owbQXxa/U3EGtsdVBkR1w7KOQ5gIBqdH2hkvknzZPYvBxb/aa6E8L7tmjFtkwZBu3UXBbjIgPo/Ez4xaNg==",
)
MATROSKA = b"\x1a\x45\xdf\xa3"


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The suite with its node_modules, as `npm ci` leaves them."""
    folder = tmp_path_factory.mktemp("suites") / "a foreign suite"
    shutil.copytree(HERE / "suites/foreign", folder)
    source = unpacked(DATE_FNS, cache_root() / "downloads", own_registry())
    shutil.copytree(source, folder / "node_modules/date-fns", copy_function=shutil.copy2)
    return folder


def test_it_runs_without_a_change(vm: Host, suite: Path) -> None:
    """Two phases in the topology, and nothing in the suite for the second: nothing is stopped for it."""
    found = vm.run("validate", "--suite", str(suite)).expect(0)
    assert "playwright.config.ts, 1 spec file, runs with the image's Playwright (package.json asks for ^1.40.0)" in (
        found.stderr
    )
    words = ("--suite", str(suite), "--env", "SHOP_TOKEN=a value = with a sign", "--env", "CI=")
    done = run_suite(vm, HERE / "orchestrator.toml", *words)
    done.expect(
        1,
        "error: 1 of 4 browser tests failed, 1 did not run",
        "✔ .*a page is filmed",
        "✔ .*a package and a variable",
        "✘ .*one that fails",
        "node_modules of the suite .* plugged in",
        "!asks for Playwright",
    )
    if summary(vm.latest)["host"]["time_scale"] > 1:
        done.expect(1, "the limits in the suite's configuration ×")
    folder = vm.latest
    assert not [event for event in vm.events("service.state") if event["state"] == "stopped"]
    data = summary(folder)["tests"]
    assert (data["passed"], data["failed"], data["did_not_run"]) == (2, 1, 1)
    films = list((folder / "playwright/test-results").rglob("*.webm"))
    assert films
    assert films[0].read_bytes()[:4] == MATROSKA
    page = (folder / "report/index.html").read_text()
    assert f'src="../{quote(str(films[0].relative_to(folder)))}"' in page
    own = next((folder / "playwright").rglob("own/results.txt")).read_text()
    assert own.splitlines() == [
        "passed a page is filmed",
        "passed a package and a variable of the suite",
        "failed one that fails",
        "skipped what comes after it",
    ]
    assert vm.guest("client", "mount | grep -c node_modules || :").strip() == "0", "what was plugged in is taken out"
