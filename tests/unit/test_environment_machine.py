"""A machine from its start to the hand-over and to its end, over a fake QMP, a fake agent and a real process."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest
from event_records import notes
from fake_qemu import SILENT
from machine_stage import staged
from simulated_time import run_simulated

from orchestrator.deadline import Deadline
from orchestrator.environment import evidence, live_guest, machine_ssh
from orchestrator.environment import machine as module
from orchestrator.environment.evidence import answers
from orchestrator.errors import MachineError
from orchestrator.guest.sshd import listens
from orchestrator.timescale import TimeScale
from orchestrator.topology.model import GuestFile


def test_boot_hands_over_when_the_agent_opens_its_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"\x00key\xff")
    files = (GuestFile(secret, str(tmp_path / "guest/alicia.env")), GuestFile(tmp_path / "none", "/x", required=False))
    monkeypatch.setattr(live_guest, "handover_script", lambda *_: "echo rubbish\n")
    monkeypatch.setattr(live_guest, "journal_script", lambda: "true\n")

    async def scenario() -> None:
        async with staged(tmp_path, files=files) as stage:
            stage.guest.root = tmp_path / "guest"
            watching = asyncio.create_task(stage.live.qemu.watcher.watch())
            booting = asyncio.create_task(stage.live.boot("key", Deadline.after(10)))
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
            learning = asyncio.create_task(stage.live.guest.ssh.learn_host_key(stage.live.agent, Deadline.after(10)))
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

    run_simulated(scenario())


def test_a_guest_that_never_opens_its_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BOOT_LIMIT", 0.3)

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.live.paths.serial_log.write_text("Loading Linux\nstuck here\n")
            deadline = Deadline.after(10)
            with pytest.raises(MachineError, match=r"machine server did not boot within 0\.3 s") as caught:
                await stage.live.boot("key", deadline)
            assert deadline.elapsed < 1.5
            assert caught.value.evidence[-1] == "stuck here"

    run_simulated(scenario())


@pytest.mark.parametrize(("made", "why"), [(False, "_key.pub does not exist"), (True, "it is not running")])
def test_a_guest_without_sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: bool, why: str) -> None:
    monkeypatch.setattr(machine_ssh, "HOST_KEY_TIMEOUT", 0.3)

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.guest.root = tmp_path / "guest"
            await stage.live.agent.connect(Deadline.after(5))
            if made:
                (tmp_path / "guest/etc/ssh").mkdir(parents=True)
                (tmp_path / "guest/etc/ssh/ssh_host_ed25519_key.pub").write_text("ssh-ed25519 HOST root@server\n")
            with pytest.raises(MachineError, match="sshd of machine server did not listen within 0 s") as caught:
                await stage.live.guest.ssh.learn_host_key(stage.live.agent, Deadline.after(10))
            assert why in caught.value.why


def test_a_silent_journal_hides_no_listening_sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_ssh, "LOOK_INTERVAL", 0.1)

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
            await stage.live.guest.ssh.learn_host_key(stage.live.agent, Deadline.after(5))
            assert stage.live.host_key == "ssh-ed25519 HOST root@server"

    run_simulated(scenario())


def test_who_listens() -> None:
    assert not listens(b"  sl  local_address rem_address   st\n", 22)
    assert not listens(b"   1: 00000000:0016 00000000:0000 01 x", 22)
    assert listens(b"   1: 00000000:0016 00000000:0000 0A x", 22)
    assert not listens(b"   1: 00000000:0016 00000000:0000 0A x", 80)


@pytest.mark.parametrize(
    ("code", "what", "hint"),
    [
        (71, "could not be set up", "orchestrator console server"),
        (72, "cannot be a router", "add the package nftables"),
        (73, "cannot be a router", "nft_masq"),
        (74, "cannot have a name server", "add the package perl-base"),
    ],
)
def test_a_handover_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, what: str, hint: str
) -> None:
    monkeypatch.setattr(live_guest, "handover_script", lambda *_: f"echo no network card >&2; exit {code}\n")

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            await stage.live._open_monitor(Deadline.after(5))
            await stage.live.agent.connect(Deadline.after(5))
            with pytest.raises(MachineError, match=what) as caught:
                await stage.live.hand_over("key", Deadline.after(5))
            assert caught.value.why == "no network card"
            assert hint in caught.value.hint
            assert not stage.live.handed_over

    run_simulated(scenario())


@pytest.mark.parametrize("rebooted", [False, True])
def test_a_guest_that_rebooted_by_itself_is_set_up_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rebooted: bool
) -> None:
    monkeypatch.setattr(live_guest, "handover_script", lambda *given: f"echo {given[2]}\n")
    monkeypatch.setattr(live_guest, "journal_script", lambda: "true\n")
    mark = tmp_path / "guest" / module.HANDED_OVER.lstrip("/")
    mark.parent.mkdir(parents=True)
    if not rebooted:
        mark.touch()

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.guest.root = tmp_path / "guest"
            stage.qmp.handlers["query-status"] = lambda _: {"status": "running"}
            stage.join()
            await stage.live.reattach(stage.process, "ssh-ed25519 MINE", Deadline.after(10))
            assert stage.live.handed_over
            assert ([["sh", "-s"]] * 2 if rebooted else []) == stage.guest.commands
            told = notes(stage.events)
            assert any("set up again" in note for note in told) is rebooted

    run_simulated(scenario())


@pytest.mark.parametrize(
    ("status", "agent", "expected"),
    [("running", True, True), ("guest-panicked", True, False), ("running", False, False)],
)
def test_a_machine_answers_or_is_not_asked_for_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: str, agent: bool, expected: bool
) -> None:
    monkeypatch.setattr(evidence, "ANSWER_LIMIT", 0.3)

    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.qmp.handlers["query-status"] = lambda _: {"status": status}
            await stage.live._open_monitor(Deadline.after(5))
            await stage.live.agent.connect(Deadline.after(5))
            if not agent:
                stage.guest.handlers["guest-ping"] = lambda _: SILENT
            begun = Deadline.after(5)
            assert await answers(stage.live, TimeScale()) is expected
            assert begun.elapsed < 1.5

    run_simulated(scenario())


def test_a_machine_that_panicked_is_not_waited_for(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            stage.live.paths.serial_log.write_text("[9.0] Kernel panic - not syncing: sysrq triggered crash\n")
            stage.qmp.handlers["query-status"] = lambda _: {"status": "guest-panicked"}
            begun = Deadline.after(10)
            stage.join()
            with pytest.raises(MachineError, match="machine server is paused: QEMU reports guest-panicked") as caught:
                await stage.live.reattach(stage.process, "ssh-ed25519 MINE", begun)
            assert begun.elapsed < 1.5
            assert "sysrq triggered crash" in caught.value.why
            assert "restart machine:server" in caught.value.hint

    run_simulated(scenario())


def test_a_failed_screenshot_is_only_noted(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with staged(tmp_path) as stage:
            await stage.live.qemu.screenshot("before", tmp_path)  # never connected: nothing to take
            await stage.live._open_monitor(Deadline.after(5))
            await stage.live.qemu.screenshot("refused", tmp_path)
            assert "no screenshot at refused" in notes(stage.events)[-1]
            stage.qmp.handlers["screendump"] = lambda a: stage.qmp.content_to(str(a["filename"]), b"")
            await stage.live.qemu.screenshot("ready", tmp_path)
            assert stage.events[-1].data() == {"path": "machines/server/screenshots/001-ready.png", "step": "ready"}

    run_simulated(scenario())
