"""Bringing machines back: damage is seen, files are copied, and guests become their own."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import paramiko
import pytest
from fake_qemu import CLOSE, FakeGuest, FakeServer, run_async

from orchestrator.deadline import Deadline
from orchestrator.errors import GuestCommandError, MachineError, SnapshotDamaged, SnapshotError
from orchestrator.events import wall_clock
from orchestrator.guest.agent import Agent
from orchestrator.guest.keys import HOST_KEY, host_key_blob
from orchestrator.snapshots import restore as module
from orchestrator.snapshots.manifest import MachineFiles, Manifest, SavedMachine, files_of
from orchestrator.snapshots.memory import MIB, copy_sparse, digest, touched
from orchestrator.snapshots.restore import (
    ANNOUNCEMENTS,
    CLOCK_TRIES,
    RESTART_SSHD,
    authorize,
    clock_offset,
    exchange_host_key,
    lay_out,
    load,
    set_clock,
    shift,
    verify,
)
from orchestrator.snapshots.save import CAPABILITIES
from orchestrator.vm.arguments import MachinePaths, Memory
from orchestrator.vm.qmp import Monitor, connect

PAGE = 4096


def saved(folder: Path, image: Path, name: str) -> SavedMachine:
    """The files of a saved machine: a sparse memory, a state, a real qcow2."""
    files = files_of(folder, name)
    files.folder.mkdir(parents=True)
    with files.ram.open("wb") as file:
        file.truncate(2 * MIB)
        file.write(os.urandom(PAGE))
        file.seek(MIB)
        file.write(os.urandom(PAGE))
    files.state.write_bytes(b"QEVM" + os.urandom(5000))
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", files.disk, "4M"], check=True)
    image.mkdir(exist_ok=True)
    fingerprints = (digest(files.ram), digest(files.state), digest(files.disk))
    return SavedMachine(str(image), *fingerprints, "ssh-ed25519 A")


def snapshot(tmp_path: Path, *names: str) -> tuple[Path, Manifest]:
    folder = tmp_path / "store/alicia@healthy.k1"
    machines = {name: saved(folder, tmp_path / "image", name) for name in names}
    return folder, Manifest("healthy", "alicia", "ab12", "k1", {}, 100.0, 0.2, "orchestrator up", machines)


# ------------------------------------------------------------------ damage


def one_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[PAGE // 2] ^= 0x10
    path.write_bytes(data)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def test_a_whole_snapshot_is_verified(tmp_path: Path) -> None:
    run_async(verify(*snapshot(tmp_path, "server", "client")))


@pytest.mark.parametrize("damage", [one_bit, cut])
@pytest.mark.parametrize("part", ["ram", "state", "disk"])
def test_every_damaged_file_is_named(tmp_path: Path, part: str, damage: Callable[[Path], None]) -> None:
    folder, manifest = snapshot(tmp_path, "server", "client")
    path: Path = getattr(files_of(folder, "client"), part)
    damage(path)
    with pytest.raises(SnapshotDamaged, match="is damaged") as caught:
        run_async(verify(folder, manifest))
    assert caught.value.why == f"{path.name} of machine client is not what was saved"
    assert caught.value.where == (str(path),)
    assert "snapshot prune" in caught.value.hint


@pytest.mark.parametrize("part", ["ram", "state", "disk"])
def test_every_missing_file_is_named(tmp_path: Path, part: str) -> None:
    folder, manifest = snapshot(tmp_path, "server", "client")
    path: Path = getattr(files_of(folder, "client"), part)
    path.unlink()
    with pytest.raises(SnapshotDamaged, match="is not whole") as caught:
        run_async(verify(folder, manifest))
    assert str(path) in caught.value.why


def test_a_snapshot_whose_image_is_gone(tmp_path: Path) -> None:
    folder, manifest = snapshot(tmp_path, "server")
    (tmp_path / "image").rmdir()
    with pytest.raises(SnapshotDamaged, match="rests on an image that is gone") as caught:
        run_async(verify(folder, manifest))
    assert caught.value.where == (str(tmp_path / "image"),)


# ------------------------------------------------------------------ files


Laid = tuple[Path, MachineFiles, MachinePaths]


@pytest.fixture
def laid(tmp_path: Path) -> Laid:
    folder, _ = snapshot(tmp_path, "server")
    return folder, files_of(folder, "server"), MachinePaths(tmp_path / "work", tmp_path / "s", tmp_path / "logs")


def test_a_machine_on_the_memory_of_the_snapshot_itself(laid: Laid) -> None:
    folder, files, paths = laid
    memory = run_async(lay_out(folder, "server", paths, None))
    assert memory == Memory(files.ram, shared=False, incoming=True)
    assert [path.name for path in paths.work.iterdir()] == ["disk.qcow2"]
    assert paths.work.stat().st_mode & 0o777 == 0o700


def test_a_machine_with_a_memory_of_its_own(laid: Laid, tmp_path: Path) -> None:
    folder, files, paths = laid
    memory = run_async(lay_out(folder, "server", paths, tmp_path / "own.ram"))
    assert memory == Memory(tmp_path / "own.ram", shared=True, incoming=True)
    assert memory.file.read_bytes() == files.ram.read_bytes()
    assert memory.file.stat().st_mode & 0o777 == 0o600
    assert touched(memory.file) < MIB, "as sparse as it was"


def test_the_disk_outlives_the_snapshot(laid: Laid, tmp_path: Path) -> None:
    """An overlay on the snapshot's disk would lose its ground when the snapshot is pruned, or its memory is lost."""
    folder, files, paths = laid
    saved_disk = files.disk.read_bytes()
    run_async(lay_out(folder, "server", paths, tmp_path / "own.ram"))
    assert paths.disk.read_bytes() == saved_disk
    assert paths.disk.stat().st_mode & 0o777 == 0o600
    shutil.rmtree(folder)
    text = subprocess.run(["qemu-img", "info", paths.disk], capture_output=True, check=True, text=True).stdout
    assert "backing file" not in text
    subprocess.run(["qemu-img", "check", "-q", paths.disk], check=True)


def test_what_an_earlier_start_left_is_replaced(laid: Laid, tmp_path: Path) -> None:
    folder, files, paths = laid
    before = {path: digest(path) for path in (files.ram, files.state, files.disk)}
    own = tmp_path / "own.ram"
    paths.work.mkdir()
    paths.disk.write_bytes(b"an old disk")
    paths.disk.chmod(0o644)
    own.write_bytes(b"\x01" * 3 * MIB)
    own.chmod(0o644)
    run_async(lay_out(folder, "server", paths, own))
    for path, source in ((own, files.ram), (paths.disk, files.disk)):
        assert path.read_bytes() == source.read_bytes()
        assert path.stat().st_mode & 0o777 == 0o600
    assert {path: digest(path) for path in before} == before, "the snapshot stays as it is"


@pytest.mark.parametrize("part", ["ram", "disk"])
def test_no_room_for_a_copy(laid: Laid, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    folder, files, paths = laid

    def full(source: Path, target: Path) -> int:
        if source == getattr(files, part):
            raise OSError(errno.ENOSPC, "No space left on device")
        return copy_sparse(source, target)

    monkeypatch.setattr(module, "copy_sparse", full)
    with pytest.raises(SnapshotError, match="saved files of machine server could not be copied") as caught:
        run_async(lay_out(folder, "server", paths, tmp_path / "own.ram"))
    assert "No space left on device" in caught.value.why
    assert not isinstance(caught.value, SnapshotDamaged), "a full host says nothing about the snapshot"


# ------------------------------------------------------------------ loading


class Waiting(FakeServer):
    """A QEMU that waits for a state, and tells these run states one after the other."""

    def __init__(self, path: Path, *states: str) -> None:
        self.given: dict[str, object] = {}
        self.states = list(states)
        super().__init__(
            path,
            {
                "migrate-set-capabilities": lambda given: self.given.update(capabilities=given) or {},
                "migrate-set-parameters": lambda given: self.given.update(parameters=given) or {},
                "migrate-incoming": lambda given: self.given.update(read=self.content_of(given["uri"])) or {},
                "query-status": self._tell,
            },
        )

    def _tell(self, _: object) -> object:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        return CLOSE if state == "gone" else {"status": state}

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Monitor]:
        (self.path.parent / "state").write_bytes(b"QEVM")
        async with self.serving():
            monitor = await connect("server", self.path, Deadline.after(5))
            yield monitor
            await monitor.close()


def test_a_state_is_loaded_and_waited_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        qmp = Waiting(tmp_path / "qmp", "inmigrate", "inmigrate", "inmigrate", "paused")
        async with qmp.opened() as monitor:
            await load(monitor, tmp_path / "state", Deadline.after(5))
        assert qmp.log == [
            "qmp_capabilities", "migrate-set-capabilities", "migrate-set-parameters", "add-fd", "migrate-incoming",
            *["query-status"] * 4, "remove-fd",
        ]  # fmt: skip
        assert qmp.given == {"capabilities": CAPABILITIES, "parameters": ANNOUNCEMENTS, "read": b"QEVM"}

    run_async(scenario())


def test_a_state_that_is_never_loaded(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Waiting(tmp_path / "qmp", "inmigrate").opened() as monitor:
            limit = Deadline.after(0.2)
            with pytest.raises(MachineError, match="QEMU did not load the state of machine server") as caught:
                await load(monitor, tmp_path / "state", limit)
            assert limit.elapsed < 0.6
            assert caught.value.subject == "server"

    run_async(scenario())


def test_a_qemu_that_ends_over_a_state(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Waiting(tmp_path / "qmp", "inmigrate", "gone").opened() as monitor:
            with pytest.raises(MachineError, match="QMP connection to machine server is lost"):
                await load(monitor, tmp_path / "state", Deadline.after(5))

    run_async(scenario())


def test_a_state_that_cannot_be_read(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with Waiting(tmp_path / "qmp", "inmigrate").opened() as monitor:
            with pytest.raises(SnapshotError, match="the saved state of machine server cannot be read") as caught:
                await load(monitor, tmp_path / "none", Deadline.after(5))
            assert "No such file" in caught.value.why

    run_async(scenario())


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
            assert abs(await clock_offset(agent, Deadline.after(5)) - behind) < 0.04
        assert guest.log.count("guest-get-time") == 3

    run_async(scenario())


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
            assert abs(await clock_offset(agent, Deadline.after(5)) - 5.0) < 0.04

    run_async(scenario())


@pytest.mark.parametrize("behind", [86400.0, -7.0])
def test_the_clock_is_set_until_it_is_right(tmp_path: Path, behind: float) -> None:
    async def scenario() -> None:
        guest = Clock(tmp_path / "agent", behind)
        guest.misses = [0.3, -0.2]
        async with guest.opened() as agent:
            left = await set_clock(agent, Deadline.after(5))
        assert abs(left) <= 0.05
        assert abs(guest.behind) <= 0.06
        assert len(guest.commands) == 3

    run_async(scenario())


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

    run_async(scenario())


def test_a_clock_that_may_not_be_set(tmp_path: Path) -> None:
    async def scenario() -> None:
        guest = Clock(tmp_path / "agent", 9.0)
        guest.programs["date"] = lambda _: (1, b"", b"date: cannot set date: Operation not permitted\n")
        async with guest.opened() as agent:
            with pytest.raises(MachineError, match=r"clock of machine server cannot be set$") as caught:
                await set_clock(agent, Deadline.after(5))
        assert caught.value.why == "date: cannot set date: Operation not permitted"
        assert len(guest.commands) == 1

    run_async(scenario())


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

    run_async(scenario())


def test_a_guest_without_a_place_for_the_user_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with restored(tmp_path) as (guest, agent):
            guest.root = tmp_path / "nowhere"
            with pytest.raises(GuestCommandError, match="refused guest-file-open"):
                await authorize(agent, "ssh-ed25519 AAAA", Deadline.after(5))

    run_async(scenario())


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

    run_async(scenario())


def test_no_private_key_is_in_an_argument(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with restored(tmp_path) as (guest, agent):
            await exchange_host_key(agent, Deadline.after(5))
            private = (guest.root / HOST_KEY.lstrip("/")).read_text()
            words = " ".join(word for command in guest.commands for word in command)
            assert "PRIVATE KEY" in private
            assert not any(line in words for line in private.splitlines())

    run_async(scenario())


def test_each_machine_gets_a_host_key_of_its_own(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with restored(tmp_path) as (_, agent):
            lines = [await exchange_host_key(agent, Deadline.after(5)) for _ in range(3)]
            assert len(set(lines)) == 3

    run_async(scenario())


def test_an_sshd_that_does_not_take_its_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with restored(tmp_path) as (guest, agent):
            guest.programs["sh"] = lambda _: (5, b"", b"Failed to reload ssh.service: Unit ssh.service not found.\n")
            with pytest.raises(MachineError, match="sshd of machine server does not take its new host key") as caught:
                await exchange_host_key(agent, Deadline.after(5))
            assert caught.value.why == "Failed to reload ssh.service: Unit ssh.service not found."

    run_async(scenario())


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
