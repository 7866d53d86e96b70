"""A healthy environment comes up in order, is noticed at once, and answers `status` at any time."""

from __future__ import annotations

import re
import statistics
import subprocess
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from conftest import MEASURES, Shared
from host import Host, collected

from orchestrator.timeline.read import read_timeline

GOOD = {"healthy", "completed"}


def moment(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


@pytest.fixture(scope="module")
def boot(shared: Shared) -> list[dict[str, Any]]:
    """The events of the first ``up``."""
    events = shared.host.events(folder=shared.host.started_in())
    ends = [number for number, event in enumerate(events) if event["kind"] == "run.finished"]
    return events[: ends[0] + 1]


def test_up_says_ready_and_what_to_do_next(shared: Shared) -> None:
    shared.up.expect(
        0,
        r"READY in [\d.]+ s",
        r"http://127\.0\.0\.1:\d+ is server:80",
        r"orchestrator .*shell server",
        "service backend: healthy",
        "!error",
    )


def test_no_service_starts_before_what_it_needs(boot: list[dict[str, Any]]) -> None:
    plan = {service["name"]: service for service in boot[0]["services"]}
    assert len(plan) == 9
    good: dict[str, float] = {}
    started: dict[str, float] = {}
    ready: dict[str, float] = {}
    for event in boot:
        if event["kind"] == "machine.state" and event["state"] == "agent":
            ready[event["subject"]] = moment(event)
        if event["kind"] != "service.state":
            continue
        name = event["subject"]
        if event["state"] == "starting":
            missing = [needed for needed in plan[name]["depends_on"] if needed not in good]
            assert not missing, f"{name} was started before {missing}"
            assert plan[name]["machine"] in ready, f"{name} was started before its machine answered"
            started[name] = moment(event)
        elif event["state"] in GOOD:
            good[name] = moment(event)
    assert set(good) == set(started) == set(plan)
    for oneshot in ("database", "migrations"):
        assert plan[oneshot]["kind"] == "oneshot"
    # What does not wait for each other runs at the same time.
    for one, other in (("postgresql", "mock-llm"), ("mock-llm", "mock-livekit"), ("postgresql", "mock-livekit")):
        assert started[one] < good[other] and started[other] < good[one], f"{one} and {other} ran after each other"


def test_both_machines_boot_at_the_same_time(boot: list[dict[str, Any]]) -> None:
    times: dict[tuple[str, str], float] = {}
    for event in boot:
        if event["kind"] == "machine.state":
            times.setdefault((event["subject"], event["state"]), moment(event))
    for name in ("server", "client"):
        order = [times[name, state] for state in ("starting", "booting", "agent", "ssh", "ready")]
        assert order == sorted(order)
    assert times["server", "starting"] < times["client", "agent"]
    assert times["client", "starting"] < times["server", "agent"]


def test_our_own_share_of_a_cold_start_is_measured(boot: list[dict[str, Any]]) -> None:
    """From `up` to QEMU's start, images cached: what nobody but us spends."""
    launched = next(e for e in boot if e["kind"] == "machine.state" and e["state"] == "starting")
    own = moment(launched) - moment(boot[0])
    assert own > 0
    MEASURES.append(f"from `up` to the start of QEMU, images cached: {own:.2f} s")


def test_the_second_up_is_quick_and_says_so(shared: Shared, boot: list[dict[str, Any]]) -> None:
    cold = next(event["elapsed"] for event in boot if event["kind"] == "run.ready")
    assert cold > 0
    done = shared.host.run("up", "--json").expect(0, "is up already", r"READY in", "!machine .*: booting")
    MEASURES.append(f"`up` of what is up already: {done.seconds:.1f} s, cold {cold:.1f} s")
    assert done.json["exit_code"] == 0
    assert done.json["run_folder"] == str(shared.host.latest)


def test_status_tells_all_at_once(vm: Host) -> None:
    done = vm.run("status").expect(0)
    lines = done.stdout.splitlines()
    assert lines[0] == "vm-tests: ready"
    for name in ("server", "client"):
        assert re.search(rf"machine {name} +running +pid \d+ +127\.0\.0\.1:\d+ → 22", done.stdout)
    for name in ("network", "postgresql", "mock-llm", "mock-livekit", "backend", "nginx", "client"):
        assert re.search(rf"service {name} +healthy", done.stdout)
    for name in ("database", "migrations"):
        assert re.search(rf"service {name} +completed", done.stdout)
    found = vm.run("ps", "--json").expect(0).json
    assert found["state"] == "ready" and found["variant"] == "mock"
    assert {name: service["state"] for name, service in found["services"].items() if service["state"] not in GOOD} == {}
    times = sorted(vm.run("status").expect(0).seconds for _ in range(3))
    MEASURES.append(f"status: {times[0]:.2f} s")


def test_status_makes_the_checks_when_asked(vm: Host) -> None:
    vm.run("status", "--checks").expect(0)


def test_a_check_that_becomes_true_is_known_at_once(vm: Host) -> None:
    """The server's door is shut, a restart waits for it, the door opens: how long until we know?"""
    delays = []
    folder = vm.started_in()
    for _ in range(3):
        vm.guest("server", "nft insert rule inet filter input tcp dport 80 reject with tcp reset")
        waiting = vm.start("restart", "client")
        with collected(waiting):
            try:
                waiting.until(lambda: _answers(vm, folder, False), 30, "failed check")
            finally:  # a door left shut would fail every later test as well
                true_at = _repaired(vm, "sleep 1; nft -f /etc/nftables.conf; echo done")
            waiting.wait(30).expect(0, "READY")
        delays.append(max(moment(event) for event in _answers(vm, folder, True)) - true_at)
    MEASURES.append("from true in the guest to known here: " + ", ".join(f"{delay:.2f} s" for delay in delays))
    assert statistics.median(delays) <= 1.0, delays


def _answers(vm: Host, folder: Path, ok: bool) -> list[dict[str, Any]]:
    """Answers of the client's checks since its last restart began, of one kind."""
    events = vm.events(folder=folder)
    pending = [n for n, event in enumerate(events) if event["subject"] == "client" and event.get("state") == "pending"]
    begun = pending[-1] if pending else len(events)  # the restart has not begun yet
    return [
        event
        for event in events[begun:]
        if event["kind"] == "check.result" and event["subject"] == "client" and event["ok"] is ok
    ]


def _repaired(vm: Host, script: str) -> float:
    """Run the script in the server; when its word came out of the guest, some milliseconds after it was true."""
    with subprocess.Popen(
        vm.argv("exec", "server", "--", "sh", "-c", script), env=vm.environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        return time.time()


def test_a_line_of_a_guest_is_where_it_was_said(vm: Host) -> None:
    """A line is said in the guest between two looks at the host's clock: there it must be in the timeline."""
    # By logger: the kernel's own lines have the time of another clock (docs/report.md).
    script = 'while read -r word; do logger -- "$word"; echo done; done'
    moments: dict[str, tuple[float, float]] = {}
    with subprocess.Popen(
        vm.argv("exec", "server", "--", "sh", "-c", script),
        env=vm.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for number in range(10):
            word, before = f"axis-mark-{number}", time.monotonic()
            process.stdin.write(f"{word}\n")
            process.stdin.flush()
            assert process.stdout.readline() == "done\n"
            moments[word] = (before, time.monotonic())
        process.stdin.close()
    folder, end = vm.started_in(), time.monotonic() + 30
    while "axis-mark-9" not in (folder / "machines" / "server" / "journal.jsonl").read_text():
        assert time.monotonic() < end, "the journal does not come"
        time.sleep(0.1)
    timeline = read_timeline(folder)
    marks = [one for one in timeline.entries if "axis-mark-" in one.text]
    found = {one.text.rpartition(" ")[2]: one for one in marks if one.source == "journal"}
    assert found.keys() == moments.keys()
    late, outside = [], []
    for word, (before, after) in moments.items():
        at = found[word].at - timeline.axis.origin + timeline.axis.zero
        off = max(before - at, at - after, 0.0)
        outside.append(off - found[word].margin)
        late.append(at - (before + after) / 2)
    # A host that stops for a moment between the line and its stamp moves one line, not all of them.
    assert statistics.median(outside) <= 0.020 and max(outside) <= 0.5, [round(one, 4) for one in outside]
    widest = max(after - before for before, after in moments.values())
    MEASURES.append(
        f"a guest's line on the host's axis: {1000 * statistics.median(late):+.1f} ms from the middle of a round trip, "
        f"which took {1000 * widest:.0f} ms at most"
    )
