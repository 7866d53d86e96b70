"""What is seen of a machine from outside: its end, its console, the events and states of its QEMU."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from event_records import notes, of
from fake_qemu import SILENT, run_async
from machine_stage import staged, watch_ends
from simulated_time import run_simulated

from orchestrator.deadline import Deadline, completes_before
from orchestrator.environment import live_guest as module
from orchestrator.environment.evidence import add_machine_status
from orchestrator.errors import MachineError, ServiceError
from orchestrator.events.machines import LogMatched

STALL = "[   23.645844] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n"


def test_a_boot_that_stands_still_is_reset_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "handover_script", lambda *_: "true\n")
    monkeypatch.setattr(module, "journal_script", lambda: "true\n")

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.qmp.handlers["system_reset"] = lambda _: {}
            log = stage.live.paths.serial_log
            log.write_text("")

            def say(text: str) -> None:
                with log.open("a") as file:
                    file.write(text)

            async def until(true: Callable[[], bool]) -> None:
                limit = Deadline.after(5)
                while not true():
                    assert not limit.expired
                    await asyncio.sleep(0.01)

            async with asyncio.TaskGroup() as group:
                watching = group.create_task(stage.live.qemu.watcher.watch())
                booting = group.create_task(stage.live.boot("key", Deadline.after(10)))
                await until(lambda: "booting" in stage.states())
                say(STALL)
                await until(lambda: "system_reset" in stage.qmp.log)
                say(STALL)
                await asyncio.sleep(0.2)
                stage.qmp.event("VSERPORT_CHANGE", id="orch-agent", open=True)
                await booting
                say(STALL)
                await asyncio.sleep(0.2)
                watching.cancel()
            assert stage.qmp.log.count("system_reset") == 1, "not a second time, and never a machine that runs"
            told = notes(stage.events)
            assert len([text for text in told if "a CPU makes no progress" in text]) == 1
            assert [match.pattern for match in of(stage.events, LogMatched)] == ["cpu-stall"]

    run_simulated(scenario())


def test_a_qemu_that_ends_is_noticed_with_its_words(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "echo qemu: no such file; sleep 0.3; exit 7") as stage:
            error = await watch_ends(stage, 3)
            assert error.what == "QEMU of machine server exited with 7"
            assert error.why == "qemu: no such file"
            assert stage.states()[-1] == "died"

    run_async(scenario())


def test_an_end_that_is_wanted_is_no_death(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "sleep 0.3; exit 0") as stage:
            stage.live.qemu.watcher.expects_end = True
            stage.live.paths.serial_log.write_text("[61.3] reboot: Power down\n")
            await watch_ends(stage, 3)
            assert stage.states()[-1] == "stopped"
            assert of(stage.events, LogMatched) == []

    run_async(scenario())


def test_a_panic_on_the_console_ends_the_wait(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.live.paths.serial_log.write_text(
                "[1.0] Out of memory: Killed process 7 (x)\n[2.0] Kernel panic - not syncing: VFS\n[2.1] end\n"
            )
            error = await watch_ends(stage, 3)
            assert error.what == "machine server is lost: the guest's kernel panicked"
            assert error.why == "[2.0] Kernel panic - not syncing: VFS"
            assert error.evidence[-1] == "[2.1] end"
            assert [match.pattern for match in of(stage.events, LogMatched)] == ["oom-kill", "kernel-panic"]

    run_simulated(scenario())


def test_a_panic_told_by_qemu_ends_the_wait(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            await stage.live._open_monitor(Deadline.after(5))

            async def panic() -> None:
                await asyncio.sleep(0.1)
                stage.qmp.event("RESET", guest=True)
                stage.qmp.event("GUEST_PANICKED", action="pause")

            async with asyncio.TaskGroup() as group:
                group.create_task(panic())
                error = await watch_ends(stage, 3)
            assert "QEMU reports that the guest panicked" in error.what
            assert any("RESET" in note for note in notes(stage.events))

    run_simulated(scenario())


@pytest.mark.parametrize("state", ["paused", "postmigrate", "finish-migrate"])
def test_a_machine_that_a_killed_save_left_standing_goes_on(tmp_path: Path, state: str) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            now = [state]
            stage.qmp.handlers |= {
                "query-status": lambda _: {"status": now[0]},
                "cont": lambda _: now.__setitem__(0, "running") or {},
            }
            stage.join()
            await stage.live.reattach_monitor(stage.process, Deadline.after(5))
            assert now == ["running"]
            assert "it was paused" in notes(stage.events)[-1]

    run_simulated(scenario())


@pytest.mark.parametrize("state", ["running", "guest-panicked"])
def test_no_other_machine_is_told_to_go_on(tmp_path: Path, state: str) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.qmp.handlers["query-status"] = lambda _: {"status": state}
            stage.join()
            await stage.live.reattach_monitor(stage.process, Deadline.after(5))
            assert "cont" not in stage.qmp.log

    run_simulated(scenario())


@pytest.mark.parametrize(("state", "ends"), [("internal-error", True), ("io-error", True), ("paused", False)])
def test_cpus_that_qemu_stopped_end_the_wait(tmp_path: Path, state: str, ends: bool) -> None:
    """But not those that somebody stopped, as a save does."""

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.qmp.handlers["query-status"] = lambda _: {"status": state}
            stage.live.paths.serial_log.write_text("login:\n")
            await stage.live._open_monitor(Deadline.after(5))

            async def stop() -> None:
                await asyncio.sleep(0.1)
                stage.qmp.event("STOP")

            async with asyncio.TaskGroup() as group:
                group.create_task(stop())
                if ends:
                    error = await watch_ends(stage, 3)
                    assert error.what == f"machine server is paused: QEMU reports {state}"
                else:
                    assert not await completes_before(stage.live.qemu.watcher.watch, Deadline.after(0.5))

    run_simulated(scenario())


def test_what_is_seen_of_a_machine_is_evidence(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            assert await stage.live.qemu.describe() == "not started"
            stage.qmp.handlers["query-status"] = lambda _: {"status": "running"}
            await stage.live._open_monitor(Deadline.after(5))
            assert await stage.live.qemu.describe() == "QEMU says running"
            stage.live.paths.serial_log.write_text("one\n[ 7.1] last words\r\n")
            error = ServiceError("service web is not up", evidence=["its journal"])
            await add_machine_status([stage.live], error)
            assert error.evidence == ("its journal", "machine server: QEMU says running; console: [ 7.1] last words")
            stage.qmp.handlers["query-status"] = lambda _: SILENT
            limit = Deadline.after(10)
            assert "did not answer query-status" in await stage.live.qemu.describe()
            assert limit.elapsed < 2
            other = MachineError("machine server is lost")
            await add_machine_status([stage.live], other)
            assert other.evidence == (), "it has its own"

    run_simulated(scenario())
