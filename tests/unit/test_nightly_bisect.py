"""A bisection: the axis first, then the commit; and what it says when it cannot know."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from fake_qemu import run_async
from hypothesis import given
from hypothesis import strategies as st
from nightly_scene import LIB, NightlyScene

from orchestrator.images.installed import installed_packages, package_changes, packages_of
from orchestrator.nightly.bisection import Axis, Finding, Point, ProbeResult, bisect

COMMITS = tuple(f"{number:040x}" for number in range(1, 17))


def axis(name: str, commits: int = 16) -> Axis:
    return Axis(name, "0" * 40, COMMITS[commits - 1], COMMITS[:commits])


def search(axes: list[Axis], guilty: dict[str, int], broken: frozenset[int] = frozenset()) -> Finding:
    """A bisection in which each guilty axis fails from its commit on, and some commits of ``suite`` cannot be tried."""

    def place(name: str, commit: str) -> int:
        return COMMITS.index(commit) if commit in COMMITS else -1

    async def probe(point: Point) -> ProbeResult:
        if place("suite", point.get("suite", "")) in broken:
            return "unknown"
        return "bad" if any(place(name, point[name]) >= first for name, first in guilty.items()) else "good"

    return run_async(bisect(axes, probe))


@given(st.integers(1, 16), st.data())
def test_the_first_bad_commit_is_found_in_few_probes(commits: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, commits - 1))
    found = search([axis("suite", commits), axis("layer app")], {"suite": first})
    assert (found.axis, found.first_bad) == ("suite", [COMMITS[first]])
    assert found.probes <= 2 + 4


def test_the_axis_is_found_among_several() -> None:
    found = search([axis("suite"), axis("topology"), axis("layer app")], {"layer app": 9})
    assert (found.axis, found.first_bad) == ("layer app", [COMMITS[9]])


@given(st.integers(0, 15), st.sets(st.integers(0, 14)))
def test_commits_that_cannot_be_tried_stay_possible(first: int, broken: set[int]) -> None:
    found = search([axis("suite")], {"suite": first}, frozenset(broken))
    assert COMMITS[first] in found.first_bad
    assert all(COMMITS.index(one) in broken for one in found.first_bad[:-1])


def test_it_stops_honestly() -> None:
    gone = search([axis("suite")], {})
    assert (gone.first_bad, gone.probes) == ([], 1)
    assert "does not happen any more" in gone.why
    outside = search([axis("suite"), axis("layer app")], {"suite": -1})
    assert outside.first_bad == []
    assert "as it was in the good run" in outside.why
    both = search([axis("suite"), axis("layer app")], {"suite": 3, "layer app": 5})
    assert both.first_bad == []
    assert "no axis alone is guilty" in both.why


# ------------------------------------------------------------------ with real repositories


FAKE = f"""
import sys, time
from pathlib import Path
sys.path.insert(0, {str(LIB)!r})
from night_runs import InventedRun
words = sys.argv[1:]
take = lambda name: words[words.index(name) + 1]
value = (Path(take("--suite")) / "value").read_text().strip()
number = int(time.time() * 1000) % 100000
if value == "broken":
    sys.exit(3)
command = "orchestrator " + " ".join(words[words.index("run"):])
run = InventedRun(number, {{"a page": "f" if value == "bad" else "p"}}, started=time.time(), command=command,
                  environment=take("--name"))
run.write(Path(take("--runs")))
"""


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", "-C", str(folder), *who, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_a_regression_in_the_suite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = NightlyScene(tmp_path, monkeypatch, capsys)
    (tmp_path / "fake.py").write_text(FAKE)
    suite = tmp_path / "suite"
    git(suite, "init", "-q")
    commits = []
    for number, value in enumerate(("good", "good", "broken", "bad", "bad", "bad")):
        (suite / "value").write_text(f"{value}\n")
        git(suite, "add", "-A")
        git(suite, "commit", "-q", "--allow-empty", "-m", str(number))
        (suite / "number").write_text(str(number))
        git(suite, "add", "-A")
        git(suite, "commit", "-q", "-m", f"{number} too")
        commits.append(git(suite, "rev-parse", "HEAD"))
    _invent(tmp_path, suite, commits[0], commits[-1])
    code, text = scene.command("bisect", "a page", "--json", "--runs", str(tmp_path / "runs"))
    assert code == 0, scene.said
    found = json.loads(text)
    assert found["axis"] == "suite"
    first_bad = [git(suite, "log", "-1", "--format=%s", one) for one in found["first_bad"]]
    assert first_bad == ["2", "2 too", "3"], "those that cannot be tried stay possible"
    assert found["cannot"] == [f"image server differs, and is no commit that could be put back: {DIFF}"]
    assert git(suite, "worktree", "list").count("\n") == 0, "nothing is left of what was put back"
    assert (suite / "value").read_text() == "bad\n"


DIFF = "orchestrator images diff i1 i2"


def _invent(folder: Path, suite: Path, good: str, bad: str) -> None:
    """Runs as the nights before left them: good ones, then bad ones of another image and suite."""
    from night_runs import InventedRun

    from orchestrator.history.filling import record

    for number in range(8):
        is_bad = number >= 5
        revisions = {"suite": "s2" if is_bad else "s1", "image": "i2" if is_bad else "i1"}
        made = InventedRun(number, {"a page": "f" if is_bad else "p"}, revisions).write(folder / "runs")
        events = made / "events.jsonl"
        lines = [json.loads(line) for line in events.read_text().splitlines()]
        for line in lines:
            if line["kind"] == "run.revision" and line["subject"] == "suite":
                line |= {"label": bad if is_bad else good, "folder": str(suite)}
        events.write_text("".join(json.dumps(line) + "\n" for line in lines))
        record(made)


def test_what_cannot_be_compared_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    scene = NightlyScene(tmp_path, monkeypatch, capsys)
    assert scene.command("bisect", "a page")[0] == 2
    assert "no test has 'a page' in its title" in scene.said
    _invent(tmp_path, tmp_path / "suite", "", "")
    assert scene.command("bisect", "a page")[0] == 2
    assert "nothing of what differs can be put back" in scene.said
    assert DIFF in scene.said


# ------------------------------------------------------------------ images


def test_packages_that_two_images_do_not_share(tmp_path: Path) -> None:
    status = "Package: {}\nStatus: {}\nArchitecture: amd64\nVersion: {}\nDescription: text\n more: text\n\n"
    installed = "install ok installed"
    texts = {
        "one": status.format("a", installed, "1")
        + status.format("b", installed, "2:1")
        + status.format("c", "deinstall ok config-files", "9"),
        "two": status.format("a", installed, "1.1") + status.format("d", installed, "4"),
    }
    folders = {}
    for name, text in texts.items():
        folder = folders[name] = tmp_path / name
        (folder / "tree/var/lib/dpkg").mkdir(parents=True)
        (folder / "tree/var/lib/dpkg/status").write_text(text)
        subprocess.run(
            ["/sbin/mke2fs", "-q", "-t", "ext4", "-d", str(folder / "tree"), str(folder / "root.raw"), "4m"], check=True
        )
    found = [run_async(installed_packages(folder)) for folder in folders.values()]
    assert found[0] == packages_of(texts["one"])
    assert [(one.kind, one.name, one.before, one.after) for one in package_changes(*found)] == [
        ("changed", "a:amd64", "1", "1.1"),
        ("removed", "b:amd64", "2:1", ""),
        ("added", "d:amd64", "", "4"),
    ]
