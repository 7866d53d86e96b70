"""What can be said of the environment without booting it."""

from __future__ import annotations

import re
from typing import Any

from conftest import ROOT
from host import Host

from orchestrator.environment.suite_list import narrowed


def effective(host: Host, file: str) -> dict[str, Any]:
    found = host.run("--file", file, "config", "--json").expect(0).json
    assert isinstance(found, dict)
    return found


def plain(data: Any) -> Any:
    """The data without what our copy may have otherwise: limits, paths, name and what follows from it."""
    if isinstance(data, dict):
        return {
            key: plain(value)
            for key, value in data.items()
            if key not in ("timeout", "name", "mac", "files", "path", "debian", "nixos_flake")
        }
    return [plain(one) for one in data] if isinstance(data, list) else data


def without_faults(data: dict[str, Any]) -> dict[str, Any]:
    """Each phase costs an emulated client half a minute; faults have tests of their own (test_90)."""
    suite = {**data["suite"], "phases": [phase for phase in data["suite"]["phases"] if not phase["faults"]]}
    return {**data, "suite": suite, "faults": {}, "scenarios": {}}


def test_our_topology_is_the_shipped_one_with_shorter_limits(bare: Host) -> None:
    ours, shipped = effective(bare, str(bare.topology)), effective(bare, str(ROOT / "orchestrator.toml"))
    assert plain(ours) == plain(without_faults(shipped))
    for name, service in ours["services"].items():
        assert service["timeout"] <= min(6, shipped["services"][name]["timeout"]), name
    assert len(ours["services"]) == 9


def test_the_graph_in_its_three_forms(bare: Host) -> None:
    text = bare.run("graph").expect(0, within=20).stdout
    assert [line.split()[0] for line in text.splitlines()[1:] if line[0].isdigit()] == [str(n) for n in range(1, 8)]
    assert "backend" in text and "mock-llm (healthy)" in text
    assert bare.run("graph", "--format", "mermaid").expect(0).stdout.startswith(("flowchart", "graph"))
    assert bare.run("graph", "--format", "json").expect(0).json


def test_validate_and_help_are_immediate(bare: Host) -> None:
    bare.run("validate").expect(0, within=20)
    assert "orchestrator" in bare.run("--version").expect(0, within=20).stdout


def test_the_users_pattern_holds_in_every_phase() -> None:
    assert narrowed(["--grep-invert", "@down"], None) == ["--grep-invert", "@down"]
    assert narrowed(["--grep-invert", "@down"], "tea") == ["--grep-invert", "@down", "--grep", "tea"]
    both = re.compile(narrowed(["--grep", "@down"], "tea|milk")[1])
    titles = {"tea @down": True, "@down milk": True, "@down": False, "tea": False, "milk": False}
    assert {title: bool(both.search(title)) for title in titles} == titles
