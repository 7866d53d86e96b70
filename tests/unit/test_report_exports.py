"""A run in the formats of other programs, as those want them."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cli_process import Cli
from timeline_scene import T0, Scene, broken_database

from orchestrator.report.export import export
from orchestrator.trace_context import TraceContext


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = broken_database(tmp_path / "run")
    scene.console("server", 3.0, "[ 1.0] héllo\n")
    return scene


def trace_of(scene: Scene) -> dict[str, Any]:
    (path,) = export(scene.folder, "trace")
    assert path == scene.folder / "trace.json.gz"
    found = json.loads(gzip.decompress(path.read_bytes()))
    assert isinstance(found, dict)
    return found


def test_slices_of_a_thread_only_nest(scene: Scene) -> None:
    """Else Perfetto draws the track broken."""
    scene.test(61.5, "chat › at the same time", "passed", duration=3.0)
    events = trace_of(scene)["traceEvents"]
    threads: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for event in events:
        if event["ph"] == "X":
            span = (event["ts"], event["ts"] + event["dur"])
            threads.setdefault((event["pid"], event["tid"]), []).append(span)
    assert len(threads) >= 8
    for spans in threads.values():
        stack: list[int] = []
        for start, end in sorted(spans, key=lambda one: (one[0], -one[1])):
            while stack and stack[-1] <= start:
                stack.pop()
            assert not stack or end <= stack[-1], "it overlaps another"
            stack.append(end)


def test_everything_of_a_trace_has_its_name_and_its_microsecond(scene: Scene) -> None:
    trace = trace_of(scene)
    events = trace["traceEvents"]
    processes = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    threads = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    assert set(processes.values()) == {"orchestrator", "browser suite", "server", "client"}
    assert {(e["pid"], e["tid"]) for e in events if e["ph"] in "Xi"} <= threads
    failed = next(e for e in events if e["ph"] == "X" and e["name"] == "chat › sends a message")
    assert (failed["ts"], failed["dur"], failed["args"]["status"]) == (60_000_000, 2_000_000, "failed")
    killed = next(e for e in events if "code=killed" in e["name"])
    assert killed["ph"] == "i" and killed["ts"] == 60_000_000 and processes[killed["pid"]] == "server"
    assert trace["displayTimeUnit"] == "ms" and trace["otherData"]["started"] == T0


def spans_of(scene: Scene) -> list[dict[str, Any]]:
    (path,) = export(scene.folder, "otlp")
    data = json.loads(path.read_text())
    spans = data["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert isinstance(spans, list)
    return spans


def test_spans_are_one_tree(scene: Scene) -> None:
    spans = spans_of(scene)
    by_id = {span["spanId"]: span for span in spans}
    assert len(by_id) == len(spans) and all(len(one) == 16 for one in by_id)
    assert len({span["traceId"] for span in spans}) == 1
    assert [span["name"] for span in spans if "parentSpanId" not in span] == ["run"]
    assert all(span["parentSpanId"] in by_id for span in spans if span["name"] != "run")
    assert all(int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"]) for span in spans)
    failed = next(span for span in spans if span["name"] == "test chat › sends a message 0")
    assert failed["status"] == {"code": 2}
    assert by_id[failed["parentSpanId"]]["name"] == "phase all"
    assert spans_of(scene) == spans, "written again it is the same trace"


def test_a_run_is_part_of_the_trace_that_it_was_called_in(tmp_path: Path) -> None:
    outer = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    scene = Scene(tmp_path / "run")
    scene.event(0.0, "run.started", "shop", run_id="r", traceparent=outer, machines=[], services=[])
    scene.test(5.0, "a", "passed")
    spans = spans_of(scene)
    assert {span["traceId"] for span in spans} == {"4bf92f3577b34da6a3ce929d0e0e4736"}
    assert spans[0]["parentSpanId"] == "00f067aa0ba902b7"
    suite = next(span for span in spans if span["name"] == "suite")
    assert TraceContext.of("r", outer).of_suite == f"00-{suite['traceId']}-{suite['spanId']}-01"


def test_the_console_is_played_as_it_was(scene: Scene) -> None:
    (path,) = export(scene.folder, "asciicast")
    header, first = [json.loads(line) for line in path.read_text().splitlines()]
    assert (header["version"], header["title"]) == (2, "console of server")
    assert first == [3.0, "o", "[ 1.0] héllo\n"]


def test_a_character_that_came_in_two_pieces(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "run")
    scene.begin()
    log = scene.folder / "machines" / "server" / "serial.log"
    log.parent.mkdir(parents=True)
    log.write_bytes("aé\xff".encode()[:2] + b"\xa9 b\xff c")
    log.with_name("serial.log.times").write_text(f"101.0 2\n102.0 {log.stat().st_size}\n")
    (path,) = export(scene.folder, "asciicast")
    assert [json.loads(line)[2] for line in path.read_text().splitlines()[1:]] == ["a", "é b? c"]


def test_the_lines_are_in_order_and_lnav_knows_their_format(scene: Scene) -> None:
    cli = Cli(scene.folder.parent)
    done = cli("report", str(scene.folder), "--export", "lnav")
    path = Path(done.stdout.strip())
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [one["t"] for one in lines] == sorted(one["t"] for one in lines)
    killed = next(one for one in lines if "code=killed" in one["text"])
    assert (killed["t"], killed["level"], killed["machine"], killed["source"]) == (60.0, "error", "server", "journal")
    if shutil.which("lnav"):
        from orchestrator.report.lines import lnav_folder

        query = ";select count(*) from orchestrator_timeline where machine = 'server' and log_level = 'error'"
        argv = ["lnav", "-n", "-I", str(lnav_folder()), "-c", query, str(path)]
        shown = subprocess.run(argv, capture_output=True, text=True, check=True, env={"HOME": str(path.parent)}).stdout
        errors = sum(one["machine"] == "server" and one["level"] == "error" for one in lines)
        assert shown.split()[-1] == str(errors)


def test_lnav_takes_the_place_of_logs(scene: Scene, tmp_path: Path) -> None:
    """A program of that name is given the lines and the folder with their format."""
    program = tmp_path / "bin" / "lnav"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nls "$2/formats/orchestrator"; wc -l < "$3"\n')
    program.chmod(0o755)
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / "latest").symlink_to(scene.folder)
    done = Cli(tmp_path)("logs", "--lnav", PATH=f"{program.parent}:/usr/bin:/bin")
    assert done.stdout.split()[0] == "orchestrator.json" and int(done.stdout.split()[1]) > 20
    assert Cli(tmp_path)("logs", "--lnav", PATH=str(tmp_path)).returncode == 3
