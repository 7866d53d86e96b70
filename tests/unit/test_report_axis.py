"""The axis of the page: what it shows, how much of it, and how it behaves in a browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from timeline_scene import Scene, broken_database

from orchestrator.report import axis_data as module
from orchestrator.report.html import PNG
from orchestrator.report.write import write_report

SIZE_LIMIT = 15_000_000  # bytes


def data_of(folder: Path) -> dict[str, Any]:
    page = (folder / "report" / "index.html").read_text()
    found = re.search(r'<script type="application/json" id="axis-data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert isinstance(data, dict)
    return data


def test_the_page_has_everything_of_a_short_run(tmp_path: Path) -> None:
    scene = broken_database(tmp_path / "run")
    write_report(scene.folder)
    data = data_of(scene.folder)
    assert data["end"] == 65_000 and data["ready"] == 3_000 and data["left_out"] == 0
    assert data["cause"] == {
        "t": 60_000,
        "noticed": 62_000,
        "text": "systemd: postgresql.service: Main process exited, code=killed, status=9/KILL",
        "sure": True,
    }
    lanes = {(lane["group"], lane["label"]): lane["bars"] for lane in data["lanes"]}
    assert [bar[2] for bar in lanes["Tests", "all"]] == ["passed", "failed"]
    assert lanes["Tests", "browser"][1][:3] == [60_800, 61_800, "failed"]
    assert lanes["Tests", "requests"][0][3] == "POST http://server/api/messages: 502 after 0.08 s"
    assert lanes["Services", "postgresql"][-1][:3] == [60_000, 65_000, "ended"], "nobody started it again"
    lines = data["lines"]
    assert lines["t"] == sorted(lines["t"]) and len({len(lines[key]) for key in "tmsvngx"}) == 1
    assert "Main process exited" in lines["x"][data["marks"][1]]
    page = (scene.folder / "report" / "index.html").read_text()
    assert 'href="#t=60.000"' in page and 'href="#t=62.000"' in page


def test_nothing_that_a_guest_prints_ends_the_data(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "run")
    scene.begin()
    scene.clock("server", 1.0)
    hostile = "</script><script>alert(1)</script><!-- & \u2028 ]]>"
    scene.said("server", 2.0, hostile, "x.service", SYSLOG_IDENTIFIER="x")
    scene.event(3.0, "machine.state", "server", state="ready", detail=hostile)
    write_report(scene.folder)
    page = (scene.folder / "report" / "index.html").read_text()
    assert "<script>alert" not in page and "<!--" not in page
    assert any("</script><script>alert(1)</script>" in text for text in data_of(scene.folder)["lines"]["x"])


def test_of_a_long_run_the_lines_near_failures_and_of_trouble_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LINES", 60)
    scene = broken_database(tmp_path / "run")
    for number in range(100):
        scene.said("server", 4.0 + number / 10, f"INFO {number}", "alicia.service", SYSLOG_IDENTIFIER="alicia")
    scene.said("server", 15.0, "ERROR far away", "alicia.service", SYSLOG_IDENTIFIER="alicia")
    write_report(scene.folder)
    data = data_of(scene.folder)
    texts = data["lines"]["x"]
    assert len(texts) == 60 and data["left_out"] > 0
    assert "alicia: ERROR far away" in texts and "alicia: ERROR could not connect to server" in texts
    assert data["lines"]["t"] == sorted(data["lines"]["t"])


@pytest.mark.slow
def test_a_run_of_ten_thousand_tests_and_two_hundred_thousand_lines(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "run")
    scene.begin()
    for machine in ("server", "client"):
        scene.clock(machine, 1.0)
    with (scene.folder / "events.jsonl").open("a") as file:
        for number in range(10_000):
            common = {"phase": "all", "id": f"t{number}", "file": "a.spec.ts", "line": number}
            status = "failed" if number % 1000 == 7 else "passed"
            title = f"feature {number % 50} › does what the words of a usual title say {number}"
            told = {"kind": "test.end", "subject": title, **common, "status": status, "duration": 0.3, "retry": 0}
            second = 5 + number * 0.1
            at = {"at": 100 + second, "time": scene.time(second)}
            file.write(json.dumps({**told, **at, "error": "Error: no" if status == "failed" else ""}) + "\n")
    for machine in ("server", "client"):
        folder = scene.folder / "machines" / machine
        folder.mkdir(parents=True)
        with (folder / "journal.jsonl").open("w") as file:
            for number in range(100_000):
                message = (
                    f"GET /api/v1/conversations/{number} 200 5123 bytes in 12.5ms from 192.168.1.3 as default_user"
                )
                file.write(scene.line(5 + number * 0.01, message, "alicia.service") + "\n")
        (folder / "journal.jsonl.times").write_text(f"105.0 {(folder / 'journal.jsonl').stat().st_size}\n")
    view = write_report(scene.folder)
    size = (scene.folder / "report" / "index.html").stat().st_size
    assert len(view.tests) == 10_000 and view.count("failed") == 10
    assert size <= SIZE_LIMIT
    data = data_of(scene.folder)
    assert sum(len(lane["bars"]) for lane in data["lanes"] if lane["group"] == "Tests") == 10_000
    assert data["left_out"] == 200_000 + 3 - len(data["lines"]["t"])


def test_the_page_in_a_browser(tmp_path: Path, playwright_home: Path) -> None:
    scene = broken_database(tmp_path / "run")
    shot = scene.folder / "machines" / "client" / "screenshots" / "suite-all-start.png"
    shot.parent.mkdir(parents=True)
    shot.write_bytes(PNG + b"not really")
    scene.event(10.0, "screenshot", "client", path="machines/client/screenshots/suite-all-start.png", step="suite")
    write_report(scene.folder)
    script = Path(__file__).with_name("report_page.cjs")
    pictures = os.environ.get("PAGE_PICTURES", "")
    argv = ["node", str(script), str(playwright_home / "node_modules" / "playwright-core")]
    argv += [(scene.folder / "report" / "index.html").as_uri(), pictures]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["complaints"] == [] and seen["foreign"] == []
    assert seen["first"].startswith("60.000 s · 08:01:00.000 UTC"), "it begins at the first cause"
    assert "code=killed" in seen["firstLine"] and seen["marked"] >= 5
    assert seen["afterNext"].startswith("62.000 s") and "chat › sends a message" in seen["afterNext"]
    assert seen["afterLine"].startswith("63.000 s")
    assert seen["zoomed"]
    assert seen["filtered"] == ["alicia: ERROR could not connect to server"]
    assert "systemd: postgresql.service: Failed with result 'signal'." in seen["errors"]
    assert not any("Started Session" in text for text in seen["errors"] + seen["story"])
    assert len(seen["story"]) == seen["marked"]
    assert seen["ofClient"] == ["client"]
    assert 20_000 < seen["clicked"] < 40_000 and seen["address"] == f"#t={seen['clicked'] / 1000:.3f}"
    assert seen["screens"] == ["client at 10.0 s (suite)"]
    assert seen["fromFailure"].startswith("62.000 s")
    assert seen["linked"].startswith("60.600 s") and "could not connect" in seen["linkedLine"]
    assert not seen["tooWide"], "on a phone nothing is wider than the screen"
    assert seen["printed"] == ["none", "block"], "paper gets the chart"
