"""What a change costs: each kind of change, from `up` to READY, against a cold and a warm start; and a state in a file.

``scripts/bench incremental``. The application is a copy of the stand-in; a change is a comment at the end of one file.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench_rows import NAME, ROOT, Row, orchestrator

from orchestrator.events.read import load_events
from orchestrator.events.run import RunStarted
from orchestrator.events.suite import TestBegan

Say = Callable[[str], None]
BACKEND, FRONTEND = "lib/alicia_standin/__init__.py", "share/alicia/frontend/index.html"
COMMENTS = {".py": "\n# {}\n", ".html": "\n<!-- {} -->\n"}
CHECK = ('"http://127.0.0.1/health"', '"http://127.0.0.1:80/health"')  # the same answer, asked for in other words
TEST = "page itself"


@dataclass(frozen=True)
class Bench:
    """The environment of the bench, with a copy of the application."""

    app: Path
    environment: Mapping[str, str]
    say: Say

    def up(self, what: str, *more: str) -> float:
        """Seconds from the command to READY; the machines are down before it and stay up."""
        self.down()
        seconds = orchestrator("up", "-q", "--name", NAME, "--app", str(self.app), *more, environment=self.environment)
        self.say(f"{what}: {seconds:.2f} s")
        return seconds

    def down(self) -> None:
        orchestrator("down", "-q", "--name", NAME, environment=self.environment)

    def change(self, file: str, number: int) -> None:
        """Another content of one of the application's files."""
        path = self.app / file
        path.write_text(path.read_text() + COMMENTS[path.suffix].format(f"{number} {time.time_ns()}"))

    def plan(self) -> list[str]:
        """The services that the next start starts again."""
        words = ["plan", "--json", "-q", "--name", NAME, "--app", str(self.app)]
        argv = [sys.executable, "-m", "orchestrator", *words]
        done = subprocess.run(argv, env=dict(self.environment), cwd=ROOT, capture_output=True, check=True)
        again: list[str] = json.loads(done.stdout)["start_again"]
        return again

    def latest(self, name: str) -> Path:
        return Path(self.environment["ORCH_RUNS"]) / "latest" / name


def measure(count: int, environment: Mapping[str, str], say: Say) -> list[Row]:
    """All rows; the environment is down afterwards."""
    with tempfile.TemporaryDirectory(prefix="orch-bench-app-") as folder:
        bench = Bench(Path(folder) / "app", environment, say)
        shutil.copytree(ROOT / "standin", bench.app)
        rows = [*changes(bench, count), first_test(bench, count), own_time(bench, count), *in_a_file(bench)]
        bench.down()
    return rows


def changes(bench: Bench, count: int) -> list[Row]:
    """Cold, warm, and one row for each kind of change."""
    cold = [bench.up(f"cold {n}", "--fresh") for n in range(count)]
    summary = json.loads(bench.latest("summary.json").read_text())
    takes = {service["name"]: service["seconds"] or 0.0 for service in summary["services"]}
    warm = [bench.up(f"warm {n}", "--warm") for n in range(count)]
    backend, frontend, check, limit = [], [], [], []
    for number in range(count):
        bench.change(BACKEND, number)
        again = bench.plan()
        backend.append(bench.up(f"backend {number} ({', '.join(again)})"))
        limit.append(sorted(warm)[len(warm) // 2] + sum(takes[name] for name in again))
        bench.change(FRONTEND, number)
        frontend.append(bench.up(f"frontend {number}"))
    with another_check() as topology:
        check = [bench.up("another check", "--file", str(topology)) for _ in range(count)]
    return [
        Row("warm `up` to READY, against cold", warm, cold, "-"),
        Row("a changed backend file to READY, against cold", backend, cold, "≤ 0.25"),
        Row("a changed backend file, against warm and what starts again cold", backend, limit, "≤ 1.3"),
        Row("a changed frontend file to READY, against warm", frontend, warm, "≤ warm + 1 s"),
        Row("a changed check to READY, against warm", check, warm, "≤ 1"),
    ]


@contextmanager
def another_check() -> Iterator[Path]:
    """The topology with one check in other words, beside the real one: its relative paths are the same."""
    text = (ROOT / "orchestrator.toml").read_text()
    if CHECK[0] not in text:
        sys.exit(f"orchestrator.toml has no {CHECK[0]!r} any more")
    path = ROOT / f".bench-{os.getpid()}.toml"
    path.write_text(text.replace(*CHECK))
    try:
        yield path
    finally:
        path.unlink()


def first_test(bench: Bench, count: int) -> Row:
    """From `run` to the first test's begin: after a change of the frontend, and without one."""
    words = ("run", "-q", "--grep", TEST, "--name", NAME, "--app", str(bench.app))
    found: dict[bool, list[float]] = {True: [], False: []}
    for number in range(count):
        for changed in (True, False):
            bench.down()
            if changed:
                bench.change(FRONTEND, number)
            orchestrator(*words, environment=bench.environment)
            events = list(load_events(bench.latest("events.jsonl")))
            began = next(event.at for event in events if isinstance(event, RunStarted))
            found[changed].append(next(event.at for event in events if isinstance(event, TestBegan)) - began)
            bench.say(f"first test, {'changed' if changed else 'unchanged'}: {found[changed][-1]:.2f} s")
    return Row(
        "`run` to the first test, a frontend file changed, against unchanged", found[True], found[False], "≤ + 1 s"
    )


def own_time(bench: Bench, count: int) -> Row:
    """Processor time of a warm `up` that is our process's own, without the machines."""
    seconds = []
    for _ in range(count):
        bench.down()
        argv = [sys.executable, "-m", "orchestrator", "up", "-q", "--name", NAME, "--app", str(bench.app)]
        process = subprocess.Popen(argv, env=dict(bench.environment), cwd=ROOT, stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status != 0:
            sys.exit(f"a warm up ended with {status}")
        seconds.append(usage.ru_utime + usage.ru_stime)
    return Row("processor time of a warm `up`", seconds, [], "≤ 0.4 s")


def in_a_file(bench: Bench) -> list[Row]:
    """The states of the last start in one file, and taken from it by a host without any."""
    file = bench.app.parent / "states"
    seconds = orchestrator("snapshot", "export", "-q", "--name", NAME, str(file), environment=bench.environment)
    size = file.stat().st_size / 2**20
    bench.down()
    orchestrator("snapshot", "prune", "-q", "--all", environment=bench.environment)
    back = orchestrator("snapshot", "import", "-q", "--name", NAME, str(file), environment=bench.environment)
    warm = bench.up("warm, from the file", "--warm")
    return [
        Row("`snapshot export` of two machines", [seconds], [], "-"),
        Row("size of the file", [size], [], "-", "MiB"),
        Row("`snapshot import`, no state there", [back], [], "-"),
        Row("warm `up` from the imported state", [warm], [], "-"),
    ]
