"""`orchestrator matrix` with Dask itself: its commands as users type them, on cells that are cheap."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_process import ROOT, TOPOLOGY, Cli

from orchestrator.procfs import read_stat

pytestmark = pytest.mark.slow
# Each start of a cell leaves a line; one that is told to end says so.
CELL = """\
trap 'echo "ended $ORCH_CELL" >> log; exit 143' TERM
echo "began $ORCH_CELL $$" >> log
echo "this is $ORCH_CELL"
for turn in $(seq 600); do
    case $ORCH_CELL in quick*) break;; esac
    [ ! -e go ] || break
    sleep 0.1
done
[ "$ORCH_CELL" != quick-bad ] || exit 1
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Cells `quick`, `quick-bad` and `slow`; the last one ends when there is a file `go`."""
    found = Cli(tmp_path, {"ORCH_ACCELERATOR": "tcg"})
    (tmp_path / "cell").write_text(CELL)
    text = (
        '\n[matrix]\nvariants = ["quick", "quick-bad", "slow"]\ncommand = ["sh", "cell"]\n'
        "[variants.quick]\n[variants.quick-bad]\n[variants.slow]\n"
    )
    (tmp_path / "orchestrator.toml").write_text(TOPOLOGY + text)
    return found


def lines(cli: Cli) -> list[str]:
    path = cli.folder / "log"
    return path.read_text().splitlines() if path.exists() else []


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


class Started:
    """A command that goes on; it is not waited for."""

    def __init__(self, cli: Cli, *words: str) -> None:
        self._err = (cli.folder / "stderr").open("wb+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "orchestrator", *words],
            cwd=cli.folder,
            env=cli.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._err,
        )
        self._path = cli.folder / "stderr"

    @property
    def stderr(self) -> str:
        return self._path.read_text()

    def workers(self) -> list[int]:
        """The worker processes of this command."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in children if b"fleet.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()]

    def until(self, condition: Callable[[], object]) -> None:
        """Wait for something while the command goes on."""

        def holds() -> object:
            assert condition() or self.process.poll() is None, self.stderr
            return condition()

        until(holds)

    def end(self) -> int:
        code = self.process.wait(60)
        self._err.close()
        return code


def gone(pid: int) -> bool:
    stat = read_stat(pid)
    return stat is None or not stat.running


def summary(cli: Cli) -> dict[str, Any]:
    found = json.loads((cli.folder / "runs/latest/summary.json").read_text())
    assert isinstance(found, dict)
    return found


def test_cells_are_listed_and_nothing_is_started(cli: Cli) -> None:
    done = cli("matrix", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()] == [
        ["1", "quick"],
        ["2", "quick-bad"],
        ["3", "slow"],
    ]
    listed = json.loads(cli("matrix", "--dry-run", "--json", "--shards", "2", "--variant", "slow").stdout)
    assert [(one["id"], one["shard"]) for one in listed] == [("slow+1of2", "1/2"), ("slow+2of2", "2/2")]
    assert not (cli.folder / "runs").exists()
    wrong = cli("matrix", "--cell", "quic")
    assert wrong.returncode == 2 and "the matrix has no cell quic" in wrong.stderr and "there is quick" in wrong.stderr


def test_without_dask_the_command_says_what_to_type(cli: Cli) -> None:
    block = (
        "import sys, importlib.util as u; find = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'distributed' else find(name, *rest)\n"
        "from orchestrator.cli.main import main; sys.exit(main(['matrix']))"
    )
    done = cli.python("-c", block)
    assert done.returncode == 3 and "pip install 'orchestrator[fleet]'" in done.stderr, done.stderr


def test_cells_run_and_are_one_report(cli: Cli) -> None:
    (cli.folder / "go").touch()
    done = cli("matrix", "--json", "-v")
    assert done.returncode == 1, done.stderr
    found = json.loads(done.stdout)
    assert (found["outcome"], found["exit_code"], found["left"]) == ("failed", 1, [])
    assert found["cause"] == "1 of 3 cells: quick-bad: exit code 1 (this is quick-bad)"
    assert {one["id"]: (one["outcome"], one["host"]) for one in found["cells"]} == {
        "quick": ("passed", "local"),
        "quick-bad": ("failed", "local"),
        "slow": ("passed", "local"),
    }
    assert "[slow] this is slow" in done.stderr
    assert len([line for line in lines(cli) if line.startswith("began")]) == 3
    folder = cli.folder / "runs/latest"
    assert (folder / "cells/slow/1/output.log").read_text() == "this is slow\n"
    cases = {one.get("name"): one for one in ElementTree.parse(folder / "junit.xml").getroot().iter("testcase")}
    assert set(cases) == {"quick", "quick-bad", "slow"} and cases["quick-bad"].find("failure") is not None
    page = (folder / "report/index.html").read_text()
    assert page.index("quick-bad") < page.index(">quick<"), "failures first"
    assert json.loads((folder / "matrix.json").read_text())["run"] == folder.resolve().name
    assert not list((cli.folder / "state/fleet").glob("*")), "nothing is left on the host"
    again = cli("report")
    assert again.returncode == 0 and summary(cli)["cells"] == found["cells"]


def test_what_ended_does_not_run_again(cli: Cli) -> None:
    (cli.folder / "go").touch()
    assert cli("matrix").returncode == 1
    before = lines(cli)
    done = cli("matrix", "--resume")
    assert done.returncode == 1 and lines(cli) == before
    assert summary(cli)["outcome"] == "failed", "its result is that of before"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_every_cell_in_order(cli: Cli, number: signal.Signals) -> None:
    started = Started(cli, "matrix")
    started.until(
        lambda: any(line.startswith("began slow") for line in lines(cli)) and "quick-bad: failed" in started.stderr
    )
    pids = [int(line.split()[-1]) for line in lines(cli) if line.startswith("began")] + started.workers()
    started.process.send_signal(number)
    assert started.end() == 128 + number, started.stderr
    assert "ended slow" in lines(cli)
    assert all(gone(pid) for pid in pids)
    found = summary(cli)
    assert (found["outcome"], found["left"]) == ("interrupted", [])
    assert {one["id"]: one["outcome"] for one in found["cells"]}["quick"] == "passed"
    (cli.folder / "go").touch()
    done = cli("matrix", "--resume")
    assert done.returncode == 1, done.stderr
    assert [line.split()[1] for line in lines(cli) if line.startswith("began")].count("quick") == 1
    assert {one["id"]: one["attempt"] for one in summary(cli)["cells"]} == {"quick": 1, "quick-bad": 1, "slow": 2}


def test_a_killed_worker_loses_its_cells_only_and_no_finished_one_runs_again(cli: Cli) -> None:
    """Dask by itself would run the finished cells again too."""
    started = Started(cli, "matrix")
    started.until(
        lambda: any(line.startswith("began slow") for line in lines(cli)) and "quick-bad: failed" in started.stderr
    )
    started.until(lambda: "cell quick: passed" in started.stderr)
    (worker,) = started.workers()
    os.kill(worker, signal.SIGKILL)
    started.until(lambda: "ended slow" in lines(cli))
    (cli.folder / "go").touch()
    assert started.end() == 1, started.stderr
    began = [line.split()[1] for line in lines(cli) if line.startswith("began")]
    assert sorted(began) == ["quick", "quick-bad", "slow", "slow"]
    assert lines(cli).index("ended slow") < len(lines(cli)) - 1, "the first had ended before the second began"
    assert re.search(r"cell slow: lost on local.*cell slow: passed on local, attempt 2", started.stderr, re.DOTALL)


def test_a_killed_command_leaves_nothing_and_can_go_on(cli: Cli) -> None:
    started = Started(cli, "matrix")
    started.until(lambda: any(line.startswith("began slow") for line in lines(cli)))
    (worker,) = started.workers()
    started.process.kill()
    started.end()
    until(lambda: "ended slow" in lines(cli) and gone(worker))
    (cli.folder / "go").touch()
    done = cli("matrix", "--resume")
    assert done.returncode == 1, done.stderr
    assert {one["id"]: one["outcome"] for one in summary(cli)["cells"]}["slow"] == "passed"


def test_values_of_the_shell_reach_cells_and_are_in_no_file(cli: Cli) -> None:
    (cli.folder / "cell").write_text('echo "token is $TOKEN, $OTHER" > seen\n')
    words = ("matrix", "--variant", "quick", "--env", "TOKEN", "--env", "OTHER=typed")
    done = cli(*words, TOKEN="very-secret")
    assert done.returncode == 0, done.stderr
    assert (cli.folder / "seen").read_text() == "token is very-secret, typed\n"
    files = [path for path in (cli.folder / "runs").rglob("*") if path.is_file() and not path.is_symlink()]
    assert files and not [path for path in files if b"very-secret" in path.read_bytes()]
    again = cli("matrix", "--resume")
    assert again.returncode == 2 and "TOKEN is not set in this shell" in again.stderr


def test_two_commands_do_not_run_the_same_cells(cli: Cli) -> None:
    started = Started(cli, "matrix")
    started.until(lambda: any(line.startswith("began slow") for line in lines(cli)))
    done = cli("matrix", "--resume")
    assert done.returncode == 5 and "another command runs the cells" in done.stderr
    (cli.folder / "go").touch()
    assert started.end() == 1


def test_a_cell_that_this_host_cannot_carry_is_refused_at_once(cli: Cli) -> None:
    text = (cli.folder / "orchestrator.toml").read_text().replace('command = ["sh", "cell"]\n', "")
    text += '\n[suite]\nmachine = "alpha"\npath = "suite"\ncommand = ["true"]\nuser = "test"\n'
    (cli.folder / "suite").mkdir()
    (cli.folder / "suite/a.spec.ts").touch()
    (cli.folder / "orchestrator.toml").write_text(text)
    done = cli("matrix", "--json", ORCH_FLEET_MEMORY="100MiB")
    assert done.returncode == 3, done.stderr
    (first, *_) = json.loads(done.stdout)["cells"]
    assert (first["cause"], first["attempt"]) == ("local has 100 MiB of memory, 768 MiB are needed", 0)


SCHEDULER = """\
import asyncio, sys
from orchestrator.fleet.settings import configure_dask
configure_dask()
from distributed import Scheduler
async def main():
    async with Scheduler(host="127.0.0.1", port=0, dashboard_address=":0") as scheduler:
        print(scheduler.address, flush=True)
        await scheduler.finished()
asyncio.run(main())
"""


def test_hosts_of_a_scheduler_that_is_there_already(cli: Cli) -> None:
    (cli.folder / "go").touch()
    processes = []

    def start(*words: str) -> subprocess.Popen[str]:
        argv = [sys.executable, *words]
        processes.append(subprocess.Popen(argv, cwd=cli.folder, env=cli.environment, stdout=subprocess.PIPE, text=True))
        return processes[-1]

    try:
        scheduler = start("-c", SCHEDULER)
        assert scheduler.stdout is not None
        address = scheduler.stdout.readline().strip()
        nobody = cli("matrix", "--scheduler", address)
        assert nobody.returncode == 3 and "has no host for a matrix" in nobody.stderr
        assert f"python -m orchestrator.fleet.worker {address}" in nobody.stderr
        for name in ("one", "two"):
            worker = start("-m", "orchestrator.fleet.worker", address, name)
            assert worker.stdout is not None and address.partition(":")[0] in worker.stdout.readline()
        done = cli("matrix", "--scheduler", address)
        assert done.returncode == 1, done.stderr
        assert "matrix tiny" in done.stderr and "3 cells on one, two" in done.stderr
        assert {one["outcome"] for one in summary(cli)["cells"]} == {"passed", "failed"}
        again = cli("matrix", "--scheduler", address, "--variant", "quick")
        assert again.returncode == 0, "the scheduler and its hosts are still there"
    finally:
        for process in processes:
            process.terminate()
        for process in reversed(processes):
            process.wait(60)


def test_dask_is_imported_only_when_a_matrix_runs() -> None:
    code = "import sys, orchestrator.cli.matrix, orchestrator.fleet.control; print('distributed' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
