"""`matrix --hosts` over ssh: what travels, what comes home, and what happens to hosts that fail."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_process import ROOT, TOPOLOGY, Cli
from fleet_hosts import Hosts, hosts
from test_fleet_dask import Started, gone, until

pytestmark = pytest.mark.slow
CELL = """\
echo "$ORCH_CELL $WHERE $$" >> $LOG
run=$ORCH_RUNS/20260102T030405Z-abc123
mkdir -p $run/report
echo page > $run/report/index.html
echo large > $run/serial.log
outcome=passed code=0
case $ORCH_CELL in bad*) outcome=failed code=1;; esac
echo "{\\"outcome\\": \\"$outcome\\", \\"exit_code\\": $code, \\"cause\\": \\"as told\\"}" > $run/summary.json
for turn in $(seq 600); do
    case $ORCH_CELL in long*) ;; *) break;; esac
    [ ! -e $LOG.go ] || break
    sleep 0.1
done
[ -z "$SLOW" ] || sleep $SLOW
exit $code
"""


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Cells of a command that says where it runs."""
    folder = tmp_path / "project"
    folder.mkdir()
    found = Cli(folder, {"ORCH_ACCELERATOR": "tcg"})
    (folder / "cell").write_text(CELL)
    return found


def cells(cli: Cli, *names: str) -> None:
    text = f'\n[matrix]\nvariants = {json.dumps(names)}\ncommand = ["sh", "cell"]\n'
    (cli.folder / "orchestrator.toml").write_text(TOPOLOGY + text + "".join(f"[variants.{one}]\n" for one in names))


@pytest.fixture
def four(tmp_path: Path, cli: Cli) -> Iterator[Hosts]:
    """`fine`, `slow`, `small` (too little memory) and `old` (another version of the program)."""
    shutil.copytree(ROOT / "orchestrator", tmp_path / "old-code" / "orchestrator")
    with (tmp_path / "old-code/orchestrator/text.py").open("a") as file:
        file.write("# one line more\n")
    log = str(tmp_path / "log")
    given = {
        "fine": {"WHERE": "fine", "LOG": log},
        "slow": {"WHERE": "slow", "LOG": log, "SLOW": "2"},
        "small": {"WHERE": "small", "LOG": log, "ORCH_FLEET_MEMORY": "300MiB"},
        "old": {"WHERE": "old", "LOG": log, "PYTHONPATH": str(tmp_path / "old-code")},
    }
    paths = {name: {"PYTHONPATH": str(ROOT), **own} for name, own in given.items()}
    (tmp_path / "hosts").mkdir()
    with hosts(tmp_path / "hosts", paths) as found:
        cli.variables["ORCH_SSH"] = found.ssh
        yield found


def log(cli: Cli) -> list[str]:
    path = cli.folder.parent / "log"
    return path.read_text().splitlines() if path.exists() else []


def results(cli: Cli) -> dict[str, Any]:
    found = json.loads((cli.folder / "runs/latest/summary.json").read_text())
    return {one["id"]: one for one in found["cells"]}


def test_cells_run_on_hosts_and_their_evidence_comes_home(cli: Cli, four: Hosts) -> None:
    cells(cli, "a", "b", "bad", "c", "d", "e")
    with tempfile.TemporaryDirectory(prefix="oh-") as scratch:  # names of sockets end at 107 bytes
        cli.variables["TMPDIR"] = scratch
        done = cli("matrix", "--hosts", "fine,slow,old")
        assert not list(Path(scratch).rglob("*.ssh"))
    assert done.returncode == 1, done.stderr
    found = results(cli)
    assert {name: one["outcome"] for name, one in found.items()} == {
        **dict.fromkeys("abcde", "passed"),
        "bad": "failed",
    }
    assert {one["host"] for one in found.values()} <= {"fine", "slow"} and len(log(cli)) == 6
    assert re.search(r"host old: refused: old has version \S+ of this program, here it is ", done.stderr)
    run = cli.folder / "runs/latest"
    assert (run / found["a"]["run_folder"] / "summary.json").exists()
    assert (run / found["a"]["run_folder"] / "report/index.html").read_text() == "page\n"
    assert not (run / found["a"]["run_folder"] / "serial.log").exists(), "of what passed, only what every report needs"
    assert (run / found["bad"]["run_folder"] / "serial.log").read_text() == "large\n"
    assert found["bad"]["cause"] == "as told"
    for name in ("fine", "slow"):
        left = [path for path in four.home(name).glob("state/fleet/*") if path.name != "projects"]
        assert not [path for folder in left for path in folder.rglob("*") if path.is_file()], (
            "no evidence is left there"
        )
        assert four.processes(name) == []


def test_a_host_that_loses_its_power_loses_its_cells_to_another_one(cli: Cli, four: Hosts) -> None:
    cells(cli, "long")
    started = Started(cli, "matrix", "--hosts", "fine,slow")
    started.until(lambda: log(cli) and "slow: up" in started.stderr and "fine: up" in started.stderr)
    first = log(cli)[0].split()[1]
    four.kill(first)
    started.until(lambda: f"host {first}: lost" in started.stderr)
    started.process.send_signal(2)  # that nothing of it runs any more is known only when its lease has run out
    assert started.end() == 130
    assert "cell long: lost on" in started.stderr and four.processes(first) == []


def test_an_interrupt_ends_cells_on_all_hosts(cli: Cli, four: Hosts) -> None:
    cells(cli, "long-a", "long-b")
    cli.variables.update(WHERE="local", LOG=str(cli.folder.parent / "log"))
    started = Started(cli, "matrix", "--hosts", "fine,local")
    started.until(lambda: "fine: up" in started.stderr and "local: up" in started.stderr)
    started.until(lambda: log(cli))
    started.process.send_signal(2)
    assert started.end() == 130, started.stderr
    assert all(gone(int(line.split()[-1])) for line in log(cli))
    assert four.processes("fine") == []


def test_a_killed_command_leaves_nothing_on_its_hosts(cli: Cli, four: Hosts) -> None:
    cells(cli, "long")
    started = Started(cli, "matrix", "--hosts", "fine")
    started.until(lambda: log(cli))
    started.process.kill()
    started.end()
    until(lambda: all(gone(int(line.split()[-1])) for line in log(cli)))
    until(lambda: four.processes("fine") == [])
    (cli.folder.parent / "log.go").touch()
    done = cli("matrix", "--resume", "--hosts", "fine")
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in log(cli)] == [["long", "fine"]] * 2


def test_a_cell_goes_where_there_is_memory_and_one_that_fits_nowhere_is_refused(cli: Cli, four: Hosts) -> None:
    """With the real command: the needs are those of the topology. It fails at once, its image cannot be built."""
    text = TOPOLOGY + '\n[suite]\nmachine = "alpha"\npath = "suite"\ncommand = ["true"]\nuser = "test"\n'
    (cli.folder / "suite").mkdir()
    (cli.folder / "suite/a.spec.ts").touch()
    (cli.folder / "orchestrator.toml").write_text(text)
    done = cli("matrix", "--hosts", "small")
    assert done.returncode == 3
    (cause,) = [one["cause"] for one in results(cli).values()]
    assert "small" in cause and "300 MiB" in cause and "768 MiB" in cause, cause
    assert results(cli)["cell"]["attempt"] == 0, "nothing was started"


def test_a_host_that_cannot_be_reached_is_named_with_the_next_step(cli: Cli, four: Hosts) -> None:
    cells(cli, "a")
    (four.home("slow") / "sshd_config").write_text("off\n")
    done = cli("matrix", "--hosts", "slow")
    assert done.returncode == 3
    (cause,) = [one["cause"] for one in results(cli).values()]
    assert cause.startswith("there is no host; slow does not take part: slow cannot be reached by ssh")


def test_images_travel_once_and_are_whole_or_not_there(cli: Cli, four: Hosts, tmp_path: Path) -> None:
    from fake_qemu import run_async

    from orchestrator.fleet.ssh_host import Luggage, SshHost
    from orchestrator.fleet.ssh_link import connected
    from orchestrator.fleet.travel import Project
    from orchestrator.images.cache import ImageCache

    entry = tmp_path / "cache" / "images" / "server-base-0123456789abcdef"
    entry.mkdir(parents=True)
    with (entry / "base.raw").open("wb") as file:
        file.write(os.urandom(1 << 20))
        file.truncate(64 << 20)
    (entry / "entry.json").write_text('{"name": "server", "layer": "base", "key": "0123456789abcdef", "created": 1}')
    os.environ["ORCH_SSH"] = four.ssh
    told: list[str] = []

    async def scenario() -> None:
        host = SshHost("fine", tmp_path, tmp_path / "ssh.log", Luggage(Project(tmp_path, (), "k"), [entry]))
        async with connected("fine", short, tmp_path / "ssh.log") as link:
            host._link, host._cache = link, str(four.home("fine") / "cache")
            # An earlier one was broken off: what it had brought stays.
            broken = four.home("fine") / "cache/images" / f".arriving-{entry.name}"
            broken.mkdir(parents=True)
            (broken / "base.raw").write_bytes((entry / "base.raw").read_bytes()[: 1 << 19])
            await host._push_image(entry, told.append)
            await host._push_image(entry, lambda _: pytest.fail("it travelled twice"))

    with tempfile.TemporaryDirectory(prefix="oh-") as folder:  # names of sockets end at 107 bytes
        short = Path(folder)
        try:
            run_async(scenario(), 60)
        finally:
            del os.environ["ORCH_SSH"]
    (arrived,) = ImageCache(four.home("fine") / "cache/images").list_images()
    assert (arrived.path / "base.raw").read_bytes() == (entry / "base.raw").read_bytes()
    assert (arrived.path / "base.raw").stat().st_blocks * 512 < 8 << 20, "holes stay holes"
    assert told and all(one.startswith("gets image server-base-") for one in told)
