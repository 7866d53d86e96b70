"""Another suite in place of the shipped one, on the environment that is up: outcomes, reports, artifacts."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from host import HERE, Done, Host, collected, contents

SUITES = HERE / "suites"


def run_suite(vm: Host, file: Path, *words: str) -> Done:
    """`run` on what is up; the machines must be the same ones afterwards."""
    before = [machine["pid"] for machine in vm.status()["machines"].values()]
    done = vm.run("--file", str(file), "run", *words, limit=400)
    assert "stay up" in done.stderr, done.shown()
    assert [machine["pid"] for machine in vm.status()["machines"].values()] == before
    return done


def cases(folder: Path) -> dict[str, ElementTree.Element]:
    """The cases of junit.xml by name."""
    root = ElementTree.parse(folder / "junit.xml").getroot()
    return {str(case.get("name")): case for case in root.iter("testcase")}


def summary(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "summary.json").read_text())
    assert isinstance(found, dict)
    return found


def test_a_suite_with_a_failing_test_and_one_that_was_not_asked_for(vm: Host, one_phase: Path) -> None:
    before = vm.latest
    done = run_suite(vm, one_phase, "--suite", str(SUITES / "mixed"), "--grep", "healthy|in order|not today")
    done.expect(
        1,
        "error: 1 of 5 browser tests failed, 1 did not run",
        "did not run: .*after the failure",
        r"✔ .*the server is healthy",
        r"✘ .*two and two are five.*the sum",
        r"– .*not today",
        r"report: .*/report/index\.html",
        "!left out by --grep",
        "!✔ .*forged",
    )
    folder = vm.latest
    data = summary(folder)
    assert (data["outcome"], data["exit_code"]) == ("failed", 1)
    wanted = {"total": 5, "passed": 2, "failed": 1, "flaky": 0, "skipped": 1, "did_not_run": 1}
    assert {word: data["tests"][word] for word in wanted} == wanted
    assert folder != before, "a run on what is up has a folder of its own"
    # It tells what the machines are, and has what their logs say from its time on; theirs are where they were.
    assert data["host"]["accelerator"] and data["host"]["time_scale"] >= 1 and len(data["images"]) == 2
    whole, since = (one / "machines/client/journal.jsonl" for one in (vm.started_in(), folder))
    assert whole != since and since.stat().st_size and since.read_bytes() in whole.read_bytes()
    found = cases(folder)
    titles = {
        word: next(case for name, case in found.items() if word in name)
        for word in (
            "the server is healthy",
            "a title of 40 kB",
            "two and two are five",
            "not today",
            "after the failure",
        )
    }
    assert len([case for case in found.values() if case.get("classname") == "mixed.spec.ts"]) == len(titles)
    assert "characters left out" in str(titles["a title of 40 kB"].get("name"))
    assert titles["after the failure"].find("error") is not None
    assert titles["the server is healthy"].find("failure") is None
    failure = titles["two and two are five"].find("failure")
    assert failure is not None and "the sum" in (failure.get("message") or "") + (failure.text or "")
    assert titles["not today"].find("skipped") is not None
    page = (folder / "report/index.html").read_text()
    assert "two and two are five" in page and "the sum" in page
    assert [path for path in (folder / "playwright").rglob("seen*.txt") if '"ok"' in path.read_text()]
    # What the browser recorded holds no secret either, also inside its archives.
    traces = list((folder / "playwright").rglob("*.zip"))
    assert any(b"/health" in content for path in traces for content in contents(path))
    canary = (HERE / "canary.env").read_bytes().strip().partition(b"=")[2]
    assert not [path for path in traces for content in contents(path) if canary in content]


def test_a_crash_in_a_machine_makes_a_passed_run_suspicious(vm: Host, one_phase: Path) -> None:
    """Unless it is known: of two, the one that is not makes it so."""
    known = one_phase.with_name(f"{one_phase.stem}-known.toml")
    waiver = 'pattern = "segfault"\nmatching = "python3"\nreason = "we did it"\nuntil = 2999-01-01\n'
    known.write_text(f"{one_phase.read_text()}\n[[waivers]]\n{waiver}")
    try:
        running = vm.start("--file", str(known), "run", "--suite", str(SUITES / "mixed"), "--grep", "healthy")
        with collected(running):
            running.until_says("READY", 90)
            for words in (
                ("python3", "-c", "import ctypes; ctypes.string_at(0)"),
                ("perl", "-e", 'unpack "p", pack "J", 8'),
            ):
                vm.run("exec", "server", "--", *words).expect(139)
            running.wait(300).expect(
                0,
                r"\(waived: we did it\)",
                r"server: segfault: .*perl\[",
                r"suspicious in .* s \(exit code 0\)",
            )
    finally:
        known.unlink()
    data = summary(vm.latest)
    assert (data["outcome"], data["exit_code"]) == ("suspicious", 0)
    assert data["cause"] == "a program of the guest crashed (segfault, machine server)"


def test_a_suite_folder_that_is_not_there(vm: Host) -> None:
    vm.run("run", "--suite", str(SUITES / "nowhere")).expect(2, "nowhere", within=10)


@pytest.mark.long  # resets; what they do to a suite is in the unit tests with Playwright
def test_each_file_in_a_fresh_state(vm: Host, one_phase: Path) -> None:
    """Both files leave what the other must not find; the reset between them is in place.

    Their names are brackets, blanks and pluses to a regular expression, and one ends like the other.
    Runner, worker and browser are part of the state both begin from, and yet draw other numbers.
    """
    before = vm.status()["machines"]
    done = vm.run("--file", str(one_phase), "run", "--isolate=file", "--suite", str(SUITES / "worlds"), limit=500)
    done.expect(0, "the first file finds nothing", "the second file finds nothing", "suite stack: 2 passed", "stay up")
    after = vm.status()["machines"]
    assert {name: m["ports"] for name, m in after.items()} == {name: m["ports"] for name, m in before.items()}
    assert {m["pid"] for m in after.values()}.isdisjoint({m["pid"] for m in before.values()})
    assert "isolate" not in vm.run("snapshot", "list").stdout
    results = {path.name for path in (vm.latest / "playwright").glob("results-*.json")}
    assert results >= {"results-stack-001.json", "results-stack-002.json"}, "one result of each fresh state"
    done.expect(0, "the suite is prepared", r"fresh state 2 of 2: ready \(", "!machine server: restoring")
    lines = [str(event["line"]) for event in vm.events("suite.output")]
    drawn = [json.loads(line.removeprefix("drawn ")) for line in lines if line.startswith("drawn ")]
    assert [one["in"] for one in drawn] == ["prepared-worker"] * 2
    assert set(drawn[0]["numbers"]).isdisjoint(drawn[1]["numbers"])
    vm.run("reset", limit=200).expect(0, "READY")
