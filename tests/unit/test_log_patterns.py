"""Signs of trouble: which lines show one, who waived it, and what it makes of a run."""

from __future__ import annotations

import time
from datetime import date
from pathlib import Path

import pytest
from event_records import notes, recorded

from orchestrator.environment import verdict as module
from orchestrator.environment.verdict import Verdict, warn_of_expired
from orchestrator.errors import SignsFound
from orchestrator.events import Event, EventBus
from orchestrator.events.machines import LogMatched
from orchestrator.events.run import RunFinished
from orchestrator.log_patterns import (
    LOG_PATTERNS,
    LogPattern,
    Severity,
    find_in_console,
    find_in_journal,
    waivable,
    waiver_for,
)
from orchestrator.report.fold import fold
from orchestrator.report.html import render_html
from orchestrator.report.summary import summary
from orchestrator.topology.model import Topology
from orchestrator.waivers import Waiver

FATAL, FAILING, SUSPICIOUS, NOTED = Severity
TODAY = date(2026, 11, 23)
EXAMPLES = [
    ("[    1.5] Kernel panic - not syncing: VFS: Unable to mount root fs", "kernel-panic", FATAL),
    ("You are in emergency mode. After logging in, type", "emergency-mode", FATAL),
    ("Gave up waiting for root file system device.", "no-root", FATAL),
    ("[  512.1] reboot: Power down", "halted", FATAL),
    ("BUG: kernel NULL pointer dereference, address: 0000", "oops", FAILING),
    ("Out of memory: Killed process 812 (postgres) total-vm:1", "oom-kill", FAILING),
    ("[   23.6] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:", "cpu-stall", NOTED),
    ("rcu: INFO: rcu_sched self-detected stall on CPU", "cpu-stall", NOTED),
    ("watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [node:77]", "cpu-stall", NOTED),
    ("BUG: workqueue lockup - pool cpus=0 node=0 flags=0x0 nice=0 stuck for 34s!", "workqueue-lockup", NOTED),
    ("INFO: task jbd2/vda1-8:120 blocked for more than 120 seconds.", "hung-task", SUSPICIOUS),
    ("blk_update_request: I/O error, dev vda, sector 1", "disk-error", FAILING),
    ("cp: write error: No space left on device", "disk-full", SUSPICIOUS),
    ("node[77]: segfault at 0 ip 00007f", "segfault", SUSPICIOUS),
]
JOURNAL = [
    ("kernel", "Out of memory: Killed process 812 (postgres)", "oom-kill", FAILING),
    ("systemd", "alicia.service: Scheduled restart job, restart counter is at 3.", "unit-loop", SUSPICIOUS),
    ("systemd", "alicia.service: Scheduled restart job, restart counter is at 17.", "unit-loop", SUSPICIOUS),
    ("systemd", "nginx.service: Start request repeated too quickly.", "unit-loop", SUSPICIOUS),
    ("systemd", "alicia.service: Main process exited, code=dumped, status=11/SEGV", "core-dump", SUSPICIOUS),
    ("postgres", "2026-11-23 10:00:00 UTC [12] PANIC:  could not write to file", "database-panic", FAILING),
    ("postgres", "could not extend file: No space left on device", "disk-full", SUSPICIOUS),
    ("alicia", "write /var/lib/alicia/x: No space left on device", "disk-full", SUSPICIOUS),
]


@pytest.mark.parametrize(("line", "name", "weight"), EXAMPLES)
def test_lines_of_a_console(line: str, name: str, weight: Severity) -> None:
    sign = find_in_console(line)
    assert sign is not None
    assert (sign.name, sign.severity) == (name, weight)
    assert sign.explanation


@pytest.mark.parametrize(("identifier", "message", "name", "weight"), JOURNAL)
def test_messages_of_a_journal(identifier: str, message: str, name: str, weight: Severity) -> None:
    sign = find_in_journal(identifier, message)
    assert sign is not None
    assert (sign.name, sign.severity) == (name, weight)


def test_every_sign_has_an_example() -> None:
    assert {sign.name for sign in LOG_PATTERNS} == {name for _, name, _ in EXAMPLES} | {
        name for _, _, name, _ in JOURNAL
    }
    assert len({sign.name for sign in LOG_PATTERNS}) == len(LOG_PATTERNS)


@pytest.mark.parametrize("line", ["", "Started nginx.service", "DEBUG: fine", "loops: 3", "panic=1 is set"])
def test_no_sign(line: str) -> None:
    assert find_in_console(line) is None


@pytest.mark.parametrize(
    ("identifier", "message"),
    [
        ("alicia", "BUG: kernel NULL pointer dereference"),  # a program may write what it likes
        ("alicia", "You are in emergency mode"),
        ("systemd", "alicia.service: Scheduled restart job, restart counter is at 2."),
        ("nginx", "PANIC: at the disco"),
        ("test", "code=dumped"),
    ],
)
def test_others_may_say_so(identifier: str, message: str) -> None:
    assert find_in_journal(identifier, message) is None


def the_sign(name: str) -> LogPattern:
    return next(sign for sign in LOG_PATTERNS if sign.name == name)


def waiver(pattern: str = "segfault", machine: str = "", matching: str = "", until: date = TODAY) -> Waiver:
    return Waiver(pattern, "known", until, machine, matching)


LINE = "chrome_crashpad[77]: segfault at 0"


@pytest.mark.parametrize(
    ("known", "wanted"),
    [
        (waiver(), True),
        (waiver(machine="client"), True),
        (waiver(machine="server"), False),
        (waiver(matching=r"^chrome_\w+\["), True),
        (waiver(matching="postgres"), False),
        (waiver("oom-kill"), False),
        (waiver(until=date(2026, 11, 22)), False),
        (waiver(until=date(2027, 1, 1)), True),
    ],
)
def test_what_is_waived(known: Waiver, wanted: bool) -> None:
    assert (waiver_for(the_sign("segfault"), "client", LINE, [known], TODAY) is known) is wanted


def test_what_ends_a_machine_is_never_waived() -> None:
    known = waiver("kernel-panic")
    assert waiver_for(the_sign("kernel-panic"), "client", "Kernel panic - not syncing", [known], TODAY) is None
    assert "kernel-panic" not in waivable()
    assert "cpu-stall" not in waivable(), "it never counts"


def emit(bus: EventBus, sign: str, machine: str = "client", known: str = "") -> Event:
    found = the_sign(sign)
    return bus.emit(
        LogMatched(
            machine,
            pattern=sign,
            line=f"a line of {sign}",
            explanation=found.explanation,
            severity=found.severity,
            waiver=known,
        )
    )


def test_a_run_without_signs_passed() -> None:
    bus = EventBus()
    found = Verdict(bus)
    emit(bus, "cpu-stall")
    emit(bus, "oops", known="a known bug of this kernel")
    emit(bus, "segfault", known="known")
    found.demand()
    assert found.outcome == "passed"


def test_a_suspicious_run() -> None:
    bus = EventBus()
    found = Verdict(bus)
    emit(bus, "unit-loop")
    found.demand()
    assert found.outcome == "suspicious"


def test_a_run_that_cannot_have_passed() -> None:
    bus = EventBus()
    found = Verdict(bus)
    emit(bus, "segfault")
    emit(bus, "oom-kill", "server")
    emit(bus, "oops", "client")
    with pytest.raises(SignsFound, match="the tests passed, but machine server did not") as caught:
        found.demand()
    assert caught.value.exit_code == 1
    assert caught.value.why == "server: oom-kill: a line of oom-kill"
    assert caught.value.evidence == ("client: oops: a line of oops",)


def test_a_waiver_that_ended_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    noon = 1795435200.0  # of 2026-11-23
    monkeypatch.setattr(module, "wall_clock", lambda: noon)
    bus, events = EventBus(), list[Event]()
    bus.subscribe(events.append)
    ended = waiver(until=date(2026, 11, 21))
    topology = Topology("t", Path("t.toml"), "", (), {}, {}, {}, {}, None, (ended, waiver("oops")))
    warn_of_expired(topology, bus)
    assert notes(events) == ["segfault was waived until 2026-11-21 (known); it counts again"]


def test_the_report_tells_why_a_run_is_suspicious() -> None:
    bus, events = EventBus(), list[Event]()
    bus.subscribe(events.append)
    events.append(recorded("run.started", "shop", {"command": "run"}))
    emit(bus, "segfault", known="<known> & harmless")
    emit(bus, "unit-loop", "server")
    bus.emit(RunFinished("shop", outcome="suspicious", exit_code=0, elapsed=1.0))
    view = fold(events)
    assert view.cause == "a unit of the guest fails and is restarted again and again (unit-loop, machine server)"
    told = summary(view)
    assert (told["outcome"], told["cause"]) == ("suspicious", view.cause)
    page = render_html(view)
    assert "Passed, with suspicious log lines" in page
    assert "waived: &lt;known&gt; &amp; harmless" in page


@pytest.mark.parametrize("pattern", ["(a+)+$b", "a(?=b)"])
def test_no_expression_and_no_line_holds_the_watch(pattern: str) -> None:
    """An expression that would explode, one of another version, and lines that begin like a sign again and again."""
    began = time.monotonic()
    line = "segfault at " + "a" * 60_000
    assert not waiver(matching=pattern).covers("segfault", "client", line)
    for text in ("ALERT! " * 9000, "INFO: task " * 6000):
        assert find_in_console(text) is None
        assert find_in_journal("kernel", text) is None
    assert time.monotonic() - began < 5
