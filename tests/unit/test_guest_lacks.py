"""A guest that lacks something: sshd, an address, systemd, a root that can be written. Each is one explained error."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from simulated_time import run_simulated
from topology_parts import machine, topology

from orchestrator.deadline import Deadline
from orchestrator.environment import machine_ssh
from orchestrator.environment.handover import NO_SYSTEMD, READ_ONLY, conditions, handover_script, run_script
from orchestrator.environment.machine_ssh import MachineSsh
from orchestrator.errors import MachineError
from orchestrator.guest.agent import GuestResult
from orchestrator.guest.channel import GuestChannel
from orchestrator.guest.keys import PUBLIC_HOST_KEY
from orchestrator.guest.lacks import REMEDIES, Lack, Lacks
from orchestrator.guest.sshd import SshdWait, listening_host_key
from orchestrator.timescale import TimeScale

LACKS = Lacks("server", ("debian",), ("/logs/serial.log",))


@dataclass
class Guest:
    """A guest in memory whose commands all end in the same way."""

    result: GuestResult = field(default_factory=lambda: GuestResult(0, b"", b""))
    files: dict[str, bytes] = field(default_factory=dict)
    known: tuple[str, ...] | None = None
    machine: str = "server"
    commands: list[list[str]] = field(default_factory=list)

    async def exec(self, command: list[str], **_: object) -> GuestResult:
        self.commands.append(command)
        return self.result

    async def read_file(self, path: str, *, deadline: Deadline) -> bytes | None:
        return self.files.get(path)

    async def addresses(self, *, deadline: Deadline) -> tuple[str, ...] | None:
        return self.known

    @property
    def channel(self) -> GuestChannel:
        return cast("GuestChannel", self)


@pytest.mark.parametrize(
    ("code", "what", "why"),
    [
        (NO_SYSTEMD, "machine server has no systemd", "its agent answers, and its process 1 is busybox"),
        (READ_ONLY, "machine server has no writable root file system", "its agent answers, and /etc cannot be written"),
    ],
)
def test_a_hand_over_that_finds_no_ground(code: int, what: str, why: str) -> None:
    guest = Guest(GuestResult(code, b"", b"busybox"))
    with pytest.raises(MachineError) as caught:
        asyncio.run(run_script(guest.channel, "x", Deadline.after(5), LACKS))
    assert (caught.value.what, caught.value.why) == (what, why)
    assert 'include = ["orchestrator:base"]' in caught.value.hint
    assert caught.value.where == ("/logs/serial.log",)


def test_the_shell_sees_what_is_missing(tmp_path: Path) -> None:
    script = "\n".join(conditions())  # never the hand-over itself: it would set this host up
    assert script in handover_script(machine("server"), topology(tmp_path, machine("server")), "key")
    begin = script.replace("/run/", f"{tmp_path}/run/").replace("/etc", f"{tmp_path}/etc")

    def code() -> tuple[int, str]:
        done = subprocess.run(["sh", "-s"], input=begin, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr.strip()

    assert code() == (NO_SYSTEMD, Path("/proc/1/comm").read_text().strip())
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert code() == (READ_ONLY, "")
    (tmp_path / "etc").mkdir()
    assert code() == (0, "")


def wait_for_sshd(guest: Guest) -> tuple[MachineError, float]:

    async def scenario() -> tuple[MachineError, float]:
        begun = Deadline.after(600)
        wait = SshdWait(asyncio.Event(), 22, 1.0, Deadline.after(60), LACKS)
        with pytest.raises(MachineError) as caught:
            await listening_host_key(guest.channel, wait, Deadline.after(60))
        return caught.value, begun.elapsed

    return run_simulated(scenario())


def test_a_guest_without_sshd_is_not_waited_for_when_its_boot_is_over() -> None:
    error, elapsed = wait_for_sshd(Guest(GuestResult(0, b"absent\n", b"")))
    assert error.what == "machine server has no SSH server that listens"
    assert error.why == "its agent answers, its boot is over, and there is no program sshd"
    assert 'packages = ["openssh-server"]' in error.hint
    assert elapsed < 10


def test_an_sshd_that_failed_is_shown_as_systemd_has_it() -> None:
    error, _ = wait_for_sshd(
        Guest(GuestResult(0, b"stopped\nssh.service loaded failed failed OpenBSD Secure Shell\n", b""))
    )
    assert error.why == (
        "its boot is over, and nothing listens on port 22: ssh.service loaded failed failed OpenBSD Secure Shell"
    )


def test_a_boot_that_goes_on_may_still_bring_sshd() -> None:
    error, elapsed = wait_for_sshd(Guest(GuestResult(0, b"booting\n", b""), {PUBLIC_HOST_KEY: b"ssh-ed25519 A\n"}))
    assert error.what == "sshd of machine server did not listen within 60 s"
    assert elapsed >= 60


def log_in(guest: Guest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, takes: float) -> object:
    async def connect(target: object, deadline: Deadline) -> Any:
        await asyncio.sleep(takes)
        if takes >= 30:
            raise MachineError("machine server does not accept SSH within 30 s")
        return target

    async def scenario() -> object:
        watcher: Any = None
        paths: Any = None
        ssh = MachineSsh(paths, watcher, TimeScale(1), tmp_path / "key", LACKS)
        ssh.ports = {22: 2222}
        ssh.pin("ssh-ed25519 b2xk root@server")
        return await ssh._connect(guest.channel)

    monkeypatch.setattr(machine_ssh.ssh_module, "connect", connect)
    return run_simulated(scenario())


def test_a_guest_without_the_address_that_ssh_is_forwarded_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = Guest(known=("127.0.0.1", "::1", "192.168.1.2", "fe80::1"))
    with pytest.raises(MachineError, match="machine server has no address on the user network") as caught:
        log_in(guest, monkeypatch, tmp_path, 30)
    assert caught.value.why == "QEMU forwards SSH to 10.0.2.15, and its agent tells these addresses: 192.168.1.2"
    assert "10.0.2.15 by systemd-networkd" in caught.value.hint


@pytest.mark.parametrize("known", [None, ("10.0.2.15",)])
def test_a_login_that_is_only_slow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: tuple[str, ...] | None
) -> None:
    assert log_in(Guest(known=known), monkeypatch, tmp_path, 20) is not None
    with pytest.raises(MachineError, match="does not accept SSH"):
        log_in(Guest(known=known), monkeypatch, tmp_path, 30)


def test_every_lack_has_a_remedy_for_every_provider() -> None:
    providers = {"debian", "disk", "nixos", "oci"}
    assert all(set(REMEDIES[lack]) == providers for lack in Lack)
    assert Lacks("m", ("disk", "nixos")).remedy(Lack.SSHD) == (
        "add to the image: disk: install and enable openssh-server in the disk; nixos: services.openssh.enable = true"
    )
    assert Lacks("m", ("another",)).remedy(Lack.AGENT).startswith("add to the image: include =")
