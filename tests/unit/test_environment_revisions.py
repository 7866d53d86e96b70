"""What a run is made of, as it is told in its events."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from fake_qemu import run_async

from orchestrator.environment.revisions import commit_of, tell_revisions, topology_digest
from orchestrator.events import Event, EventBus
from orchestrator.events.run import RevisionFound
from orchestrator.topology.load import load_topology
from orchestrator.topology.model import Topology

TEXT = """
name = "tiny"
networks.lan.subnet = "10.9.0.0/24"
images.base.debian = "base.toml"
layers.app = { source = "app", target = "/opt/app" }
machines.alpha = { image = "base", networks.lan.address = "10.9.0.2" }
[services.web]
machine = "alpha"
unit = "web.service"
uses = ["app"]
checks.port = { tcp = "127.0.0.1:80" }
[suite]
machine = "alpha"
path = "suite"
command = ["test"]
user = "test"
"""
INPUTS = {"topology": "t1", "service web": "w1", "layer app of alpha": "a1 0:0 /opt/app", "QEMU": "10"}


def topology(folder: Path, text: str = TEXT) -> Topology:
    for name in ("app", "suite"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "file").write_text("content")
    (folder / "orchestrator.toml").write_text(text)
    return load_topology(folder / "orchestrator.toml")


def told(found: Topology) -> dict[str, RevisionFound]:
    events: list[Event] = []
    bus = EventBus()
    bus.subscribe(events.append)
    run_async(tell_revisions(found, INPUTS, bus))
    return {event.subject: event for event in events if isinstance(event, RevisionFound)}


def test_each_part_has_a_digest_of_its_content(tmp_path: Path) -> None:
    one = told(topology(tmp_path / "one"))
    assert list(one) == ["topology", "layer app", "suite"]
    assert one["layer app"].digest == "a1"
    assert {name: event.digest for name, event in told(topology(tmp_path / "two")).items()} == {
        name: event.digest for name, event in one.items()
    }, "where it lies does not matter"
    (tmp_path / "two/suite/file").write_text("another content")
    changed = told(load_topology(tmp_path / "two/orchestrator.toml"))
    assert [name for name in one if changed[name].digest != one[name].digest] == ["suite"]


def test_what_packages_and_reports_leave_in_a_suite_is_none_of_it(tmp_path: Path) -> None:
    found = topology(tmp_path)
    before = told(found)["suite"].digest
    for name in ("node_modules", "test-results"):
        (tmp_path / "suite" / name).mkdir()
        (tmp_path / "suite" / name / "file").write_text("more")
    assert told(found)["suite"].digest == before


@pytest.mark.parametrize(
    ("old", "new"),
    [('command = ["test"]', 'command = ["test", "-v"]'), ("127.0.0.1:80", "127.0.0.1:81")],
)
def test_checks_and_the_suites_command_are_part_of_the_topology(tmp_path: Path, old: str, new: str) -> None:
    first, second = topology(tmp_path / "one"), topology(tmp_path / "two", TEXT.replace(old, new))
    assert topology_digest(first, INPUTS) != topology_digest(second, INPUTS)
    moved = replace(first, path=Path("/elsewhere/orchestrator.toml"))
    assert topology_digest(first, INPUTS) == topology_digest(moved, {**INPUTS, "QEMU": "11"})


def test_the_commit_is_a_label(tmp_path: Path) -> None:
    folder = tmp_path / "suite"
    folder.mkdir()
    assert run_async(commit_of(folder)) == ""
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    (folder / "file").write_text("one")
    subprocess.run([*git, "add", "-A"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "one"], check=True)
    commit = run_async(commit_of(folder))
    assert len(commit) == 40
    (folder / "file").write_text("two")
    assert run_async(commit_of(folder)) == f"{commit}-dirty"
