"""The browser suite, its pinned packages and the topology agree with each other."""

from __future__ import annotations

import base64
import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SPECS = sorted((ROOT / "suite/tests").glob("*.spec.ts"))
LOCK = json.loads((ROOT / "orchestrator/images/bases/browser/package-lock.json").read_text(encoding="utf-8"))
PACKAGES = {path.removeprefix("node_modules/"): package for path, package in LOCK["packages"].items() if path}
TITLE = re.compile(r"""^ *test\((?P<quote>['"])(?P<title>.+?)(?P=quote), """, re.MULTILINE)


def test_the_lock_pins_one_release_of_the_three_packages() -> None:
    packages = {name: package for name, package in PACKAGES.items() if "playwright" in name}
    assert sorted(packages) == ["@playwright/test", "playwright", "playwright-core"]
    assert len({package["version"] for package in packages.values()}) == 1


@pytest.mark.parametrize("name", PACKAGES)
def test_a_pinned_package_names_its_own_tarball_with_a_whole_digest(name: str) -> None:
    package, base = PACKAGES[name], name.rsplit("/", 1)[-1]
    assert package["resolved"] == f"https://registry.npmjs.org/{name}/-/{base}-{package['version']}.tgz"
    algorithm, _, digest = package["integrity"].partition("-")
    assert algorithm == "sha512"
    assert len(base64.b64decode(digest, validate=True)) == 64


def test_the_suite_asks_for_the_pinned_release() -> None:
    wanted = json.loads((ROOT / "suite/package.json").read_text(encoding="utf-8"))["devDependencies"]
    assert wanted == {"@playwright/test": PACKAGES["@playwright/test"]["version"]}


def test_every_test_has_a_title_of_its_own() -> None:
    titles = [match["title"] for spec in SPECS for match in TITLE.finditer(spec.read_text(encoding="utf-8"))]
    assert len(titles) >= 15
    assert sorted(titles) == sorted(set(titles))


def test_each_phase_of_the_topology_selects_tests() -> None:
    phases = tomllib.loads((ROOT / "orchestrator.toml").read_text(encoding="utf-8"))["suite"]["phases"]
    tags = {
        tag
        for phase in phases
        for argument in phase.get("args", [])
        for tag in argument.split("|")
        if tag.startswith("@")
    }
    text = "".join(spec.read_text(encoding="utf-8") for spec in SPECS)
    assert tags
    assert [tag for tag in tags if f"tag: '{tag}'" not in text] == []


def test_no_test_is_left_focused() -> None:
    for spec in SPECS:
        assert ".only(" not in spec.read_text(encoding="utf-8"), spec.name
