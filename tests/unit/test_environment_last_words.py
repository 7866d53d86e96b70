"""A guest that answers nobody: its console is asked first, since QEMU tells a panic only where a driver told it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_qemu import run_async
from machine_stage import staged

from orchestrator.deadline import Deadline
from orchestrator.environment import machine as module
from orchestrator.environment.failures import last_words, mark_new_boot, told_by_console
from orchestrator.errors import MachineError
from orchestrator.vm.arguments import MachinePaths

PANIC = "[9.0] Kernel panic - not syncing: sysrq triggered crash\n"
TRACE = "".join(f"[9.{n}]  some_function+0x{n}\n" for n in range(40))
END = "[9.9] ---[ end Kernel panic - not syncing: sysrq triggered crash ]---\n"


def console(tmp_path: Path, text: str) -> MachinePaths:
    paths = MachinePaths(tmp_path / "work", tmp_path / "s", tmp_path / "logs")
    paths.logs.mkdir(parents=True, exist_ok=True)
    paths.serial_log.write_text(text)
    return paths


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (PANIC, "kernel-panic"),
        (PANIC + TRACE + END, "kernel-panic"),
        ("You are in emergency mode. After logging in, type\nPress Enter for maintenance\n", "emergency-mode"),
        ("[1.0] Linux version 6.12\n[2.0] VFS: Unable to mount root fs on unknown\n" + TRACE, "no-root"),
        ("server login: root (automatic login)\n", None),
        ("[2.0] Out of memory: Killed process 7 (x)\n", None),
        (PANIC + TRACE + END + "[    0.000000] Linux version 6.12.1 (x)\nserver login:\n", None),
        (PANIC + "a line\n" * 100, None),
        ("", None),
    ],
)
def test_the_last_words_are_those_of_the_present_boot(tmp_path: Path, text: str, name: str | None) -> None:
    sign = last_words(console(tmp_path, text))
    assert (sign.name if sign is not None else None) == name


def test_a_console_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert last_words(MachinePaths(tmp_path, tmp_path, tmp_path)) is None


def test_a_machine_that_continues_is_not_what_it_was(tmp_path: Path) -> None:
    paths = console(tmp_path, PANIC)
    mark_new_boot(paths)
    assert last_words(paths) is None


def test_only_failures_are_explained_by_it(tmp_path: Path) -> None:
    paths = console(tmp_path, PANIC)
    with told_by_console("server", paths):
        pass
    with (
        pytest.raises(MachineError, match="machine server is lost: the guest's kernel panicked") as raised,
        told_by_console("server", paths),
    ):
        raise MachineError("the guest agent is not running")
    assert raised.value.why == PANIC.strip()
    assert "restart machine:server" in raised.value.hint
    with pytest.raises(MachineError, match="not running"), told_by_console("server", console(tmp_path, "login:\n")):
        raise MachineError("the guest agent is not running")


def test_who_joins_a_panicked_machine_is_told_so_and_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """QEMU says `running`: there was no pvpanic. The agent's own time limit would be 15 s, and 37 s when emulated."""
    monkeypatch.setattr(module, "ANSWER_LIMIT", 0.2)

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.qmp.handlers["query-status"] = lambda _: {"status": "running"}
            stage.live.paths.serial_log.write_text(PANIC + TRACE + END)
            stage.live.paths.agent.unlink()  # nobody answers
            limit = Deadline.after(10)
            stage.join()
            with pytest.raises(MachineError, match="machine server is lost: the guest's kernel panicked"):
                await stage.live.reattach(stage.process, "ssh-ed25519 MINE", limit)
            assert not limit.expired

    run_async(scenario())
