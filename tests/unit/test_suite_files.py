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
LOCK = tomllib.loads((ROOT / "debian-images/client-tools/npm.lock.toml").read_text(encoding="utf-8"))
TITLE = re.compile(r"""^ *test\((?P<quote>['"])(?P<title>.+?)(?P=quote), """, re.MULTILINE)


def test_the_lock_pins_one_release_of_the_three_packages() -> None:
    packages = {package["name"]: package for package in LOCK["package"] if "playwright" in package["name"]}
    assert sorted(packages) == ["@playwright/test", "playwright", "playwright-core"]
    assert len({package["version"] for package in packages.values()}) == 1


@pytest.mark.parametrize("package", LOCK["package"], ids=lambda package: package["name"])
def test_a_pinned_package_names_its_own_tarball_with_a_whole_digest(package: dict[str, str]) -> None:
    base = package["name"].rsplit("/", 1)[-1]
    assert package["url"] == f"https://registry.npmjs.org/{package['name']}/-/{base}-{package['version']}.tgz"
    algorithm, _, digest = package["integrity"].partition("-")
    assert algorithm == "sha512"
    assert len(base64.b64decode(digest, validate=True)) == 64


def test_the_suite_asks_for_the_pinned_release() -> None:
    wanted = json.loads((ROOT / "suite/package.json").read_text(encoding="utf-8"))["devDependencies"]
    assert wanted == {"@playwright/test": LOCK["package"][0]["version"]}


def test_every_test_has_a_title_of_its_own() -> None:
    titles = [match["title"] for spec in SPECS for match in TITLE.finditer(spec.read_text(encoding="utf-8"))]
    assert len(titles) >= 15
    assert sorted(titles) == sorted(set(titles))


def test_each_phase_of_the_topology_selects_tests() -> None:
    phases = tomllib.loads((ROOT / "orchestrator.toml").read_text(encoding="utf-8"))["suite"]["phases"]
    tags = {argument for phase in phases for argument in phase.get("args", []) if argument.startswith("@")}
    text = "".join(spec.read_text(encoding="utf-8") for spec in SPECS)
    assert tags
    assert [tag for tag in tags if f"tag: '{tag}'" not in text] == []


def test_no_test_is_left_focused() -> None:
    for spec in SPECS:
        assert ".only(" not in spec.read_text(encoding="utf-8"), spec.name
