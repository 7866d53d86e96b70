"""A year of invented nights of 500 tests: reading it from nothing, asking it, writing its pages, and one more night."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench_rows import Row
from night_runs import InventedRun, invent

from orchestrator.cli.main import main
from orchestrator.history.filling import fill
from orchestrator.history.queries import tests
from orchestrator.history.site import index_page, write_site
from orchestrator.history.site_model import site_of
from orchestrator.history.store import History
from orchestrator.nightly import commands

NIGHTS, TESTS = 365, 500
TOPOLOGY = """
name = "shop"
[networks.lan]
subnet = "10.9.0.0/24"
[images.base]
debian = "base.toml"
[machines.alpha]
image = "base"
networks.lan.address = "10.9.0.2"
[suite]
machine = "alpha"
path = "suite"
command = ["true"]
user = "test"
[nightly]
site = "public"
metrics = "night.prom"
"""
FAKE = """
import shutil, sys
from pathlib import Path
if "run" in sys.argv:
    runs = Path(sys.argv[sys.argv.index("--runs") + 1])
    shutil.copytree({run!r}, runs / Path({run!r}).name)
"""


def measure(folder: Path, say: Callable[[str], None]) -> list[Row]:
    """All rows; nothing here starts a machine."""
    say(f"{NIGHTS} run folders with {TESTS} tests each")
    failing = range(0, NIGHTS, 9)
    invent(folder / "runs", NIGHTS, TESTS, failing)
    history = History(folder / "state")
    history.add_folder(folder / "runs")
    rows = []

    def timed(what: str, aim: str, work: Callable[[], object], times: int = 3) -> None:
        taken, computed = [], []
        for _ in range(times):
            begun, used = time.monotonic(), time.process_time()
            work()
            taken.append(time.monotonic() - begun)
            computed.append(time.process_time() - used)
        rows.append(Row(what, taken, [], f"{aim} (of it {min(computed):.3f} s of a processor)"))

    def ask(work: Callable[..., object]) -> Callable[[], object]:
        return lambda: history.use(work, lambda _: None)

    timed("import from nothing", "≤ 30 s", ask(lambda one: fill(one, history.folders())), times=1)
    timed("import of nothing new", "≤ 1 s", ask(lambda one: fill(one, history.folders())))
    timed("verdicts on all tests", "told", ask(tests))
    timed("one test", "≤ 1 s", ask(lambda one: tests(one, word="page 17 works")))
    found = history.use(lambda one: site_of(one, folder), lambda _: None)
    timed("the first page from what was asked", "≤ 1 s", lambda: index_page(found))
    timed("the whole site", "told", ask(lambda one: write_site(one, folder / "site")), times=1)
    say("one night")
    timed("a night beyond its runs, without pages", "≤ 2 s", lambda: _night(folder, "metrics"), times=3)
    timed("a night beyond its runs, with all pages", "told", lambda: _night(folder, "site"), times=1)
    return rows


def _night(folder: Path, what: str) -> None:
    """A night whose run costs nothing: it copies a run folder."""
    place = folder / what
    (place / "suite").mkdir(parents=True, exist_ok=True)
    (place / "suite/package.json").write_text("{}")
    text = TOPOLOGY if what == "site" else TOPOLOGY.replace('site = "public"\n', "")
    (place / "orchestrator.toml").write_text(text)
    (place / "base.toml").write_text('suite = "trixie"\npackages = ["systemd"]\n')
    count = len(list(folder.glob("one-*")))
    passed = {f"page {number} works": "p" for number in range(TESTS)}
    made = InventedRun(NIGHTS + count, passed, started=time.time() + count, environment="shop-night")
    run = made.write(folder / f"one-{count}")
    (place / "fake.py").write_text(FAKE.format(run=str(run)))
    os.environ["ORCH_STATE_DIR"] = str(folder / "state")
    os.chdir(place)
    commands.PROGRAM = (sys.executable, "-S", str(place / "fake.py"))
    code = main(["--quiet", "nightly", "--runs", str(place / "runs")])
    if code != 0:
        sys.exit(f"the night of the bench ended with {code}")
