"""What `nightly --install` writes, on a real systemd and a real cron: each is fired once by the guest's clock.

The command is a stand-in that writes down how it was started: machines in machines would prove nothing more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import MEASURES
from host import RAM

from orchestrator.folders import cache_root
from orchestrator.nightly.schedule import Schedule, with_lines
from orchestrator.sync import Environment, Machine

pytestmark = pytest.mark.long  # an image is built first
RECIPE = 'include = ["orchestrator:base"]\npackages = ["cron", "dbus-user-session", "libpam-systemd"]\n'
TOPOLOGY = """
name = "nights"
networks.lan.subnet = "10.78.0.0/24"
images.host.debian = "host.toml"
machines.host = { image = "host", memory = "512MiB", networks.lan.address = "10.78.0.2" }
[services.cron]
machine = "host"
unit = "cron.service"
checks.up = { unit = "cron.service" }
"""
PROGRAM = """#!/bin/sh
# Told to write down what a night would find.
{ echo "args $*"; echo "umask $(umask)"; echo "folder $(pwd)"; tty || :; env | sort; } >"/var/tmp/fired-$1.new"
mv "/var/tmp/fired-$1.new" "/var/tmp/fired-$1"
exit 1
"""
USER = "runuser -u night -- env XDG_RUNTIME_DIR=/run/user/$(id -u night) systemctl --user"
UNITS = "/home/night/.config/systemd/user"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("nights")
    (folder / "orchestrator.toml").write_text(TOPOLOGY)
    (folder / "host.toml").write_text(RECIPE)
    patch = pytest.MonkeyPatch()
    patch.setenv("ORCH_STATE_DIR", str(folder / "state"))
    patch.setenv("ORCH_RAM_DIR", str(RAM))
    patch.setenv("ORCH_CACHE_DIR", os.environ.get("ORCH_CACHE_DIR", str(cache_root())))
    with patch.context(), Environment.load(folder / "orchestrator.toml", runs=folder / "runs") as env:
        machine = env.machines["host"]
        machine.succeed("useradd --create-home --shell /bin/sh night; loginctl enable-linger night")
        machine.path("/usr/local/bin/a night").write_text(PROGRAM)
        machine.succeed("chmod 755 '/usr/local/bin/a night'")
        yield machine
    patch.undo()


@pytest.fixture
def schedule() -> Schedule:
    return Schedule(
        name="shop-night",
        at="02:00",
        argv=["/usr/local/bin/a night", "timer", "--runs", "/srv/100% of $HOME"],
        folder=Path("/var/tmp"),
        environment={"ORCH_STATE_DIR": "/var/tmp/the state"},
        budget=60.0,
        log=Path("/home/night/night.log"),
    )


def fire(host: Machine, before: str, name: str) -> str:
    """Set the clock on to some seconds before it begins, and wait for what the program wrote."""
    host.succeed(f"date -s '{before}'")
    host.wait_for_file(f"/var/tmp/fired-{name}", timeout=9)
    return host.succeed(f"cat /var/tmp/fired-{name}")


def test_the_timer_of_a_user_who_is_not_logged_in(host: Machine, schedule: Schedule) -> None:
    host.succeed("date -s 'tomorrow 01:50'")  # only forward: a persistent timer counts from when it was made
    host.succeed(f"mkdir -p {UNITS}/{schedule.unit}.timer.d")
    host.path(f"{UNITS}/{schedule.unit}.service").write_text(schedule.service())
    host.path(f"{UNITS}/{schedule.unit}.timer").write_text(schedule.timer())
    # The delay spares real hosts; here it would only be waited for.
    exact = "[Timer]\nRandomizedDelaySec=0\nAccuracySec=1s\n"
    host.path(f"{UNITS}/{schedule.unit}.timer.d/exact.conf").write_text(exact)
    host.succeed("chown -R night: /home/night/.config")
    complaints = host.succeed(f"systemd-analyze --user verify {UNITS}/{schedule.unit}.timer 2>&1 || :")
    assert schedule.unit not in complaints, complaints
    host.wait_until_succeeds(f"{USER} daemon-reload && {USER} enable --now {schedule.unit}.timer")
    found = fire(host, "01:59:55", "timer")
    assert "args timer --runs /srv/100% of $HOME" in found
    assert "folder /var/tmp" in found
    assert "ORCH_STATE_DIR=/var/tmp/the state" in found
    assert "not a tty" in found
    host.wait_until_succeeds(f"{USER} is-failed {schedule.unit}.service")
    assert schedule.unit in host.succeed(f"{USER} --failed --plain --no-legend"), "a night that fails stays visible"
    MEASURES.append("a user's timer fired, its service failed visibly")


def test_the_lines_of_cron(host: Machine, schedule: Schedule) -> None:
    other = "# mine\n0 5 * * * true\n"
    mine = replace(schedule, at="04:00", argv=[schedule.argv[0], "cron", *schedule.argv[2:]])
    host.path("/var/tmp/crontab").write_text(with_lines(other, mine))
    host.succeed("date -s 03:58; systemctl restart cron; crontab -u night /var/tmp/crontab")
    found = fire(host, "03:59:55", "cron")
    assert "args cron --runs /srv/100% of $HOME" in found
    assert "folder /var/tmp" in found
    assert "ORCH_STATE_DIR=/var/tmp/the state" in found
    assert "not a tty" in found
    assert host.succeed("crontab -u night -l") == with_lines(other, mine)
