"""What lets a night begin by itself: the units, the lines of a crontab, and what is shown before it is done."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nightly_scene import NightlyScene

from orchestrator.nightly.schedule import Schedule, kept_environment, with_lines, without_lines

SCHEDULE = Schedule(
    name="shop-night",
    at="02:05",
    argv=["/opt/the tool/python", "-m", "orchestrator", "nightly", "--runs", "/srv/100% $x"],
    folder=Path("/home/a b"),
    environment={"ORCH_STATE_DIR": "/srv/it's"},
    budget=3600.0,
    log=Path("/srv/night.log"),
)


def test_the_units() -> None:
    service = SCHEDULE.service().splitlines()
    assert 'ExecStart="/opt/the tool/python" -m orchestrator nightly --runs "/srv/100%% $$x"' in service
    assert "WorkingDirectory=/home/a b" in service
    assert 'Environment="ORCH_STATE_DIR=/srv/it\'s"' in service
    assert "TimeoutStartSec=5400" in service
    assert not any(line.startswith("SuccessExitStatus") for line in service), "a night that fails stays visible"
    timer = SCHEDULE.timer().splitlines()
    assert {"OnCalendar=*-*-* 02:05:00", "Persistent=true", "WantedBy=timers.target"} <= set(timer)


def test_the_lines_of_cron_are_a_command_of_a_shell() -> None:
    mark, line = SCHEDULE.cron().splitlines()
    assert mark == "# orchestrator-shop-night"
    assert line.startswith("5 2 * * * cd '/home/a b' && ORCH_STATE_DIR='/srv/it'\"'\"'s' '/opt/the tool/python'")
    assert "'/srv/100\\% $x'" in line, "a percent sign ends the command of a crontab"
    assert line.endswith(">>/srv/night.log 2>&1")


@given(st.lists(st.sampled_from(["# mine", "0 5 * * * true", "", "MAILTO=a@b"])))
def test_other_lines_of_a_crontab_stay(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    once = with_lines(text, SCHEDULE)
    assert once == text + SCHEDULE.cron()
    changed = replace(SCHEDULE, at="04:00")
    assert with_lines(once, changed) == text + changed.cron(), "in place of what was there"
    assert without_lines(once, SCHEDULE) == text


def test_only_variables_about_this_program_are_kept() -> None:
    environment = {"ORCH_STATE_DIR": "/a", "XDG_CACHE_HOME": "/b", "HOME": "/c", "TOKEN": "secret", "ORCH_X": "a\nb"}
    assert kept_environment(environment) == {"ORCH_STATE_DIR": "/a", "XDG_CACHE_HOME": "/b"}


# ------------------------------------------------------------------ the command, with stand-ins of cron and systemd

CRONTAB = """#!/bin/sh
[ "$1" = -l ] && { [ -e crontab.txt ] && cat crontab.txt; exit; }
cat >crontab.txt
"""
SYSTEMCTL = '#!/bin/sh\necho "$*" >>systemctl.txt\n'


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> NightlyScene:
    scene = NightlyScene(tmp_path, monkeypatch, capsys)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("crontab", CRONTAB), ("systemctl", SYSTEMCTL), ("loginctl", "#!/bin/sh\necho no\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    return scene


def test_nothing_is_installed_that_nobody_agreed_to(scene: NightlyScene) -> None:
    for words in (["--install", "timer"], ["--install", "cron"]):
        code, shown = scene.command("nightly", *words)
        assert code == 2
        assert "nobody can be asked" in scene.said
        assert "orchestrator nightly --file" in shown, "it was shown"
        assert scene.command("nightly", *words, "--dry-run")[0] == 0
    assert not (scene.folder / "config").exists()
    assert not (scene.folder / "crontab.txt").exists()


def test_a_timer_of_the_user(scene: NightlyScene) -> None:
    code, _ = scene.command("nightly", "--install", "timer", "--yes")
    assert code == 0, scene.said
    assert "loginctl enable-linger" in scene.said
    folder = scene.folder / "config/systemd/user"
    assert sorted(path.name for path in folder.iterdir()) == [
        "orchestrator-tiny-night.service",
        "orchestrator-tiny-night.timer",
    ]
    service = folder / "orchestrator-tiny-night.service"
    assert stat.S_IMODE(service.stat().st_mode) == 0o644
    assert f"Environment=ORCH_STATE_DIR={scene.folder / 'state'}" in service.read_text()
    assert "--user enable --now orchestrator-tiny-night.timer" in (scene.folder / "systemctl.txt").read_text()
    _, text = scene.command("doctor", "--json")
    (item,) = [one for one in json.loads(text)["items"] if one["name"] == "nights"]
    assert (item["state"], item["next"]) == ("warning", "loginctl enable-linger")
    assert scene.command("nightly", "--uninstall")[0] == 0
    assert list(folder.iterdir()) == []
    assert "--user disable --now orchestrator-tiny-night.timer" in (scene.folder / "systemctl.txt").read_text()


def test_lines_of_the_crontab(scene: NightlyScene) -> None:
    crontab = scene.folder / "crontab.txt"
    crontab.write_text("0 5 * * * true\n")
    for _ in range(2):
        assert scene.command("nightly", "--install", "cron", "--yes")[0] == 0, scene.said
    lines = crontab.read_text().splitlines()
    assert (lines[0], len(lines)) == ("0 5 * * * true", 3)
    assert lines[2].startswith("0 2 * * * cd ")
    assert scene.command("nightly", "--uninstall")[0] == 0
    assert crontab.read_text() == "0 5 * * * true\n"
    scene.command("nightly", "--uninstall")
    assert "nothing was installed for tiny-night" in scene.said
