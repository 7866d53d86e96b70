"""run-e2e-tests with a stand-in for `node`: what it passes on, where things go, and its exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

RUNNER = Path(__file__).parents[2] / "orchestrator/images/bases/browser/run-e2e-tests"
# Writes down its arguments and environment, then does as NODE_DOES says.
NODE = """#!/bin/sh
printf '%s\\n' "$@" >"$RECORD.args"
env >"$RECORD.env"
cut -d ' ' -f 5 "/proc/$$/stat" >"$RECORD.group"
cp "$E2E_PID_FILE" "$RECORD.pidfile"
eval "$NODE_DOES"
"""


class Guest:
    """A folder that looks like the client machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "e2e"
        self.suite = self.home / "suites" / "a suite"
        self.artifacts = root / "artifacts"
        self.record = root / "record"
        self.pid_file = root / "pid"
        modules = self.home / "node_modules"
        for folder in (self.suite, modules / "@playwright/test", modules / "playwright/lib", root / "bin"):
            folder.mkdir(parents=True)
        (modules / "@playwright/test/cli.js").touch()
        self.program().write_text("--add-reporter")
        (self.home / "event-reporter.cjs").touch()
        (root / "bin/node").write_text(NODE)
        (root / "bin/node").chmod(0o755)

    def program(self) -> Path:
        return self.home / "node_modules/playwright/lib/program.js"

    def environment(self, does: str, **more: str) -> dict[str, str]:
        return {
            "PATH": f"{self.root / 'bin'}:{os.environ['PATH']}",
            "RECORD": str(self.record),
            "NODE_DOES": does,
            "E2E_HOME": str(self.home),
            "E2E_PID_FILE": str(self.pid_file),
            "ARTIFACT_DIR": str(self.artifacts),
            "E2E_PREPARED": str(self.root / "prepared"),
            **more,
        }

    def run(
        self, *arguments: str, does: str = "echo 1 >$E2E_COUNTS_FILE", **more: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(RUNNER), *arguments],
            cwd=self.suite,
            env=self.environment(does, **more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def arguments(self) -> list[str]:
        return Path(f"{self.record}.args").read_text().splitlines()

    def seen(self, name: str) -> str | None:
        lines = Path(f"{self.record}.env").read_text().splitlines()
        return next((line.partition("=")[2] for line in lines if line.startswith(f"{name}=")), None)


@pytest.fixture
def guest(tmp_path: Path) -> Guest:
    return Guest(tmp_path)


def test_further_arguments_reach_playwright_unchanged(guest: Guest) -> None:
    assert guest.run("--grep", "a b|c", "--retries=2").returncode == 0
    assert guest.arguments()[0].endswith("/node_modules/@playwright/test/cli.js")
    assert guest.arguments()[1] == "test"
    assert guest.arguments()[-3:] == ["--grep", "a b|c", "--retries=2"]
    assert "--pass-with-no-tests" in guest.arguments()


def test_reporters_are_added_and_never_replaced(guest: Guest) -> None:
    guest.run(E2E_PHASE="stack")
    assert "--add-reporter=html,json" in guest.arguments()
    assert not [argument for argument in guest.arguments() if argument.startswith("--reporter")]
    assert guest.seen("PW_TEST_REPORTER") == str(guest.home / "event-reporter.cjs")
    assert guest.seen("PLAYWRIGHT_HTML_OUTPUT_DIR") == f"{guest.artifacts}/report/stack"
    assert guest.seen("PLAYWRIGHT_JSON_OUTPUT_FILE") == f"{guest.artifacts}/results-stack.json"
    assert f"--output={guest.artifacts}/test-results/stack" in guest.arguments()


def test_an_older_playwright_is_not_given_an_option_it_does_not_know(guest: Guest) -> None:
    guest.program().write_text("--reporter")
    guest.run()
    assert not [argument for argument in guest.arguments() if argument.startswith("--add-reporter")]
    assert guest.seen("E2E_REPORTS_ADDED") is None


def test_tests_are_chosen_by_ids_in_the_way_of_each_version(guest: Guest) -> None:
    chosen = guest.root / "chosen tests"
    chosen.write_text('{"failedTests":["abc"]}')
    guest.program().write_text("--last-failed")
    assert guest.run("--grep", "x", E2E_TESTS=str(chosen), E2E_PHASE="stack").returncode == 0
    assert guest.arguments().count("--last-failed") == 1
    assert guest.seen("PLAYWRIGHT_LAST_RUN_OUTPUT_FILE") == str(chosen)
    assert (guest.artifacts / "test-results/stack/.last-run.json").read_text() == chosen.read_text()
    guest.run()
    assert "--last-failed" not in guest.arguments(), "and all without"


def test_a_playwright_that_cannot_choose_by_ids_runs_nothing_rather_than_all(guest: Guest) -> None:
    done = guest.run(E2E_TESTS="/dev/null")
    assert (done.returncode, "older than 1.44" in done.stderr) == (3, True)
    assert not Path(f"{guest.record}.args").exists()


def test_a_suite_with_its_own_playwright_gets_its_own(guest: Guest) -> None:
    own = guest.suite / "node_modules/@playwright/test/cli.js"
    own.parent.mkdir(parents=True)
    own.touch()
    guest.run()
    assert guest.arguments()[0] == str(own)


def test_the_report_folder_links_the_reports_of_all_phases(guest: Guest) -> None:
    folder = '"$PLAYWRIGHT_HTML_OUTPUT_DIR"'
    write = f"mkdir -p {folder} && touch {folder}/index.html; echo 1 >$E2E_COUNTS_FILE"
    guest.run(does=write, E2E_PHASE="one")
    guest.run(does=write, E2E_PHASE="two")
    index = (guest.artifacts / "report/index.html").read_text()
    assert 'href="one/index.html"' in index
    assert 'href="two/index.html"' in index


@pytest.mark.parametrize(
    ("does", "code"),
    [
        ("echo 3 >$E2E_COUNTS_FILE", 0),
        ("echo 3 >$E2E_COUNTS_FILE; exit 1", 1),
        ("echo 0 >$E2E_COUNTS_FILE", 4),
        ("exit 0", 4),
        ("exit 1", 1),  # the configuration does not load: no reporter ever ran
    ],
)
def test_the_exit_code_tells_passed_failed_and_nothing_ran(guest: Guest, does: str, code: int) -> None:
    assert guest.run(does=does).returncode == code


def test_what_is_missing_is_said(guest: Guest) -> None:
    (guest.home / "event-reporter.cjs").unlink()
    done = guest.run()
    assert done.returncode == 3
    assert "event-reporter.cjs is missing" in done.stderr


@pytest.mark.parametrize("arguments", [("--suite",), ("--suite", "no-such-folder")])
def test_a_wrong_suite_is_a_usage_error(guest: Guest, arguments: tuple[str, ...]) -> None:
    assert guest.run(*arguments).returncode == 2


def test_a_phase_cannot_lead_out_of_the_artifact_folder(guest: Guest) -> None:
    assert guest.run(E2E_PHASE="../elsewhere").returncode == 2


def test_the_group_it_writes_down_ends_the_whole_run(guest: Guest) -> None:
    process = subprocess.Popen(
        [str(RUNNER)], cwd=guest.suite, env=guest.environment("exec sleep 60"), stdin=subprocess.DEVNULL
    )
    limit = time.monotonic() + 20
    while not Path(f"{guest.record}.pidfile").exists() and time.monotonic() < limit:
        time.sleep(0.02)
    group = int(guest.pid_file.read_text())
    assert group == int(Path(f"{guest.record}.group").read_text())
    assert group != os.getpgrp()
    os.killpg(group, signal.SIGTERM)
    assert process.wait(timeout=20) == 128 + signal.SIGTERM
    assert not guest.pid_file.exists()


def test_the_environment_of_the_contract_has_its_defaults(guest: Guest) -> None:
    guest.run(BASE_URL="")
    seen = {name: guest.seen(name) for name in ("BASE_URL", "CI", "E2E_TIME_FACTOR", "PLAYWRIGHT_HTML_OPEN")}
    assert json.dumps(seen) == json.dumps(
        {"BASE_URL": "http://server", "CI": "1", "E2E_TIME_FACTOR": "1", "PLAYWRIGHT_HTML_OPEN": "never"}
    )


def test_ci_can_be_unset_for_suites_that_heed_it(guest: Guest) -> None:
    guest.run(CI="")
    assert guest.seen("CI") is None


def test_the_playwright_of_the_image_finds_its_browsers_in_the_image(guest: Guest) -> None:
    guest.run()
    assert guest.seen("PLAYWRIGHT_BROWSERS_PATH") == str(guest.home / "browsers")
    guest.run(PLAYWRIGHT_BROWSERS_PATH="/of/the/suite")
    assert guest.seen("PLAYWRIGHT_BROWSERS_PATH") == "/of/the/suite"


def test_a_playwright_of_the_suites_own_finds_them_where_it_looks(guest: Guest) -> None:
    """The real browsers.cjs, and a playwright-core that has nothing but a registry."""
    core = guest.suite / "node_modules/playwright-core"
    for path, text in {
        core / "package.json": '{"version": "1.49.1"}',
        core / "lib/server/registry/index.js": REGISTRY,
        guest.suite / "node_modules/@playwright/test/cli.js": "",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (guest.home / "browsers.cjs").write_text((RUNNER.parent / "browsers.cjs").read_text())
    real = shutil.which("node")
    assert real is not None, "node is part of the set-up of the tests"
    (guest.root / "bin/node").write_text(
        NODE.replace("printf", f'case $1 in */browsers.cjs) exec {real} "$@" ;; esac\nprintf', 1)
    )
    uid_folder = guest.root / "browsers"
    done = guest.run(E2E_BROWSERS=str(uid_folder))
    assert done.returncode == 0, done.stderr
    found = Path(guest.seen("PLAYWRIGHT_BROWSERS_PATH") or "")
    assert found.parent == uid_folder
    assert (found / "chromium-1148/chrome").readlink() == Path("/usr/bin/chromium-headless-shell")
    assert (found / "ffmpeg-1010/ffmpeg-linux").readlink() == guest.home / "ffmpeg"


REGISTRY = """
const folder = process.env.PLAYWRIGHT_BROWSERS_PATH;
const places = { chromium: 'chromium-1148/chrome', ffmpeg: 'ffmpeg-1010/ffmpeg-linux' };
exports.registry = {
  findExecutable(name) {
    return places[name] && { executablePath: () => `${folder}/${places[name]}` };
  },
};
"""
