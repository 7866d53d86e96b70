"""Limits of a foreign suite's configuration on a slow host, with the Playwright and the run-e2e-tests of the image."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from local_guest import npm_packages

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "orchestrator/images/bases/browser"

pytestmark = pytest.mark.slow  # every test starts Playwright

SPEC = """
import { test } from '@playwright/test';
test('limits', ({}, info) => {
  const { name, timeout, use } = info.project;
  console.log('LIMITS ' + JSON.stringify({ name, timeout, action: use.actionTimeout, test: info.timeout }));
});
"""
TYPED = """
import { defineConfig } from '@playwright/test';
const limit: number = 3000;
export default defineConfig({
  timeout: limit, use: { actionTimeout: 500 }, projects: [{ name: 'quick', timeout: 2000 }, { name: 'usual' }],
});
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What /opt/e2e of the client holds: the packages of the lock file, and our scripts."""
    folder = tmp_path_factory.mktemp("home")
    for name, source in npm_packages().items():
        if "playwright" in name:
            shutil.copytree(source, folder / "node_modules" / name, copy_function=os.link)
    for script in ("event-reporter.cjs", "prepared-runner.cjs", "browsers.cjs", "scaled-config.ts"):
        (folder / script).write_text((TOOLS / script).read_text())
    return folder


def limits(home: Path, suite: Path, *arguments: str, **more: str) -> list[dict[str, object]]:
    (suite / "node_modules").symlink_to(home / "node_modules")  # in a guest it lies above the suites
    (suite / "a.spec.ts").write_text(SPEC)
    environment = {
        **os.environ,
        "E2E_HOME": str(home),
        "ARTIFACT_DIR": str(suite / "artifacts"),
        "E2E_TIME_FACTOR": "10",
        "E2E_PREPARED": str(suite / "prepared"),
        "E2E_PID_FILE": str(suite / "pid"),
        "E2E_SCALE": "1",
        **more,
    }
    done = subprocess.run(
        [TOOLS / "run-e2e-tests", "--workers=1", *arguments],
        cwd=suite,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line.split("LIMITS ")[1]) for line in done.stdout.splitlines() if "LIMITS " in line]


@pytest.mark.parametrize("package", ['{"type": "module"}', "{}"])
def test_every_limit_of_a_configuration_is_multiplied(home: Path, tmp_path: Path, package: str) -> None:
    (tmp_path / "package.json").write_text(package)
    (tmp_path / "playwright.config.ts").write_text(TYPED)
    assert limits(home, tmp_path) == [
        {"name": "quick", "timeout": 20000, "action": 5000, "test": 20000},
        {"name": "usual", "timeout": 30000, "action": 5000, "test": 30000},
    ]


def test_without_a_configuration_playwrights_own_limit_is_multiplied(home: Path, tmp_path: Path) -> None:
    assert limits(home, tmp_path) == [{"name": "", "timeout": 300000, "test": 300000}]


def test_a_configuration_that_the_caller_names_stays_as_it_is(home: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.config.js").write_text("module.exports = { timeout: 1234 };")
    (found,) = limits(home, tmp_path, "--config=mine.config.js")
    assert found["timeout"] == 1234


def test_a_suite_that_heeds_the_factor_itself_is_left_alone(home: Path, tmp_path: Path) -> None:
    (tmp_path / "playwright.config.js").write_text("module.exports = { timeout: 1234 };")
    (found,) = limits(home, tmp_path, E2E_SCALE="")
    assert found["timeout"] == 1234
