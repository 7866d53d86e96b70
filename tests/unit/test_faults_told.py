"""Faults on the command line, in the terminal's lines and in the report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fault_scene import topology

from orchestrator.cli.fault import as_dict, kinds_text, meant, verify_healthy
from orchestrator.cli.progress_lines import LineWriter
from orchestrator.environment.state import EnvironmentState, MachineState
from orchestrator.errors import FaultError, UsageError
from orchestrator.events.faults import FaultBegan, FaultEnded, FaultRecovered
from orchestrator.events.run import RunFinished
from orchestrator.events.suite import TestBegan, TestEnded
from orchestrator.process_id import ProcessId
from orchestrator.report.fold import fold
from orchestrator.report.html import render_html
from orchestrator.report.summary import summary
from orchestrator.report.timeline import timeline

DIES = '[faults.dies]\nkind = "kill"\non = "web"\n'


def state(folder: Path, text: str = DIES, **changes: object) -> EnvironmentState:
    found = topology(folder, text)
    own = ProcessId.own()
    one = EnvironmentState(
        name="shop",
        topology=found,
        run_folder=folder,
        phase="ready",
        owner=own,
        command="up",
        started=0.0,
        provider="debian",
        accelerator="tcg",
        factor=10.0,
        machines={name: MachineState(own, "image") for name in found.machines},
        services={"web": "healthy"},
    )
    return replace(one, **changes)  # type: ignore[arg-type]


def test_a_declared_fault_goes_by_its_name_and_any_kind_by_its_words(tmp_path: Path) -> None:
    now = state(tmp_path)
    assert meant(["dies"], now).kind == "kill"
    loss = meant(["loss", "server.lan", "percent=20", "direction=in"], now)
    assert (loss.name, as_dict(loss, None)["keys"]) == ("loss-server-lan", {"direction": "in", "percent": "20.0"})
    assert meant(["dns-fail", "client", 'names=["server"]'], now).spec.written()["names"] == ("server",)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "needs a name, or a kind"),
        (["dies", "web"], "is declared in the topology"),
        (["unplug", "server"], "there is no fault 'unplug'"),
        (["pause"], "needs what it is on"),
        (["loss", "server", "percent"], "is not KEY=VALUE"),
        (["loss", "server", "percent=much"], "cannot be made of these keys"),
        (["loss", "nobody", "percent=3"], "cannot be made of these keys"),
    ],
)
def test_wrong_words_are_told(tmp_path: Path, words: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        meant(words, state(tmp_path))


def test_nothing_that_is_in_trouble_is_broken(tmp_path: Path) -> None:
    now = state(tmp_path)
    fault = meant(["dies"], now)
    verify_healthy(fault, now)
    for ill in (replace(now, services={"web": "failed"}), replace(now, phase="failed")):
        with pytest.raises(FaultError, match="cannot begin"):
            verify_healthy(fault, ill)


def test_the_kinds_are_listed_with_what_happens() -> None:
    lines = kinds_text().splitlines()
    assert lines[0].split()[:2] == ["KIND", "ON"]
    assert any(line.startswith("partition") and "do not reach each other" in line for line in lines)


BEGAN = FaultBegan(
    "dies",
    fault="kill",
    on="web",
    machines=("server",),
    engine="x",
    parameters="signal SIGKILL",
    told="failed",
    time=10.0,
)
ENDED = FaultEnded("dies", fault="kill", reason="phase", seconds=20.0, told="", time=30.0)
RECOVERED = FaultRecovered("dies", seconds=4.5, within=10.0, time=34.5)
TESTS = (
    TestBegan("the page", phase="dead", id="1", file="a.ts", line=1, time=12.0),
    TestEnded(
        "the page",
        phase="dead",
        id="1",
        file="a.ts",
        line=1,
        retry=0,
        status="failed",
        duration=3.0,
        error="no page",
        time=15.0,
    ),
)


def test_the_terminal_tells_beginning_end_and_recovery() -> None:
    writer = LineWriter()
    assert [writer.line(event) for event in (BEGAN, ENDED, RECOVERED)] == [
        "fault dies: kill on web (signal SIGKILL) began: failed",
        "fault dies: ended after 20 s",
        "fault dies: recovered in 4.5 s of 10 s",
    ]


def test_the_report_shows_a_fault_as_a_bar_with_its_recovery_and_names_it_beside_a_failure() -> None:
    view = fold(
        [BEGAN, *TESTS, ENDED, RECOVERED, RunFinished("shop", outcome="failed", exit_code=1, elapsed=None, time=40.0)]
    )
    [fault] = view.faults
    assert (fault.start, fault.end, fault.recovered, fault.reason) == (10.0, 30.0, 4.5, "phase")
    chart = timeline(view)
    assert chart is not None
    row = next(row for row in chart.rows if row.name == "dies")
    assert [bar.state for bar in row.bars] == ["fault", "recovering"]
    page = render_html(view)
    assert "On at that time: fault dies (kill on web)" in page
    assert "slowest recovery" in page
    assert summary(view)["faults"] == [
        {
            "name": "dies",
            "kind": "kill",
            "on": "web",
            "seconds": 20.0,
            "reason": "phase",
            "recovered": 4.5,
            "within": 10.0,
            "path": "",
        }
    ]


def test_a_fault_of_a_run_that_was_killed_lasts_to_its_end() -> None:
    [fault] = fold([BEGAN, RunFinished("shop", outcome="error", exit_code=3, elapsed=None, time=40.0)]).faults
    assert (fault.reason, fault.end) == ("", 40.0)


def test_a_capture_is_linked_and_is_no_fault() -> None:
    capture = replace(BEGAN, fault="capture", path="networks/it.pcap", harmless=True)
    view = fold(
        [
            capture,
            replace(ENDED, fault="capture"),
            RunFinished("shop", outcome="passed", exit_code=0, elapsed=None, time=40.0),
        ]
    )
    page = render_html(view, ["networks/it.pcap"])
    assert 'href="../networks/it.pcap"' in page
    assert "slowest recovery" not in page
