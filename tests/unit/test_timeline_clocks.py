"""Where the lines of a guest lie on the run's axis, whatever happened to its clocks."""

from __future__ import annotations

from pathlib import Path

import pytest
from timeline_scene import BEHIND, T0, Scene

from orchestrator.timeline.model import Entry
from orchestrator.timeline.read import read_timeline
from orchestrator.vm.arrivals import ArrivalLog, parse_arrivals, read_arrivals


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path / "run")
    scene.begin()
    scene.event(200.0, "run.finished", "shop", outcome="passed", exit_code=0)
    return scene


def seconds(scene: Scene, source: str = "journal") -> dict[str, float]:
    """The second of the run at which each line is, by its text."""
    timeline = read_timeline(scene.folder)
    return {one.text: round(one.at - timeline.started, 3) for one in timeline.entries if one.source == source}


def entry(scene: Scene, text: str) -> Entry:
    return next(one for one in read_timeline(scene.folder).entries if text in one.text)


def test_a_line_is_where_it_was_whatever_the_time_of_day_said(scene: Scene) -> None:
    scene.clock("server", 1.0)
    scene.said("server", 5.0, "before")
    # Somebody sets the guest's clock a day ahead: its monotonic clock does not notice.
    scene.journal("server", 8.3, "after", monotonic=38.0, real=8.0 + 86_400)
    assert seconds(scene) == {"before": 5.0, "after": 8.0}
    assert entry(scene, "after").margin == 0.002, "as exact as the clocks were compared"


def test_lines_after_a_pause_have_another_constant(scene: Scene) -> None:
    scene.clock("server", 1.0)
    scene.said("server", 19.0, "before")
    # Stopped from 20 to 25: both clocks of the guest are 5 s late from then on.
    scene.event(25.5, "machine.clock", "server", offset=BEHIND + 5, uncertainty=0.001, reason="cont", since=125.0)
    scene.journal("server", 30.2, "after", monotonic=55.0, real=25.0 - BEHIND)
    assert seconds(scene) == {"before": 19.0, "after": 30.0}


def test_lines_of_a_restored_machine_before_its_clock_was_set(scene: Scene) -> None:
    """Its time of day is that of the saved state at first; its monotonic clock goes on."""
    scene.journal("server", None, "of the saved state", monotonic=500.0, real=-90_000.0)
    path = scene.folder / "machines" / "server" / "journal.jsonl"
    path.with_name("journal.jsonl.times").write_text(f"101.0 {path.stat().st_size} ?\n")
    scene.journal("server", 4.1, "wakes up", monotonic=500.5, real=-89_999.5)
    scene.event(6.0, "machine.clock", "server", offset=0.01, uncertainty=0.002, reason="restore", since=103.0)
    scene.journal("server", 7.1, "has the time", monotonic=503.5, real=7.0 - 0.01)
    assert seconds(scene) == {"wakes up": 4.0, "has the time": 7.0}, "and what was before is no part of this run"


def test_a_boot_has_a_monotonic_clock_of_its_own(scene: Scene) -> None:
    scene.clock("server", 1.0)
    scene.said("server", 5.0, "first boot")
    scene.event(60.0, "machine.clock", "server", offset=0.0, uncertainty=0.003, reason="hand-over", since=140.0)
    scene.journal("server", 60.5, "early in the second", monotonic=2.0, real=42.0, boot="b" * 32)
    scene.journal("server", 60.5, "late in the second", monotonic=20.0, real=60.0, boot="b" * 32)
    assert seconds(scene) == {"first boot": 5.0, "early in the second": 42.0, "late in the second": 60.0}


def test_without_a_comparison_the_time_of_day_has_to_do(scene: Scene) -> None:
    scene.journal("server", None, "somewhere", monotonic=3.0, real=9.0)
    assert seconds(scene) == {"somewhere": 9.0}
    assert entry(scene, "somewhere").margin >= 0.05


def test_a_correction_of_the_hosts_time_does_not_bend_the_axis(scene: Scene) -> None:
    with (scene.folder / "events.jsonl").open("a") as file:
        file.write('{"time": "2030-01-01T00:00:00.000Z", "at": 150.0, "kind": "note", "message": "late"}\n')
    assert entry(scene, "late").at == T0 + 50.0


def test_console_lines_have_the_time_of_their_arrival(scene: Scene) -> None:
    scene.console("server", None, "of an earlier life\n")
    path = scene.folder / "machines" / "server" / "serial.log"
    path.with_name("serial.log.times").write_text(f"100.5 {path.stat().st_size} ?\n")
    scene.console("server", 2.0, "[ 1.0] first\n[ 1.1] second\n")
    scene.console("server", 3.0, "\x1b[31mKernel panic - not syncing: oh\x1b[0m\n")
    scene.console("server", None, "nobody looked any more\n")
    assert seconds(scene, "console") == {
        "[ 1.0] first": 2.0,
        "[ 1.1] second": 2.0,
        "Kernel panic - not syncing: oh": 3.0,
        "nobody looked any more": 3.0,
    }
    assert entry(scene, "Kernel panic").severity.word == "fatal"


def test_logs_of_services_have_the_time_that_they_tell(scene: Scene) -> None:
    scene.clock("server", 1.0)
    log = scene.folder / "machines" / "server" / "services" / "var-log-nginx-access.log"
    log.parent.mkdir(parents=True)
    # T0 is 2027-01-15 08:00:00 UTC; the guest is an hour behind.
    log.write_text('10.0.0.2 - - [15/Jan/2027:07:00:12 +0000] "GET /api HTTP/1.1" 502 9\nno time\n')
    shown = entry(scene, "GET /api")
    assert (shown.at - T0, shown.severity.word, shown.machine) == (12.0, "error", "server")
    assert shown.margin == pytest.approx(1.002), "it tells whole seconds"
    (log.parent / "alicia.log").write_text("2027-01-15 07:00:12 twice\n")
    assert all("twice" not in one.text for one in read_timeline(scene.folder).entries), "the journal has it already"


# ---------------------------------------------------------------------- times of arrival


def test_a_log_that_is_read_twice_keeps_its_first_times(tmp_path: Path) -> None:
    log = tmp_path / "serial.log"
    first = ArrivalLog(log)
    first.begin(10)
    first.note(20)
    noted = read_arrivals(log).at(15)
    first.begin(0)  # it is followed once more, from the beginning
    first.note(20)
    first.note(30)
    found = read_arrivals(log)
    assert found.sizes == (10, 20, 30)
    assert found.at(15) == noted is not None
    assert found.at(5) is None and found.at(31) is None


def test_the_times_of_a_log_that_was_emptied_are_gone(tmp_path: Path) -> None:
    """A guest that prints without end fills the disk neither with its lines nor with their times."""
    noted = ArrivalLog(tmp_path / "serial.log")
    noted.note(900)
    noted.begin_again()
    noted.note(20)
    assert (tmp_path / "serial.log.times").read_text().count("\n") == 1
    assert read_arrivals(tmp_path / "serial.log").sizes == (20,)


def test_a_log_that_was_begun_again_has_only_the_times_of_now() -> None:
    found = parse_arrivals(["1.0 50", "2.0 900", "nonsense", "3.0 20", "4.0 40"])
    assert (found.at(20), found.at(40), found.at(50)) == (3.0, 4.0, None)


def test_lines_that_came_while_nobody_looked_go_on_as_before(scene: Scene) -> None:
    scene.clock("server", 1.0)
    scene.said("server", 5.0, "seen")
    scene.journal("server", None, "between two commands", monotonic=80.0, real=50.0 - BEHIND + 777)
    assert seconds(scene) == {"seen": 5.0, "between two commands": 50.0}


def test_lines_after_the_last_look_belong_to_the_last_pause(scene: Scene) -> None:
    """Nothing came between the pause and the end of the command; what comes later is of the time after the pause."""
    scene.clock("server", 1.0)
    scene.said("server", 19.0, "before")
    scene.event(25.5, "machine.clock", "server", offset=BEHIND + 5, uncertainty=0.001, reason="cont", since=125.0)
    path = scene.folder / "machines" / "server" / "journal.jsonl"
    with path.with_name("journal.jsonl.times").open("a") as file:
        file.write(f"126.0 {path.stat().st_size} .\n")
    scene.journal("server", None, "after", monotonic=55.0, real=25.0 - BEHIND)
    assert seconds(scene) == {"before": 19.0, "after": 30.0}
