"""A machine from its start to the hand-over and to its end, over a fake QMP, a fake agent and a real process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from fake_qemu import SILENT, FakeGuest, FakeServer, machine, run_async, topology

from orchestrator.deadline import Deadline, came
from orchestrator.environment import machine as module
from orchestrator.environment.evidence import witness
from orchestrator.environment.machine import LiveMachine
from orchestrator.errors import GuestCommandError, MachineError, ServiceError
from orchestrator.events import Event, EventBus, wall_clock
from orchestrator.guest.sshd import listens
from orchestrator.process import ProcessId
from orchestrator.snapshots.manifest import MachineFiles
from orchestrator.topology.model import GuestFile
from orchestrator.vm.arguments import MachinePaths

USERNET = "  TCP[HOST_FORWARD]  13       127.0.0.1 34529       10.0.2.15    22     0     0\n"


@dataclass
class Stage:
    live: LiveMachine
    qmp: FakeServer
    guest: FakeGuest
    process: ProcessId
    events: list[Event]

    def states(self) -> list[object]:
        return [event.data["state"] for event in self.events if event.kind == "machine.state"]


@asynccontextmanager
async def staged(
    tmp_path: Path, script: str = "sleep 60", *, files: tuple[GuestFile, ...] = ()
) -> AsyncIterator[Stage]:
    one = machine("server")
    if files:
        one = type(one)(one.name, one.image, one.cpus, one.memory, files=files)
    bus, events = EventBus(), list[Event]()
    bus.subscribe(events.append)
    paths = MachinePaths(tmp_path / "work", tmp_path / "s", tmp_path / "logs")
    live = LiveMachine(one, topology(tmp_path, one), paths, bus, 1.0)
    process = live.launch(("sh", "-c", script), {"PATH": "/usr/bin:/bin"})
    qmp = FakeServer(paths.qmp, {"human-monitor-command": lambda _: USERNET})
    guest = FakeGuest(paths.agent)
    try:
        async with qmp.serving(), guest.serving():
            yield Stage(live, qmp, guest, process, events)
            await live.close()
    finally:
        await process.end(0.2)


def test_boot_hands_over_when_the_agent_opens_its_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"\x00key\xff")
    files = (GuestFile(secret, str(tmp_path / "guest/alicia.env")), GuestFile(tmp_path / "none", "/x", required=False))
    monkeypatch.setattr(module, "handover_script", lambda *_: "echo rubbish\n")
    monkeypatch.setattr(module, "journal_script", lambda: "true\n")

    async def scenario() -> None:
        async with staged(tmp_path, files=files) as stage:
            stage.guest.root = tmp_path / "guest"
            watching = asyncio.create_task(stage.live.watch())
            booting = asyncio.create_task(stage.live.boot("key", secret, Deadline.after(10)))
            limit = Deadline.after(5)
            while "booting" not in stage.states() and not limit.expired:  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            await asyncio.sleep(0.1)
            assert stage.guest.connections == 0, "nobody knocks before the port is open"
            stage.qmp.event("VSERPORT_CHANGE", id="another", open=True)
            stage.qmp.event("VSERPORT_CHANGE", id="orch-agent", open=True)
            opened = Deadline.after(5)
            await booting
            assert opened.elapsed < 1
            assert stage.live.ports == {22: 34529}
            assert stage.live.handed_over
            key = tmp_path / "guest/etc/ssh/ssh_host_ed25519_key.pub"
            key.parent.mkdir(parents=True)
            key.write_text("ssh-ed25519 HOST root@server\n")
            learning = asyncio.create_task(stage.live.learn_host_key(Deadline.after(10)))
            await asyncio.sleep(0.3)
            assert stage.live.host_key == "", "nobody listens yet"
            heard = Deadline.after(5)
            line = '{"SYSLOG_IDENTIFIER":"sshd","MESSAGE":"Server listening on :: port 22."}'
            stage.live.paths.journal.write_text(line + "\n")
            await learning
            assert heard.elapsed < 0.5, "the journal told it"
            assert stage.live.host_key == "ssh-ed25519 HOST root@server"
            assert (tmp_path / "guest/alicia.env").read_bytes() == b"\x00key\xff"
            assert (tmp_path / "guest/alicia.env").stat().st_mode & 0o777 == 0o600
            assert stage.states() == ["starting", "booting", "agent"]
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching

    run_async(scenario())


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
                watching = group.create_task(stage.live.watch())
                booting = group.create_task(stage.live.boot("key", tmp_path / "key", Deadline.after(10)))
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
            notes = [event.data["message"] for event in stage.events if event.kind == "note"]
            assert len([text for text in notes if "a CPU makes no progress" in text]) == 1
            assert [e.data["sign"] for e in stage.events if e.kind == "machine.sign"] == ["cpu-stall"]

    run_async(scenario())


def test_a_guest_that_never_opens_its_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOOT_LIMIT", 0.3)

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.live.paths.serial_log.write_text("Loading Linux\nstuck here\n")
            deadline = Deadline.after(10)
            with pytest.raises(MachineError, match="machine server did not boot within 0 s") as caught:
                await stage.live.boot("key", tmp_path, deadline)
            assert deadline.elapsed < 1.5
            assert caught.value.evidence[-1] == "stuck here"

    run_async(scenario())


@pytest.mark.parametrize(("made", "why"), [(False, "_key.pub does not exist"), (True, "it is not running")])
def test_a_guest_without_sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: bool, why: str) -> None:
    monkeypatch.setattr(module, "HOST_KEY_LIMIT", 0.3)

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.guest.root = tmp_path / "guest"
            await stage.live.agent.connect(Deadline.after(5))
            if made:
                (tmp_path / "guest/etc/ssh").mkdir(parents=True)
                (tmp_path / "guest/etc/ssh/ssh_host_ed25519_key.pub").write_text("ssh-ed25519 HOST root@server\n")
            with pytest.raises(MachineError, match="sshd of machine server did not listen within 0 s") as caught:
                await stage.live.learn_host_key(Deadline.after(10))
            assert why in caught.value.why


def test_a_silent_journal_hides_no_listening_sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_INTERVAL", 0.1)

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.guest.root = tmp_path / "guest"
            for path, text in {
                "etc/ssh/ssh_host_ed25519_key.pub": "ssh-ed25519 HOST root@server\n",
                "proc/net/tcp": "   0: 0100007F:0016 00000000:0000 01\n   1: 00000000:0017 00000000:0000 0A\n",
                "proc/net/tcp6": f"   0: {'0' * 32}:0016 {'0' * 32}:0000 0A 00000000:00000000\n",
            }.items():
                (stage.guest.root / path).parent.mkdir(parents=True, exist_ok=True)
                (stage.guest.root / path).write_text(text)
            await stage.live.agent.connect(Deadline.after(5))
            await stage.live.learn_host_key(Deadline.after(5))
            assert stage.live.host_key == "ssh-ed25519 HOST root@server"

    run_async(scenario())


def test_who_listens() -> None:
    assert not listens(b"  sl  local_address rem_address   st\n", 22)
    assert not listens(b"   1: 00000000:0016 00000000:0000 01 x", 22)
    assert listens(b"   1: 00000000:0016 00000000:0000 0A x", 22)
    assert not listens(b"   1: 00000000:0016 00000000:0000 0A x", 80)


def test_a_handover_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "handover_script", lambda *_: "echo no network card >&2; exit 71\n")

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            await stage.live.agent.connect(Deadline.after(5))
            with pytest.raises(MachineError, match="could not be set up") as caught:
                await stage.live.hand_over("key", tmp_path, Deadline.after(5))
            assert caught.value.why == "no network card"
            assert not stage.live.handed_over

    run_async(scenario())


async def watch_ends(stage: Stage, limit: float) -> MachineError:
    deadline = Deadline.after(limit)
    with pytest.raises(MachineError) as caught:
        async with deadline.enforce():
            await stage.live.watch()
    return caught.value


@pytest.mark.parametrize("rebooted", [False, True])
def test_a_guest_that_rebooted_by_itself_is_set_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rebooted: bool
) -> None:
    monkeypatch.setattr(module, "handover_script", lambda *given: f"echo {given[-1]}\n")
    monkeypatch.setattr(module, "journal_script", lambda: "true\n")
    (tmp_path / "key.pub").write_text("ssh-ed25519 MINE\n")
    mark = tmp_path / "guest" / module.HANDED_OVER.lstrip("/")
    mark.parent.mkdir(parents=True)
    if not rebooted:
        mark.touch()

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.guest.root = tmp_path / "guest"
            stage.qmp.handlers["query-status"] = lambda _: {"status": "running"}
            await stage.live.rejoin(stage.process, tmp_path / "key", Deadline.after(10))
            assert stage.live.handed_over
            assert ([["sh", "-s"]] * 2 if rebooted else []) == stage.guest.commands
            notes = [str(event.data["message"]) for event in stage.events if event.kind == "note"]
            assert any("set up again" in note for note in notes) is rebooted

    run_async(scenario())


@pytest.mark.parametrize(("status", "agent", "expected"), [("running", True, True), ("guest-panicked", True, False),
                                                         ("running", False, False)])  # fmt: skip
def test_a_machine_answers_or_is_not_asked_for_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, agent: bool, expected: bool
) -> None:
    monkeypatch.setattr(module, "ANSWER_LIMIT", 0.3)

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.qmp.handlers["query-status"] = lambda _: {"status": status}
            await stage.live._open_monitor(Deadline.after(5))
            await stage.live.agent.connect(Deadline.after(5))
            if not agent:
                stage.guest.handlers["guest-ping"] = lambda _: SILENT
            begun = Deadline.after(5)
            assert await stage.live.answers() is expected
            assert begun.elapsed < 1.5

    run_async(scenario())


def test_a_machine_that_panicked_is_not_waited_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.live.paths.serial_log.write_text("[9.0] Kernel panic - not syncing: sysrq triggered crash\n")
            stage.qmp.handlers["query-status"] = lambda _: {"status": "guest-panicked"}
            begun = Deadline.after(10)
            with pytest.raises(MachineError, match="machine server stands still: QEMU says guest-panicked") as caught:
                await stage.live.rejoin(stage.process, tmp_path / "key", begun)
            assert begun.elapsed < 1.5
            assert "sysrq triggered crash" in caught.value.why
            assert "restart machine:server" in caught.value.hint

    run_async(scenario())


def test_a_qemu_that_ends_is_noticed_with_its_words(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path, "echo qemu: no such file; sleep 0.3; exit 7") as stage:
            error = await watch_ends(stage, 3)
            assert error.what == "QEMU of machine server exited with 7"
            assert error.why == "qemu: no such file"
            assert stage.states()[-1] == "died"

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
            assert [e.data["sign"] for e in stage.events if e.kind == "machine.sign"] == ["oom-kill", "kernel-panic"]

    run_async(scenario())


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
            assert any(e.kind == "note" and "RESET" in str(e.data["message"]) for e in stage.events)

    run_async(scenario())


def test_a_failed_screenshot_is_only_noted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            await stage.live.screenshot("before", tmp_path)  # never connected: nothing to take
            await stage.live._open_monitor(Deadline.after(5))
            await stage.live.screenshot("refused", tmp_path)
            assert "no screenshot at refused" in str(stage.events[-1].data["message"])
            stage.qmp.handlers["screendump"] = lambda a: stage.qmp.content_to(str(a["filename"]), b"")
            await stage.live.screenshot("ready", tmp_path)
            assert stage.events[-1].data == {"path": "logs/screenshots/001-ready.png", "step": "ready"}

    run_async(scenario())


# ------------------------------------------------------------------ from a saved state


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
            stage.live.continue_from(saved_logs(tmp_path / "saved", old, LISTENING))
            assert stage.live.paths.serial_log.read_text() == old
            assert stage.live.paths.journal.read_text() == LISTENING

            async def panic() -> None:
                await asyncio.sleep(0.2)
                with stage.live.paths.serial_log.open("a") as file:
                    file.write("[9.0] Kernel panic - not syncing: today\n")

            async with asyncio.TaskGroup() as group:
                group.create_task(panic())
                error = await watch_ends(stage, 3)
            assert [e.data["line"] for e in stage.events if e.kind == "machine.sign"] == [
                "[9.0] Kernel panic - not syncing: today"
            ]
            assert "is lost" in error.what
            assert not stage.live._watcher.sshd_listens.is_set(), "that it listened when it was saved tells nothing"

    run_async(scenario())


def test_logs_that_are_there_already_are_gone_on_with(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.live.paths.serial_log.write_text("an earlier world\n")
            stage.live.continue_from(saved_logs(tmp_path / "saved", "of the snapshot\n", LISTENING))
            assert stage.live.paths.serial_log.read_text() == "an earlier world\n"

    run_async(scenario())


def test_a_snapshot_without_logs_is_loaded_as_well(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.live.continue_from(MachineFiles(tmp_path / "none"))
            assert not stage.live.paths.serial_log.exists()

    run_async(scenario())


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
            assert not stage.live.handed_over, "it stands still"

    run_async(scenario())


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

    run_async(scenario())


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
            await stage.live.wake(tmp_path / "key", "ssh-ed25519 MINE", "", Deadline.after(5))
            assert stage.live.handed_over
            assert (root / USER_KEYS).read_text() == "ssh-ed25519 MINE\n"
            assert stage.live.host_key.startswith("ssh-ed25519 ")
            assert (root / f"{HOST_KEY}.pub").read_text() == stage.live.host_key + "\n"
            assert "PRIVATE KEY" in (root / HOST_KEY).read_text()
            assert [words[0] for words in stage.guest.commands] == ["sh", "date"]

    run_async(scenario())


def test_a_machine_of_this_environment_keeps_its_host_key(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            root = tmp_path / "guest"
            saved_guest(stage, root)
            await stage.live.wake(tmp_path / "key", "ssh-ed25519 MINE", "ssh-ed25519 KEPT", Deadline.after(5))
            assert stage.live.host_key == "ssh-ed25519 KEPT"
            assert (root / HOST_KEY).read_text() == (root / f"{HOST_KEY}.pub").read_text() == "saved\n"
            assert (root / USER_KEYS).read_text() == "ssh-ed25519 MINE\n", "the user's key is new at every up"
            assert [words[0] for words in stage.guest.commands] == ["date"]

    run_async(scenario())


def test_a_machine_that_does_not_take_the_user_key_is_not_handed_over(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            saved_guest(stage, tmp_path / "guest")
            stage.guest.root = tmp_path / "nowhere"
            with pytest.raises(GuestCommandError, match="refused guest-file-open"):
                await stage.live.wake(tmp_path / "key", "ssh-ed25519 MINE", "", Deadline.after(5))
            assert not stage.live.handed_over

    run_async(scenario())


@pytest.mark.parametrize("state", ["paused", "postmigrate", "finish-migrate"])
def test_a_machine_that_a_killed_save_left_standing_goes_on(tmp_path: Path, state: str) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            now = [state]
            stage.qmp.handlers |= {
                "query-status": lambda _: {"status": now[0]},
                "cont": lambda _: now.__setitem__(0, "running") or {},
            }
            await stage.live.rejoin_monitor(stage.process, tmp_path / "key", Deadline.after(5))
            assert now == ["running"]
            assert "it stood still" in str(stage.events[-1].data["message"])

    run_async(scenario())


@pytest.mark.parametrize("state", ["running", "guest-panicked"])
def test_no_other_machine_is_told_to_go_on(tmp_path: Path, state: str) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.qmp.handlers["query-status"] = lambda _: {"status": state}
            await stage.live.rejoin_monitor(stage.process, tmp_path / "key", Deadline.after(5))
            assert "cont" not in stage.qmp.log

    run_async(scenario())


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
                    assert error.what == f"machine server stands still: QEMU says {state}"
                else:
                    assert not await came(stage.live.watch, Deadline.after(0.5))

    run_async(scenario())


def test_what_is_seen_of_a_machine_is_evidence(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            assert await stage.live.seen() == "not started"
            stage.qmp.handlers["query-status"] = lambda _: {"status": "running"}
            await stage.live._open_monitor(Deadline.after(5))
            assert await stage.live.seen() == "QEMU says running"
            stage.live.paths.serial_log.write_text("one\n[ 7.1] last words\r\n")
            error = ServiceError("service web is not up", evidence=["its journal"])
            await witness([stage.live], error)
            assert error.evidence == ("its journal", "machine server: QEMU says running; console: [ 7.1] last words")
            stage.qmp.handlers["query-status"] = lambda _: SILENT
            limit = Deadline.after(10)
            assert "did not answer query-status" in await stage.live.seen()
            assert limit.elapsed < 2
            other = MachineError("machine server is lost")
            await witness([stage.live], other)
            assert other.evidence == (), "it has its own"

    run_async(scenario())
