"""`run --clones`: the suite divided among environments that share the memory of one saved state."""

from __future__ import annotations

import json
import signal
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from host import HERE, Host, collected

SUITES = HERE / "suites"
TWO = ("run", "--clones", "2", "--suite", str(SUITES / "worlds"))


def environments(vm: Host) -> dict[str, str]:
    return {one["name"]: one["state"] for one in vm.run("status", "--all", "--json").json}


def test_the_suite_is_divided_and_its_parts_are_one_report(vm: Host, one_phase: Path) -> None:
    """Each clone gets one of the two files; either fails if it finds what the other leaves."""
    done = vm.run("--file", str(one_phase), *TWO, "--json", limit=400)
    done.expect(0, "2 clones of one saved state", r"\[vm-tests-2\] .*start from the saved healthy state", "!cold start")
    assert done.json["tests"] == {"passed": 2, "failed": 0, "flaky": 0, "skipped": 0, "did_not_run": 0}
    assert done.json["missing"] == []
    assert [(clone["name"], clone["tests"]["passed"]) for clone in done.json["clones"]] == [
        ("vm-tests-1", 1),
        ("vm-tests-2", 1),
    ]
    folder = vm.latest
    suites = ElementTree.parse(folder / "junit.xml").getroot()
    assert {suite.get("name") for suite in suites} == {
        f"vm-tests-{number} {part}" for number in (1, 2) for part in ("services", "stack")
    }
    for clone in done.json["clones"]:
        events = [json.loads(line) for line in (folder / clone["run_folder"] / "events.jsonl").read_text().splitlines()]
        assert events[-1]["kind"] == "run.finished"
        assert f"../{clone['run_folder']}/report/index.html" in (folder / "report/index.html").read_text()
    assert environments(vm) == {"vm-tests": "ready"}


def test_clones_end_with_their_command(vm: Host, one_phase: Path) -> None:
    running = vm.start("--file", str(one_phase), *TWO)
    with collected(running):
        running.until_says(r"\[vm-tests-1\] .*READY", 90)
        running.send(signal.SIGKILL)
        running.wait(60)
    end = time.monotonic() + 60
    while environments(vm) != {"vm-tests": "ready"}:
        assert time.monotonic() < end, "the clones are still there"
    # In order, with their reports: the kernel tells a child of its parent's death once for each of its threads.
    summaries = [json.loads(path.read_text()) for path in vm.latest.glob("clones/*/2*/summary.json")]
    assert [summary["outcome"] for summary in summaries] == ["interrupted"] * 2
