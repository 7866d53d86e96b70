"""What old runs leave behind, and what never goes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from cli_process import Cli
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts/lib"))

from night_runs import InventedRun

from orchestrator.images.cache import ImageCache
from orchestrator.nightly.retention import Kept, removals
from orchestrator.topology.nightly import Retention

DAY = 86_400.0
NOW = 1_000 * DAY
RULES = Retention(failed=30 * DAY, passed=3 * DAY, passed_runs=2, evidence=365 * DAY)


def kept(days: float, *, good: bool = True, needed: str = "", finished: bool = True, large: int = 1000) -> Kept:
    name = f"{'good' if good else 'bad'}-{days}"
    return Kept(name, f"/runs/{name}", NOW - days * DAY, good, finished, large, 10, needed)


def gone(runs: list[Kept], rules: Retention = RULES) -> list[tuple[str, str]]:
    return [(one.run.run_id, one.part) for one in removals(runs, rules, NOW)]


def test_failed_runs_stay_longer_and_some_passed_ones_in_any_case() -> None:
    runs = [kept(days, good=good) for days in (1, 2, 10, 20, 40) for good in (True, False)]
    assert gone(runs) == [("good-40", "large"), ("bad-40", "large"), ("good-20", "large"), ("good-10", "large")]


def test_the_last_passed_runs_stay_however_old() -> None:
    assert gone([kept(200), kept(100), kept(50)]) == [("good-200", "large")]


def test_after_a_year_nothing_is_left() -> None:
    assert gone([kept(400, good=False), kept(300, good=False, large=0)]) == [("bad-400", "all")]


def test_the_size_takes_passed_runs_first_and_the_oldest_of_them() -> None:
    runs = [kept(1), kept(2), kept(1.5, good=False)]
    rules = Retention(size=2100)
    assert gone(runs, rules) == [("good-2", "large")]
    assert gone(runs, Retention(size=1100)) == [("good-2", "large"), ("good-1", "large")]
    assert gone(runs, Retention(size=15)) == [("good-2", "all"), ("bad-1.5", "large"), ("good-1", "all")]


@given(
    st.lists(
        st.builds(
            kept,
            st.floats(-500, 900),
            good=st.booleans(),
            needed=st.sampled_from(["", "pinned"]),
            finished=st.booleans(),
        ),
        max_size=12,
        unique_by=lambda one: one.folder,
    ),
    st.sampled_from([None, 0, 500, 5000]),
)
def test_what_is_needed_or_goes_on_never_goes(runs: list[Kept], size: int | None) -> None:
    for one in removals(runs, Retention(size=size), NOW):
        assert not one.run.needed
        assert one.run.finished or one.run.started < NOW - DAY


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Five invented runs of weeks ago: the application breaks a test in the last two."""
    for number in range(5):
        broken = number >= 3
        revisions = {"layer app": "a2" if broken else "a1", "image": "i2" if broken else "i1"}
        tests = {f"page {n}": "f" if broken and n == 0 else "p" for n in range(6)}
        if number == 4:
            tests["page 0"] = "fff"
        folder = InventedRun(number, tests, revisions).write(tmp_path / "runs")
        (folder / "trace.zip").write_bytes(b"x" * 100_000)
    cli = Cli(tmp_path)
    topology = tmp_path / "orchestrator.toml"
    rules = 'failed = "1d"\npassed = "1d"\npassed_runs = 0\nevidence = "2d"\n'
    topology.write_text(f"{topology.read_text()}\n[nightly.retention]\n{rules}")
    cli("history", "import", "runs")
    return cli


@pytest.mark.slow
def test_a_bisection_finds_what_it_needs(cli: Cli) -> None:
    folders = sorted((cli.folder / "runs").iterdir())
    cli("history", "pin", folders[0].name)
    planned = json.loads(cli("history", "prune", "--dry-run", "--json").stdout)["removed"]
    assert all(folder.is_dir() for folder in folders), "a dry run removes nothing"
    cli("history", "prune")
    assert [one["run_id"] for one in planned] == [folders[1].name, folders[4].name]
    # pinned, the last good one, the first bad one
    assert [folder.is_dir() for folder in folders] == [True, False, True, True, False]
    assert len(json.loads(cli("history", "list", "--json").stdout)) == 5, "what they were stays known"


@pytest.mark.slow
def test_the_images_of_a_bisection_outlive_a_prune(cli: Cli) -> None:
    cache = ImageCache(cli.folder / "cache/images")
    for key in ("i1", "i2", "i3"):
        entry = cache.path_of("server", "app", key)
        entry.mkdir(parents=True)
        (entry / "entry.json").write_text(json.dumps({"name": "server", "layer": "app", "key": key, "created": 1.0}))
    cli("history", "prune")
    done = cli("images", "prune", "--keep", "0", "-v")
    assert done.returncode == 0
    assert {entry.key for entry in cache.list_images()} == {"i1", "i2"}


def test_rules_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    topology = tmp_path / "orchestrator.toml"
    topology.write_text(topology.read_text() + '\n[nightly.retention]\nevidence = "36500d"\n')
    assert "a time above 0 and up to ten years" in cli("history", "prune").stderr
