"""Waiting for a guest that boots: its agent, SSH where a foreign one has none, and what is said of one with neither."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from event_records import notes
from machine_stage import Stage, staged
from simulated_time import run_simulated

from orchestrator.deadline import Deadline
from orchestrator.environment import arrival, live_guest
from orchestrator.environment.arrival import Arrival
from orchestrator.environment.failures import end_of_boot
from orchestrator.environment.reboot import COMMAND
from orchestrator.environment.state import MachineState
from orchestrator.errors import GuestCommandError, MachineError
from orchestrator.guest.agent import GuestResult
from orchestrator.guest.seed import prepare
from orchestrator.guest.ssh import Ssh
from orchestrator.process_id import ProcessId
from orchestrator.timescale import TimeScale

LOGIN = "[  OK  ] Reached target multi-user.target - Multi-User System.\n\nDebian GNU/Linux 13\n\ndebian login: "


@dataclass
class SshGuest:
    """SSH of a guest in memory: refuses our key until it knows it, then answers each command from a table."""

    knows_us_after: float = 0.0
    has_agent: bool = True
    commands: list[list[str]] = field(default_factory=list)
    alive: bool = True

    async def exec(self, command: Sequence[str], **_: object) -> GuestResult:
        self.commands.append(list(command))
        return GuestResult(int(command == arrival.START_AGENT and not self.has_agent), b"", b"")


@asynccontextmanager
async def watched(tmp_path: Path, *, told: bool, ssh: SshGuest | None = None) -> AsyncIterator[Stage]:
    """A stage whose console and events are watched; the guest is a foreign one if ``told``."""
    async with staged(tmp_path) as stage:
        live = stage.live
        if told:
            prepare(live.machine, "ssh-ed25519 AAAA", live.paths)
        begun = Deadline.after(3600)

        async def current() -> Ssh:
            if ssh is None:
                raise MachineError("machine server does not accept SSH", why="connection refused")
            if begun.elapsed < ssh.knows_us_after:
                raise GuestCommandError("machine server refuses this environment's key")
            return cast("Ssh", ssh)

        live.guest.ssh.current = current  # type: ignore[method-assign]
        watching = asyncio.create_task(live.qemu.watcher.watch())
        await live._open_monitor(Deadline.after(5))
        try:
            yield stage
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


async def arrive(stage: Stage, limit: float = 60.0) -> None:
    await Arrival(stage.live.qemu, stage.live.guest, TimeScale()).wait(Deadline.after(limit))


def test_a_guest_of_ours_without_an_agent_is_told_soon_after_its_boot(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with watched(tmp_path, told=False) as stage:
            log = stage.live.paths.serial_log
            log.write_text("[    0.000000] Linux version 6.12\n" + LOGIN)
            begun = Deadline.after(60)
            log.unlink()
            waiting = asyncio.create_task(arrive(stage))
            await asyncio.sleep(10)
            assert not waiting.done(), "it boots"
            log.write_text("[    0.000000] Linux version 6.12\n" + LOGIN)
            with pytest.raises(MachineError, match="machine server has no guest agent") as caught:
                await waiting
            assert begun.elapsed < 20
            assert caught.value.why.startswith("its boot is over (debian login:)")
            assert 'include = ["orchestrator:base"]' in caught.value.hint
            assert caught.value.evidence[-1] == "debian login: "

    run_simulated(scenario())


def test_the_login_prompt_of_an_earlier_boot_says_nothing(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with watched(tmp_path, told=False) as stage:
            stage.live.paths.serial_log.write_text(LOGIN)
            waiting = asyncio.create_task(arrive(stage))
            await asyncio.sleep(40)
            assert not waiting.done()
            stage.qmp.event("VSERPORT_CHANGE", id="orch-agent", open=True)
            await waiting
            assert stage.live.agent.connected

    run_simulated(scenario())


def test_a_foreign_guest_without_an_agent_is_reached_by_ssh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_guest, "handover_script", lambda *_: "the hand-over")
    ssh = SshGuest(knows_us_after=7, has_agent=False)

    async def scenario() -> None:
        async with watched(tmp_path, told=True, ssh=ssh) as stage:
            await arrive(stage)
            assert stage.live.guest.ssh_only
            assert stage.states()[-1] == "ssh"
            (told,) = notes(stage.events)
            assert "SSH only" in told and "no warm start" in told
            assert stage.live.host_key.startswith("ssh-ed25519 "), "the one that it was told"
            await stage.live.hand_over("key", Deadline.after(10))
            assert stage.live.handed_over
            assert ssh.commands[-3:] == [["sh", "-s"], ["sh", "-s"], ["date", "+%s.%N"]], "and its clock is read"
            assert await stage.live.ready_agent() is stage.live.agent

    run_simulated(scenario())


def test_an_agent_that_ssh_can_start_is_preferred(tmp_path: Path) -> None:
    """A unit that its distribution does not enable; the start opens the port."""
    ssh = SshGuest()

    async def scenario() -> None:
        async with watched(tmp_path, told=True, ssh=ssh) as stage:
            waiting = asyncio.create_task(arrive(stage))
            while not ssh.commands:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            assert ssh.commands == [arrival.START_AGENT]
            stage.qmp.event("VSERPORT_CHANGE", id="orch-agent", open=True)
            await waiting
            assert not stage.live.guest.ssh_only
            assert stage.live.host_key == "", "the agent tells it: the guest may not have listened to us"

    run_simulated(scenario())


def test_an_agent_that_never_opens_its_port_is_not_waited_for_long(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with watched(tmp_path, told=True, ssh=SshGuest()) as stage:
            begun = Deadline.after(60)
            await arrive(stage)
            assert stage.live.guest.ssh_only
            assert begun.elapsed == pytest.approx(arrival.AGENT_GRACE, abs=1)

    run_simulated(scenario())


def test_a_foreign_guest_with_neither_says_what_ssh_said(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with watched(tmp_path, told=True) as stage:
            stage.live.paths.serial_log.touch()
            waiting = asyncio.create_task(arrive(stage))
            await asyncio.sleep(1)
            stage.live.paths.serial_log.write_text(LOGIN)
            begun = Deadline.after(60)
            with pytest.raises(MachineError, match="has no guest agent") as caught:
                await waiting
            assert begun.elapsed < 30
            assert caught.value.why.endswith("SSH: machine server does not accept SSH: connection refused")

    run_simulated(scenario())


def test_a_machine_that_was_ssh_only_stays_so_for_later_commands(tmp_path: Path) -> None:
    ssh = SshGuest()

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.join()
            live: Any = stage.live

            async def current() -> Ssh:
                return cast("Ssh", ssh)

            live.guest.ssh.current = current
            live.recall(MachineState(ProcessId.own(), "", {22: 1}, "ssh-ed25519 AAAA", ssh_only=True))
            await live.agent.ping(deadline=Deadline.after(5))
            assert ssh.commands == [["true"]]

    run_simulated(scenario())


@pytest.mark.parametrize(
    ("lines", "sign"),
    [
        (["\x1b[0;32mOK\x1b[0m Reached target \x1b[0;1;39mgraphical.target\x1b[0m - x", "noise"], True),
        (["server login: "], True),
        (["localhost login: [  104.123274] input: Power Button as /devices/x"], True),
        (["server login: root", "root@server:~# "], False),
        (["server login: ", "[    0.000000] Linux version 6.12"], False),
        (["Reached target basic.target"], False),
        ([], False),
    ],
)
def test_what_shows_the_end_of_a_boot(lines: list[str], sign: bool) -> None:
    assert bool(end_of_boot(lines)) == sign


def test_a_machine_without_an_agent_reboots_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_guest, "handover_script", lambda *_: "the hand-over")
    ssh = SshGuest(has_agent=False)

    async def scenario() -> None:
        async with watched(tmp_path, told=True, ssh=ssh) as stage:
            live = stage.live
            stage.qmp.handlers["query-status"] = lambda _: {"status": "running"}
            await arrive(stage)
            await live.hand_over("key", Deadline.after(10))
            key = live.host_key
            rebooting = asyncio.create_task(live.reboot("key", Deadline.after(60)))
            while COMMAND not in str(ssh.commands):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
            assert "system_reset" not in stage.qmp.log, "it goes down in order"
            stage.qmp.event("RESET", guest=True, reason="guest-reset")
            await rebooting
            assert live.guest.ssh_only and live.handed_over
            assert live.host_key == key

    run_simulated(scenario())
