"""A machine that continues from a saved state: its logs, its ports, its keys."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from event_records import of
from machine_stage import Stage, staged, watch_ends
from simulated_time import run_simulated

from orchestrator.deadline import Deadline
from orchestrator.environment import machine as module
from orchestrator.environment.failures import last_words
from orchestrator.errors import GuestCommandError, MachineError
from orchestrator.events import wall_clock
from orchestrator.events.machines import LogMatched
from orchestrator.snapshots.manifest import MachineFiles


def saved_logs(folder: Path, serial: str, journal: str) -> MachineFiles:
    files = MachineFiles(folder)
    folder.mkdir()
    files.serial.write_text(serial)
    files.journal.write_text(journal)
    return files


LISTENING = '{"SYSLOG_IDENTIFIER":"sshd","MESSAGE":"Server listening on :: port 22."}\n'


def test_the_logs_begin_with_those_of_the_snapshot_which_are_not_judged_again(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            old = "[1.0] Out of memory: Killed process 7 (x)\n[2.0] Kernel panic - not syncing: long ago\n"
            stage.live.qemu.seed_logs(saved_logs(tmp_path / "saved", old, LISTENING))
            assert stage.live.paths.serial_log.read_text().startswith(old)
            assert last_words(stage.live.paths) is None, "that end is not its own"
            assert stage.live.paths.journal.read_text() == LISTENING

            async def panic() -> None:
                await asyncio.sleep(0.2)
                with stage.live.paths.serial_log.open("a") as file:
                    file.write("[9.0] Kernel panic - not syncing: today\n")

            async with asyncio.TaskGroup() as group:
                group.create_task(panic())
                error = await watch_ends(stage, 3)
            assert [match.line for match in of(stage.events, LogMatched)] == ["[9.0] Kernel panic - not syncing: today"]
            assert "is lost" in error.what
            assert not stage.live.qemu.watcher.sshd_listens.is_set(), "that it listened when it was saved tells nothing"

    run_simulated(scenario())


def test_logs_that_are_there_already_are_gone_on_with(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.live.paths.serial_log.write_text("an earlier run\n")
            stage.live.qemu.seed_logs(saved_logs(tmp_path / "saved", "of the snapshot\n", LISTENING))
            assert stage.live.paths.serial_log.read_text().startswith("an earlier run\n---")

    run_simulated(scenario())


def test_a_snapshot_without_logs_is_loaded_as_well(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.live.qemu.seed_logs(MachineFiles(tmp_path / "none"))
            assert not stage.live.paths.serial_log.exists()

    run_simulated(scenario())


def test_a_loaded_machine_knows_its_ports(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            run_states = iter(["inmigrate", "inmigrate"])
            stage.qmp.handlers |= {
                "migrate-set-capabilities": lambda _: {},
                "migrate-set-parameters": lambda _: {},
                "migrate-incoming": lambda _: {},
                "query-status": lambda _: {"status": next(run_states, "paused")},
            }
            (tmp_path / "state").write_bytes(b"QEVM")
            await stage.live.load(tmp_path / "state", Deadline.after(5))
            assert stage.live.ports == {22: 34529}
            assert stage.states() == ["starting", "restoring"]
            assert not stage.live.handed_over, "it is paused"

    run_simulated(scenario())


def test_a_state_that_is_not_loaded_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOAD_LIMIT", 0.2)

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.qmp.handlers |= {
                "migrate-set-capabilities": lambda _: {},
                "migrate-set-parameters": lambda _: {},
                "migrate-incoming": lambda _: {},
                "query-status": lambda _: {"status": "inmigrate"},
            }
            (tmp_path / "state").write_bytes(b"QEVM")
            with pytest.raises(MachineError, match="did not load the state of machine server"):
                await stage.live.load(tmp_path / "state", Deadline.after(10))

    run_simulated(scenario())


def saved_guest(stage: Stage, root: Path) -> None:
    """A guest that runs again: its keys are those it was saved with, its clock is right."""
    stage.guest.root = root
    for path in (USER_KEYS, HOST_KEY, f"{HOST_KEY}.pub"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text("saved\n")
    stage.guest.handlers["guest-get-time"] = lambda _: int(wall_clock() * 1e9)
    stage.guest.programs |= {"date": lambda _: (0, b"", b""), "sh": lambda _: (0, b"", b"")}


USER_KEYS = "root/.ssh/authorized_keys"
HOST_KEY = "etc/ssh/ssh_host_ed25519_key"


def test_a_machine_of_another_environment_gets_keys_of_its_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            root = tmp_path / "guest"
            saved_guest(stage, root)
            await stage.live._open_monitor(Deadline.after(5))
            await stage.live.refresh_identity("ssh-ed25519 MINE", "", Deadline.after(5))
            assert stage.live.handed_over
            assert (root / USER_KEYS).read_text() == "ssh-ed25519 MINE\n"
            assert stage.live.host_key.startswith("ssh-ed25519 ")
            assert (root / f"{HOST_KEY}.pub").read_text() == stage.live.host_key + "\n"
            assert "PRIVATE KEY" in (root / HOST_KEY).read_text()
            assert [words[0] for words in stage.guest.commands] == ["sh", "date"]

    run_simulated(scenario())


def test_a_machine_of_this_environment_keeps_its_host_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            root = tmp_path / "guest"
            saved_guest(stage, root)
            await stage.live._open_monitor(Deadline.after(5))
            await stage.live.refresh_identity("ssh-ed25519 MINE", "ssh-ed25519 KEPT", Deadline.after(5))
            assert stage.live.host_key == "ssh-ed25519 KEPT"
            assert (root / HOST_KEY).read_text() == (root / f"{HOST_KEY}.pub").read_text() == "saved\n"
            assert (root / USER_KEYS).read_text() == "ssh-ed25519 MINE\n", "the user's key is new at every up"
            assert [words[0] for words in stage.guest.commands] == ["date"]

    run_simulated(scenario())


def test_a_machine_that_does_not_take_the_user_key_is_not_handed_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            saved_guest(stage, tmp_path / "guest")
            stage.guest.root = tmp_path / "nowhere"
            await stage.live._open_monitor(Deadline.after(5))
            with pytest.raises(GuestCommandError, match="refused guest-file-open"):
                await stage.live.refresh_identity("ssh-ed25519 MINE", "", Deadline.after(5))
            assert not stage.live.handed_over

    run_simulated(scenario())
