"""The SSH connection of a machine that a command drives, and the host key it is pinned to."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

from orchestrator.deadline import Deadline, completes_before
from orchestrator.environment.watch import Watcher
from orchestrator.errors import MachineError
from orchestrator.guest import ssh as ssh_module
from orchestrator.guest.channel import GuestChannel
from orchestrator.guest.keys import host_key_blob
from orchestrator.guest.lacks import Lack, Lacks
from orchestrator.guest.seed import USER_ADDRESS
from orchestrator.guest.ssh import Ssh, SshTarget
from orchestrator.guest.sshd import SshdWait, listening_host_key
from orchestrator.tasks import run_with_watchdogs
from orchestrator.timescale import TimeScale
from orchestrator.vm.arguments import SSH_GUEST_PORT, MachinePaths

HOST_KEY_TIMEOUT = 60.0  # seconds, before scaling; the agent may answer long before the boot is over
SSH_TIMEOUT = 30.0
LOOK_INTERVAL = 1.0  # seconds between looks for a listening sshd, where the journal is silent; before scaling
ADDRESS_AFTER = 5.0  # seconds of a login before the guest's addresses are looked at, before scaling
NEW_KEY_TIMEOUT = 2.0  # seconds until an sshd that was given a new key listens again, before scaling


class HostKeyState(Enum):
    """What is known of the guest's host key."""

    UNKNOWN = "unknown"  # the guest boots: the key is read when its sshd listens
    REPLACED = "replaced"  # the guest was given a new one, with which sshd is just starting
    PINNED = "pinned"


class MachineSsh:
    """One SSH connection, made at the first `connection` and kept.

    Attributes:
        host_key: the public host key, one line; empty while its state is ``UNKNOWN``.
        ports: guest port → port of 127.0.0.1; set before the first connection.
        lacks: explains what the guest is found to lack.
    """

    def __init__(self, paths: MachinePaths, watcher: Watcher, scale: TimeScale, key_file: Path, lacks: Lacks) -> None:
        self.host_key = ""
        self.ports: Mapping[int, int] = {}
        self._key_state = HostKeyState.UNKNOWN
        self.lacks = lacks
        self._name = lacks.machine
        self._paths = paths
        self._watcher = watcher
        self._scale = scale
        self._key_file = key_file
        self._lock = asyncio.Lock()
        self._ssh: Ssh | None = None

    def pin(self, host_key: str, *, replaced: bool = False) -> None:
        """From now on the guest must show this key.

        Args:
            host_key: one public line; empty: not known yet.
            replaced: the guest was given it a moment ago.
        """
        self.host_key = host_key
        if not host_key:
            self._key_state = HostKeyState.UNKNOWN
        else:
            self._key_state = HostKeyState.REPLACED if replaced else HostKeyState.PINNED

    def forget_key(self) -> None:
        """The guest boots again: its host key may be another one."""
        self._watcher.sshd_listens.clear()
        self.pin("")

    async def connection(self, agent: GuestChannel | None) -> tuple[Ssh, bool]:
        """The connection, and whether it was made just now.

        Args:
            agent: tells the host key, if it is not pinned; None: it is.

        Raises:
            MachineError: sshd does not listen in time, or shows another key.
        """
        async with self._lock:
            while self._ssh is None or not self._ssh.alive or not self.host_key:
                new = await self._connect(agent)
                if new.target.host_key == self._key_blob():
                    self._ssh = new
                    return new, True
                await new.close()  # the guest was reset meanwhile: its key is to be learnt again
            return self._ssh, False

    async def current(self) -> Ssh:
        """The connection of a guest whose key is pinned: it need not be asked for it."""
        ssh, _ = await self.connection(None)
        return ssh

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._ssh is not None and self._ssh.alive

    def _key_blob(self) -> bytes:
        return host_key_blob(self._name, self.host_key) if self.host_key else b""

    async def _connect(self, agent: GuestChannel | None) -> Ssh:
        match self._key_state:
            case HostKeyState.UNKNOWN:
                if agent is None:
                    raise MachineError(f"the host key of machine {self._name} is not known", subject=self._name)
                await self.learn_host_key(agent, Deadline.after(self._scale.limit(HOST_KEY_TIMEOUT)))
            case HostKeyState.REPLACED:
                self._key_state = HostKeyState.PINNED
                restarted = Deadline.after(self._scale.reply(NEW_KEY_TIMEOUT))
                await completes_before(self._watcher.sshd_listens.wait, restarted)
            case HostKeyState.PINNED:
                pass
        target = SshTarget(self._name, self.ports[SSH_GUEST_PORT], self._key_blob(), self._key_file)
        work = ssh_module.connect(target, Deadline.after(self._scale.reply(SSH_TIMEOUT)))
        return await run_with_watchdogs(work, [] if agent is None else [lambda: self._look_for_address(agent)])

    async def _look_for_address(self, agent: GuestChannel) -> None:
        """End a login that takes long where the guest has no address to be reached at."""
        await asyncio.sleep(self._scale.reply(ADDRESS_AFTER))
        found = await agent.addresses(deadline=Deadline.after(self._scale.reply(SSH_TIMEOUT)))
        if found is not None and USER_ADDRESS not in found:
            theirs = ", ".join(one for one in found if not one.startswith(("127.", "::1", "fe80:"))) or "none"
            why = f"QEMU forwards SSH to {USER_ADDRESS}, and its agent tells these addresses: {theirs}"
            raise self.lacks.error(Lack.ADDRESS, why)

    async def learn_host_key(self, agent: GuestChannel, deadline: Deadline) -> None:
        """Wait until the guest's sshd listens, and pin its host key.

        Raises:
            MachineError: sshd did not listen in time.
        """
        wait = SshdWait(
            self._watcher.sshd_listens,
            SSH_GUEST_PORT,
            interval=self._scale.reply(LOOK_INTERVAL),
            listens_before=deadline.earlier(self._scale.limit(HOST_KEY_TIMEOUT)),
            lacks=self.lacks,
        )
        self.pin(await listening_host_key(agent, wait, deadline))

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._ssh is not None:
            await self._ssh.close()
            self._ssh = None
