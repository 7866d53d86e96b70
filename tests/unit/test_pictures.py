"""scripts/pictures: which screen is shown, and that its picture needs nothing else."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from topology_samples import REPOSITORY

from orchestrator.events import EventBus
from orchestrator.events.run import RunReady
from orchestrator.events.services import ServiceStateChanged

sys.path.insert(0, str(REPOSITORY / "scripts" / "lib"))

import pictures

BEGIN = "alicia\n⠋ machine server  booting\n– service a  pending\n– service b  pending\n"
MIDDLE = "alicia\n✔ machine server  ready\n✔ service a  healthy\n⠋ service b  checking\n– service c  pending\n"
END = "alicia\n✔ machine server  ready\n✔ service a  healthy\n✔ service b  healthy\n✔ service c  healthy\n"


def test_the_screen_with_services_up_starting_and_waiting_is_shown() -> None:
    assert pictures.telling([BEGIN, MIDDLE, END]) == MIDDLE


def test_colours_do_not_hide_the_marks() -> None:
    coloured = MIDDLE.replace("✔", "\x1b[32m✔\x1b[0m").replace("⠋", "\x1b[33m⠋\x1b[0m")
    assert pictures.telling([BEGIN, coloured, END]) == coloured


def test_a_run_without_a_screen_is_an_error() -> None:
    with pytest.raises(pictures.Failed, match="showed nothing"):
        pictures.telling([])


def test_a_screen_is_drawn_as_text_with_its_colours_and_without_the_network(tmp_path: Path) -> None:
    file = tmp_path / "board.svg"
    pictures.draw_terminal("\x1b[32m✔\x1b[0m machine server & <b>\n", file, "orchestrator run")
    drawn = file.read_text(encoding="utf-8")
    assert "<title>orchestrator run</title>" in drawn
    assert "server" in drawn
    assert "&lt;b&gt;" in drawn
    assert "#7ec678" in drawn, "the theme's green"
    assert "url(http" not in drawn
    assert "@font-face" not in drawn


def test_frames_are_kept_in_the_order_they_were_taken(tmp_path: Path) -> None:
    for number, text in ((10, "c"), (2, "b"), (0, "a")):
        (tmp_path / f"{number:04}.ansi").write_text(text, encoding="utf-8")
    (tmp_path / "runs" / "1").mkdir(parents=True)
    (tmp_path / "runs" / "latest").symlink_to("1")
    recording = pictures.Recording(tmp_path)
    assert recording.frames == ["a", "b", "c"]
    assert recording.run == tmp_path / "runs" / "1"


def test_the_lines_are_those_of_plain_progress(tmp_path: Path) -> None:
    bus, file = EventBus(), tmp_path / "events.jsonl"
    with file.open("w", encoding="utf-8") as log:
        bus.subscribe(lambda event: print(event.as_json(), file=log))
        bus.emit(ServiceStateChanged("web", machine="server", state="starting"))
        bus.emit(ServiceStateChanged("web", machine="server", state="healthy", elapsed=1.25))
        bus.emit(RunReady("shop", elapsed=2.5))
    lines = pictures.progress(file).splitlines()
    assert [line[9:] for line in lines] == ["service web: starting", "service web: healthy (1.2s)", "READY in 2.5 s"]
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d", line[:8]) for line in lines)
