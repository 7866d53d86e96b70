"""run-e2e-tests --prepare and prepared-runner.cjs, with the real node and a small stand-in for Playwright."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from processes import descendants

TOOLS = Path(__file__).parents[2] / "orchestrator/images/bases/browser"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed"),
]

CORE = """
const { spawn } = require('child_process');
exports.chromium = {
  launch: async ({ args }) => spawn(process.env.BROWSER, ['--user-data-dir=/tmp/' + Math.random(), ...args],
    { detached: true, stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'] }),
};
"""
# As the real one: a worker that says when it is ready, is told what to do, and launches the browser.
WORKER = """
process.on('message', async ({ args }) => {
  const browser = await require('playwright-core').chromium.launch({ args });
  process.send({ worker: process.pid, browser: browser.pid, label: process.env.E2E_PHASE, cwd: process.cwd() });
  browser.stdio[3].end();
  browser.on('exit', () => process.exit());
});
process.send({ ready: true });
"""
CLI = """
const { fork } = require('child_process');
const words = process.argv.slice(2);
if (words.includes('--list')) process.exit(0);
if (words.includes('--hang')) {
  process.on('SIGINT', () => process.exit(130));
  console.error('hanging');
  setInterval(() => {}, 1000);
} else {
  const entry = require.resolve('playwright/lib/worker.js');
  const worker = fork(entry, { env: process.env, stdio: ['ignore', 'pipe', 'pipe', 'ipc'] });
  worker.stderr.pipe(process.stderr);
  worker.on('message', (message) => {
    if (message.ready) return worker.send({ args: words.includes('--other') ? ['--b'] : ['--a'] });
    const crypto = require('crypto');
    const view = new Uint16Array(8);
    crypto.randomFillSync(view, 2, 3);
    const numbers = {
      uuid: [crypto.randomUUID(), globalThis.crypto.randomUUID()], bytes: crypto.randomBytes(40).length,
      small: crypto.randomInt(3), large: crypto.randomInt(10, 12), fraction: Math.random(),
      web: globalThis.crypto.getRandomValues(new Uint32Array(300)).filter(Boolean).length,
      part: [...view].map(Boolean),
    };
    require('fs').writeFileSync(process.env.E2E_COUNTS_FILE, '1');
    console.error('said on stderr');
    process.stdout.write(JSON.stringify({ ...message, ...numbers, runner: process.pid, words }) + '\\n');
    process.exitCode = 7;
  });
}
"""


class Guest:
    """A folder that looks like the client machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.suite = root / "suites/a suite"
        self.prepared = root / "prepared"
        self.pid_file = root / "pid"
        modules = root / "node_modules"
        for folder in ("@playwright/test", "playwright/lib", "playwright-core"):
            (modules / folder).mkdir(parents=True)
        self.suite.mkdir(parents=True)
        (modules / "@playwright/test/cli.js").write_text(CLI)
        (modules / "playwright/package.json").write_text("{}")
        (modules / "playwright/lib/worker.js").write_text(WORKER)
        (modules / "playwright/lib/loaded.js").write_text("console.log('loaded');")
        (modules / "playwright-core/index.js").write_text(CORE)
        for tool in ("event-reporter.cjs", "prepared-runner.cjs"):
            shutil.copy(TOOLS / tool, root)
        (root / "browser").write_text("#!/bin/sh\nexec cat <&3 >/dev/null\n")
        (root / "browser").chmod(0o755)
        self.prepared.mkdir()
        known = {
            "modules": [str(modules / "playwright/lib/loaded.js"), str(modules / "gone.js")],
            "browser": {"name": "chromium", "options": {"args": ["--a"]}},
        }
        (self.prepared / "known.json").write_text(json.dumps(known))
        self.environment = {
            **os.environ,
            "E2E_HOME": str(root),
            "E2E_PID_FILE": str(self.pid_file),
            "E2E_PREPARED": str(self.prepared),
            "ARTIFACT_DIR": str(root / "artifacts"),
            "BROWSER": str(root / "browser"),
            "TMPDIR": str(root / "tmp"),
        }
        (root / "tmp").mkdir()

    def start(self, *arguments: str, phase: str = "one") -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(TOOLS / "run-e2e-tests"), *arguments],
            cwd=self.suite,
            env={**self.environment, "E2E_PHASE": phase},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, phase: str = "one") -> tuple[int, str, str]:
        process = self.start(*arguments, phase=phase)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    def prepare(self) -> int:
        """The prepared runner's pid."""
        code, _, err = self.run("--prepare")
        assert code == 0, err
        return int((self.prepared / "ready").read_text())


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    one = Guest(tmp_path)
    yield one
    for name in ("ready", "taken"):
        if (one.prepared / name).exists():
            end(int((one.prepared / name).read_text()))


def end(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def gone(pid: int, seconds: float = 20.0) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z"):
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def told(out: str) -> dict[str, Any]:
    (line,) = [line for line in out.splitlines() if line.startswith("{")]
    result: dict[str, Any] = json.loads(line)
    return result


def test_a_prepared_run_is_done_by_what_was_started_before(guest: Guest) -> None:
    runner = guest.prepare()
    waiting = set(descendants(runner))
    code, out, err = guest.run("--grep", "a b|c", phase="two")
    said = told(out)
    assert code == 7
    assert said["runner"] == runner
    assert {said["worker"], said["browser"]} <= waiting, "worker and browser were there already"
    assert (said["label"], said["cwd"]) == ("two", str(guest.suite)), "environment and folder are the asker's"
    assert said["words"][-2:] == ["--grep", "a b|c"]
    assert "loaded\n" in out
    assert "said on stderr" in err
    assert gone(runner)
    assert all(gone(pid) for pid in waiting)
    assert not list((guest.root / "tmp").glob("prepared-browser-*")), "the browser's profile is removed"
    # It served once; the next run is an ordinary one.
    assert told(guest.run()[1])["runner"] != runner


def test_its_random_numbers_are_the_kernels_and_of_the_right_form(guest: Guest) -> None:
    guest.prepare()
    said = told(guest.run()[1])
    assert len(set(said["uuid"])) == 2
    assert all(one[14] == "4" and one[19] in "89ab" and len(one) == 36 for one in said["uuid"])
    assert said["small"] in range(3)
    assert said["large"] in (10, 11)
    assert said["bytes"] == 40
    assert said["web"] >= 299
    assert said["part"][:2] == [False, False] and said["part"][5:] == [False] * 3 and any(said["part"])
    assert 0 <= said["fraction"] < 1


def test_another_browser_is_started_as_if_none_were_prepared(guest: Guest) -> None:
    runner = guest.prepare()
    waiting = set(descendants(runner))
    code, out, _ = guest.run("--other")
    said = told(out)
    assert (code, said["runner"]) == (7, runner)
    assert said["worker"] in waiting
    assert said["browser"] not in waiting
    assert all(gone(pid) for pid in waiting)


def test_one_that_was_killed_is_not_waited_for(guest: Guest) -> None:
    runner = guest.prepare()
    end(runner)
    assert gone(runner)
    code, out, _ = guest.run()
    assert code == 7
    assert told(out)["runner"] != runner


@pytest.mark.parametrize("whose", ["runner", "asker"])
def test_interrupting_the_group_of_the_pid_file_or_its_own_ends_it(guest: Guest, whose: str) -> None:
    runner = guest.prepare()
    process = guest.start("--hang")
    assert process.stderr is not None
    assert any("hanging" in line for line in process.stderr)
    assert int(guest.pid_file.read_text()) == runner
    os.killpg(runner if whose == "runner" else process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert not guest.pid_file.exists()


def test_it_ends_when_nobody_waits_for_it_any_more(guest: Guest) -> None:
    runner = guest.prepare()
    process = guest.start("--hang")
    assert process.stderr is not None
    assert any("hanging" in line for line in process.stderr)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    assert gone(runner)


def test_preparing_again_takes_the_place_of_the_first(guest: Guest) -> None:
    first = guest.prepare()
    second = guest.prepare()
    assert first != second
    assert gone(first)
    assert told(guest.run()[1])["runner"] == second


def test_it_lists_the_tests_where_nothing_is_known_and_says_what_is_wrong(guest: Guest) -> None:
    (guest.prepared / "known.json").unlink()
    code, _, err = guest.run("--prepare")
    assert code == 3
    assert "the prepared runner has ended" in err, "the stand-in's listing tells nothing"
