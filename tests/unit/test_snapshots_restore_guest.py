"""A restored guest made one of its own: its clock and its keys."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import paramiko
import pytest
from fake_qemu import FakeGuest
from simulated_time import run_simulated

from orchestrator.deadline import Deadline
from orchestrator.errors import GuestCommandError, MachineError
from orchestrator.events import wall_clock
from orchestrator.guest.agent import Agent
from orchestrator.guest.clock import read_clock
from orchestrator.guest.keys import HOST_KEY, host_key_blob
from orchestrator.snapshots.restore import (
    CLOCK_TRIES,
    RESTART_SSHD,
    authorize,
    exchange_host_key,
    set_clock,
    shift,
)

# ------------------------------------------------------------------ the clock


class Clock(FakeGuest):
    """A guest whose clock is behind.

    Attributes:
        behind: seconds; ``delays`` how long each answer takes after the clock was read, 0 when used up.
        misses: by how much each date(1) fails to hit, 0 when used up.
    """

    def __init__(self, path: Path, behind: float) -> None:
        super().__init__(path)
        self.behind = behind
        self.delays: list[float] = []
        self.misses: list[float] = []
        self.handlers["guest-get-time"] = self._time
        self.programs["date"] = self._date

    async def _time(self, _: object) -> object:
        now = wall_clock() - self.behind
        await asyncio.sleep(self.delays.pop(0) if self.delays else 0)
        return int(now * 1e9)

    def _date(self, words: list[str]) -> tuple[int, bytes, bytes]:
        option, text = words[1:]
        seconds, unit = text.split(" ")
        assert (option, unit) == ("-s", "seconds")
        self.behind -= float(seconds) + (self.misses.pop(0) if self.misses else 0)
        return 0, b"Thu Nov 23 02:08:24 UTC 2026\n", b""

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Agent]:
        async with agent_of(self) as agent:
            yield agent


@asynccontextmanager
async def agent_of(guest: FakeGuest) -> AsyncIterator[Agent]:
    async with guest.serving():
        agent = Agent("server", guest.path)
        await agent.connect(Deadline.after(5))
        yield agent
        await agent.close()


@pytest.mark.parametrize("behind", [3600.25, -2.5])
@pytest.mark.parametrize("delays", [[0.2, 0.0, 0.15], [0.0, 0.2, 0.2], [0.2, 0.2, 0.0]])
def test_the_quickest_answer_tells_the_offset(tmp_path: Path, behind: float, delays: list[float]) -> None:
    async def scenario() -> None:
        guest = Clock(tmp_path / "agent", behind)
        guest.delays = list(delays)
        async with guest.opened() as agent:
            assert abs((await read_clock(agent, Deadline.after(5))).offset - behind) < 0.04
        assert guest.log.count("guest-get-time") == 3

    run_simulated(scenario())


def test_a_clock_is_taken_to_be_read_half_way(tmp_path: Path) -> None:
    async def scenario() -> None:
        guest = Clock(tmp_path / "agent", 5.0)
        read = guest.handlers["guest-get-time"]

        async def slow(arguments: dict[str, object]) -> object:
            await asyncio.sleep(0.12)
            return await cast("Awaitable[object]", read(arguments))

        guest.handlers["guest-get-time"] = slow
        guest.delays = [0.12] * 3
        async with guest.opened() as agent:
            assert abs((await read_clock(agent, Deadline.after(5))).offset - 5.0) < 0.04

    run_simulated(scenario())


@pytest.mark.parametrize("behind", [86400.0, -7.0])
def test_the_clock_is_set_until_it_is_right(tmp_path: Path, behind: float) -> None:
    async def scenario() -> None:
        guest = Clock(tmp_path / "agent", behind)
        guest.misses = [0.3, -0.2]
        async with guest.opened() as agent:
            left = await set_clock(agent, Deadline.after(5))
        assert abs(left.offset) <= 0.05
        assert abs(guest.behind) <= 0.06
        assert len(guest.commands) == 3

    run_simulated(scenario())


def test_a_clock_that_cannot_be_set_exactly(tmp_path: Path) -> None:
    async def scenario() -> None:
        guest = Clock(tmp_path / "agent", 9.0)
        guest.misses = [0.3] * 100
        async with guest.opened() as agent:
            with pytest.raises(MachineError, match="clock of machine server cannot be set exactly") as caught:
                await set_clock(agent, Deadline.after(5))
        assert len(guest.commands) == CLOCK_TRIES
        assert caught.value.subject == "server"
        assert "s behind after 4 attempts" in caught.value.why

    run_simulated(scenario())


def test_a_clock_that_may_not_be_set(tmp_path: Path) -> None:
    async def scenario() -> None:
        guest = Clock(tmp_path / "agent", 9.0)
        guest.programs["date"] = lambda _: (1, b"", b"date: cannot set date: Operation not permitted\n")
        async with guest.opened() as agent:
            with pytest.raises(MachineError, match=r"clock of machine server cannot be set$") as caught:
                await set_clock(agent, Deadline.after(5))
        assert caught.value.why == "date: cannot set date: Operation not permitted"
        assert len(guest.commands) == 1

    run_simulated(scenario())


def test_a_shift_has_a_sign_and_microseconds() -> None:
    assert shift(1.5) == "+1.500000 seconds"
    assert shift(-86400.0000014) == "-86400.000001 seconds"
    assert shift(0.0) == "+0.000000 seconds"


@pytest.mark.parametrize("offset", [90.5, -7200.25])
def test_date_understands_a_shift_as_meant(offset: float) -> None:
    """The same text after -d tells what -s would set, and sets nothing."""
    before = wall_clock()
    text = subprocess.run(["date", "-d", shift(offset), "+%s.%N"], capture_output=True, check=True, text=True).stdout
    assert before + offset - 0.01 <= float(text) <= wall_clock() + offset + 0.01


# ------------------------------------------------------------------ keys


@asynccontextmanager
async def restored(tmp_path: Path) -> AsyncIterator[tuple[FakeGuest, Agent]]:
    """A guest with the keys it was saved with, in tmp_path/guest; a shell in it does nothing."""
    guest = FakeGuest(tmp_path / "agent")
    guest.root = tmp_path / "guest"
    for path, mode in {
        "root/.ssh/authorized_keys": 0o600,
        "etc/ssh/ssh_host_ed25519_key": 0o600,
        "etc/ssh/ssh_host_ed25519_key.pub": 0o644,
    }.items():
        file = guest.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("of the saved machine\n" * 50)
        file.chmod(mode)
    guest.programs["sh"] = lambda _: (0, b"", b"")
    async with agent_of(guest) as agent:
        yield guest, agent


def test_only_the_new_user_key_opens_the_guest(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with restored(tmp_path) as (guest, agent):
            await authorize(agent, "ssh-ed25519 AAAA orchestrator-second", Deadline.after(5))
            file = guest.root / "root/.ssh/authorized_keys"
            assert file.read_text() == "ssh-ed25519 AAAA orchestrator-second\n"
            assert file.stat().st_mode & 0o777 == 0o600
            assert guest.commands == [], "it costs no program"

    run_simulated(scenario())


def test_a_guest_without_a_place_for_the_user_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with restored(tmp_path) as (guest, agent):
            guest.root = tmp_path / "nowhere"
            with pytest.raises(GuestCommandError, match="refused guest-file-open"):
                await authorize(agent, "ssh-ed25519 AAAA", Deadline.after(5))

    run_simulated(scenario())


def test_the_new_host_key_is_a_pair_that_sshd_is_told_of(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with restored(tmp_path) as (guest, agent):
            private = guest.root / HOST_KEY.lstrip("/")
            public = private.with_suffix(".pub")
            at_restart: list[str] = []

            def restart(words: list[str]) -> tuple[int, bytes, bytes]:
                at_restart.extend([private.read_text(), public.read_text()])
                return 0, b"", b""

            guest.programs["sh"] = restart
            line = await exchange_host_key(agent, Deadline.after(5))
            key = paramiko.Ed25519Key.from_private_key_file(str(private))
            assert host_key_blob("server", line) == key.asbytes()
            assert public.read_text() == line + "\n"
            assert private.stat().st_mode & 0o777 == 0o600
            assert guest.commands == [["sh", "-c", RESTART_SSHD]]
            assert at_restart == [private.read_text(), public.read_text()], "both were there before"

    run_simulated(scenario())


def test_no_private_key_is_in_an_argument(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with restored(tmp_path) as (guest, agent):
            await exchange_host_key(agent, Deadline.after(5))
            private = (guest.root / HOST_KEY.lstrip("/")).read_text()
            words = " ".join(word for command in guest.commands for word in command)
            assert "PRIVATE KEY" in private
            assert not any(line in words for line in private.splitlines())

    run_simulated(scenario())


def test_each_machine_gets_a_host_key_of_its_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with restored(tmp_path) as (_, agent):
            lines = [await exchange_host_key(agent, Deadline.after(5)) for _ in range(3)]
            assert len(set(lines)) == 3

    run_simulated(scenario())


def test_an_sshd_that_does_not_take_its_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with restored(tmp_path) as (guest, agent):
            guest.programs["sh"] = lambda _: (5, b"", b"Failed to reload ssh.service: Unit ssh.service not found.\n")
            with pytest.raises(MachineError, match="sshd of machine server does not take its new host key") as caught:
                await exchange_host_key(agent, Deadline.after(5))
            assert caught.value.why == "Failed to reload ssh.service: Unit ssh.service not found."

    run_simulated(scenario())


NO_PID = (1 << 22) + 1  # above the kernel's PID_MAX_LIMIT
RELOAD = "--no-block try-reload-or-restart sshd.service ssh.service\n"


@pytest.mark.parametrize(("pid_file", "expected"), [("sshd", "HUP\n"), ("none", RELOAD), ("stale", RELOAD)])
def test_sshd_takes_its_keys_by_its_signal_and_by_systemd_only_where_that_fails(
    tmp_path: Path, pid_file: str, expected: str
) -> None:
    """The script as it is, but for the place of the pid file, with a systemctl that only tells what it was asked."""
    told = tmp_path / "told"
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(f'#!/bin/sh\necho "$*" >> {told}\n')
    systemctl.chmod(0o755)
    script = RESTART_SSHD.replace("/run/sshd.pid", str(tmp_path / "sshd.pid"))
    assert script != RESTART_SSHD
    sshd = subprocess.Popen(
        ["sh", "-c", f"trap 'echo HUP >> {told}; exit' HUP; echo ready; while :; do sleep 0.02; done"],
        stdout=subprocess.PIPE,
        # Under nohup it would be ignored, and a shell cannot trap what was ignored before it began.
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    )
    try:
        assert sshd.stdout is not None
        assert sshd.stdout.readline() == b"ready\n"
        if pid_file != "none":
            (tmp_path / "sshd.pid").write_text(f"{sshd.pid if pid_file == 'sshd' else NO_PID}\n")
        environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        subprocess.run(["sh", "-c", script], env=environment, check=True, capture_output=True)
        if pid_file == "sshd":
            sshd.wait(5)
        assert told.read_text() == expected
    finally:
        sshd.kill()
        sshd.wait()
        sshd.stdout.close()
