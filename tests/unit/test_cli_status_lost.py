"""`status` of a machine whose agent is silent: what its console says last is told, before "unreachable"."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_process import Cli
from fake_qemu import FakeServer, run_async

from orchestrator.cli import status as module
from orchestrator.cli.status import Seen, look
from orchestrator.environment.paths import EnvironmentPaths


def seen_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, console: str) -> Seen:
    """The state of two machines whose QEMU says that they run, and whose agents are not there."""
    cli = Cli(tmp_path)
    monkeypatch.setenv("ORCH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(module, "QUESTION_LIMIT", 0.5)
    recorded = cli.record(alive=True)
    env_paths = EnvironmentPaths(recorded.name, recorded.folder, tmp_path / "s")

    async def scenario() -> Seen:
        paths = env_paths.machine("alpha", tmp_path / "runs")
        for folder in (paths.sockets, paths.logs):
            folder.mkdir(parents=True)
        paths.serial_log.write_text(console)
        async with FakeServer(paths.qmp_side, {"query-status": lambda _: {"status": "running"}}).serving():
            return await look(env_paths)

    return run_async(scenario())


def test_a_panic_that_only_the_console_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = seen_with(tmp_path, monkeypatch, "[1.0] Kernel panic - not syncing: x\n[1.1] ---[ end Kernel panic ]---\n")
    assert seen.machines["alpha"] == "panicked"
    assert seen.services["web"] == ("unknown", "the guest's kernel panicked")


def test_emergency_mode_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = seen_with(tmp_path, monkeypatch, "You are in emergency mode. After logging in\n")
    assert seen.machines["alpha"] == "emergency-mode"
    assert "emergency mode" in seen.services["web"][1]


def test_a_silent_agent_alone_is_unreachable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = seen_with(tmp_path, monkeypatch, "server login: root (automatic login)\n")
    assert seen.machines["alpha"] == "unreachable"
    assert "alpha" in seen.services["web"][1]
