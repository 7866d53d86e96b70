"""The kept SSH connection of a machine, while its guest is reset."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from simulated_time import run_simulated

from orchestrator.deadline import Deadline
from orchestrator.environment import machine_ssh
from orchestrator.environment.machine_ssh import MachineSsh
from orchestrator.guest.lacks import Lacks
from orchestrator.guest.ssh import SshTarget
from orchestrator.timescale import TimeScale

OLD, NEW = "ssh-ed25519 b2xk root@server", "ssh-ed25519 bmV3 root@server"


@dataclass
class Connection:
    target: SshTarget
    alive: bool = True

    async def close(self) -> None:
        self.alive = False


@dataclass
class Scene:
    """A `MachineSsh` whose connections are made when the test lets them."""

    tmp_path: Path
    monkeypatch: pytest.MonkeyPatch
    made: list[Connection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.may_connect = asyncio.Event()
        self.guest_key = OLD
        watcher: Any = SimpleNamespace(sshd_listens=asyncio.Event())
        paths: Any = SimpleNamespace(serial_log=self.tmp_path / "serial.log")
        self.ssh = MachineSsh(paths, watcher, TimeScale(1), self.tmp_path / "key", Lacks("server"))
        self.ssh.ports = {22: 2222}

        async def connect(target: SshTarget, deadline: Deadline) -> Connection:
            await self.may_connect.wait()
            self.made.append(Connection(target))
            return self.made[-1]

        async def learn(_: object, deadline: Deadline) -> None:
            self.ssh.pin(self.guest_key)

        self.monkeypatch.setattr(machine_ssh.ssh_module, "connect", connect)
        self.monkeypatch.setattr(self.ssh, "learn_host_key", learn)

    async def connection(self) -> tuple[Any, bool]:
        agent: Any = object()  # `learn` stands for what it would say
        return await self.ssh.connection(agent)


def test_a_connection_of_before_a_reset_is_not_taken_for_one_of_the_new_boot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call was still connecting with the old key when the guest was reset, and reached the new boot's sshd."""

    async def scenario() -> None:
        scene = Scene(tmp_path, monkeypatch)
        scene.ssh.pin(OLD)
        connecting = asyncio.create_task(scene.connection())
        await asyncio.sleep(0)
        scene.ssh.forget_key()
        scene.guest_key = NEW
        scene.may_connect.set()
        found, new = await connecting
        assert new and scene.ssh.host_key == NEW
        first, second = scene.made
        assert found is second and not first.alive and second.alive

    run_simulated(scenario())


def test_a_connection_that_lives_is_kept_and_one_without_a_known_key_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        scene = Scene(tmp_path, monkeypatch)
        scene.may_connect.set()
        first, new = await scene.connection()
        assert new and scene.ssh.host_key == OLD
        assert await scene.connection() == (first, False)
        scene.ssh.forget_key()
        second, new = await scene.connection()
        assert new and second is not first

    run_simulated(scenario())
