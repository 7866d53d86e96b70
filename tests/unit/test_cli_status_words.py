"""What `status` calls a service, and that `logs` finds a unit by each of its names."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest
from warm_states import a_state

from orchestrator.cli.logs import Printer, real_names
from orchestrator.cli.status import _word
from orchestrator.events.services import UnitAlias
from orchestrator.services.journal import Entry
from orchestrator.services.systemd import UnitStatus
from orchestrator.topology.model import Service, ServiceKind

RAN = "2f" * 16


def unit(active: str = "active", sub: str = "running", restarts: int = 0, invocation: str = RAN) -> UnitStatus:
    return UnitStatus("web.service", "loaded", active, sub, "success", restarts, 0, invocation)


@pytest.mark.parametrize(
    ("recorded", "seen", "kind", "word", "detail"),
    [
        ("healthy", unit(), "daemon", "healthy", ""),
        ("healthy", unit("reloading", "reload"), "daemon", "healthy", ""),
        ("pending", unit("inactive", "dead", invocation=""), "daemon", "not started", ""),
        ("skipped", unit("inactive", "dead", invocation=""), "daemon", "not started", ""),
        ("pending", unit("inactive", "dead", invocation=""), "oneshot", "not started", ""),
        ("pending", unit("inactive", "dead"), "daemon", "stopped", "web.service ended (result success)"),
        ("healthy", unit("inactive", "dead", invocation=""), "daemon", "stopped", "web.service ended (result success)"),
        ("completed", unit("inactive", "dead", invocation=""), "oneshot", "completed", ""),
        ("healthy", unit(restarts=3), "daemon", "healthy", ""),
        (
            "healthy",
            unit(restarts=4),
            "daemon",
            "failed",
            "web.service ended and is being restarted by systemd (result success, restart 4)",
        ),
        ("healthy", unit("unknown", ""), "daemon", "unknown", "systemd does not know its unit"),
        ("healthy", None, "daemon", "unknown", "systemd does not know its unit"),
    ],
)
def test_words(tmp_path: Path, recorded: str, seen: UnitStatus | None, kind: str, word: str, detail: str) -> None:
    service = Service("web", "server", ServiceKind(kind), "web.service")
    state = a_state(tmp_path, services={"web": recorded}, restarts={"web": 3})
    assert _word(service, seen, state) == (word, detail)


def test_lines_of_a_unit_are_found_by_the_name_in_the_topology(tmp_path: Path) -> None:
    # As an older version wrote it.
    told = {"kind": "unit.name", "subject": "sshd.service", "machine": "server", "real": "ssh.service"}
    other = {"kind": "note", "subject": "", "message": '"unit.name"'}
    (tmp_path / "events.1.jsonl").write_text(json.dumps(told) + "\n")
    alias = UnitAlias("dbus.service", machine="server", id="dbus-broker.service")
    (tmp_path / "events.2.jsonl").write_text(alias.as_json() + "\n")
    (tmp_path / "events.jsonl").write_text(json.dumps(other) + '\n{"kind": "unit.name"}\n"unit.name" [\n')
    names = real_names(tmp_path)
    assert names == {"sshd.service": {"ssh.service"}, "dbus.service": {"dbus-broker.service"}}
    options = argparse.Namespace(unit=["sshd"], since=None, json=False, no_color=True)
    printer = Printer(options, {}, names)
    assert [printer.wanted(Entry(0, name, "x", "m", 6)) for name in ("ssh.service", "sshd.service", "web.service")] == [
        True,
        True,
        False,
    ]
