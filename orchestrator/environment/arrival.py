"""Waiting for a guest that boots, by whichever way it can be reached first: its agent, or SSH where it has none."""

from __future__ import annotations

from orchestrator.deadline import Deadline, completes_before, pause
from orchestrator.environment.live_guest import LiveGuest
from orchestrator.environment.live_qemu import LiveQemu
from orchestrator.errors import GuestCommandError, MachineError
from orchestrator.events.run import Note
from orchestrator.guest.channel import SshChannel
from orchestrator.guest.seed import told_host_key
from orchestrator.tasks import run_with_watchdogs
from orchestrator.timescale import TimeScale

TRY_INTERVAL = 1.0  # seconds between logins to a guest that still does not know our key, before scaling
ASK_LIMIT = 10.0  # seconds for the question about an agent, before scaling
AGENT_GRACE = 5.0  # seconds until an agent that was started by hand opens its port, before scaling
# Refused where there is no such unit; where there is, it is started, if its port did not do that.
START_AGENT = ["systemctl", "start", "--no-block", "qemu-guest-agent.service"]
SSH_ONLY = (
    "it has no guest agent and is reached by SSH only: a question to it takes about 0.1 s instead of a few ms, and its "
    "state cannot be saved, so that there is no warm start, no reset and no clone"
)


class _NoAgentError(Exception):
    """SSH works, and there is no agent to wait for."""


class Arrival:
    """One wait for a guest; `wait` leaves the channel that answers in ``guest.agent``."""

    def __init__(self, qemu: LiveQemu, guest: LiveGuest, scale: TimeScale) -> None:
        self._qemu = qemu
        self._guest = guest
        self._scale = scale
        self._refused = ""  # why SSH does not let us in

    async def wait(self, deadline: Deadline) -> None:
        """Return when the guest can be asked.

        Raises:
            MachineError: it did not boot in time.
        """
        told = told_host_key(self._qemu.paths)
        if not told:  # no foreign guest
            await self._qemu.wait_for_agent(deadline)
            await self._guest.connect_agent(deadline)
            return
        self._guest.ssh.pin(told)
        try:
            await run_with_watchdogs(self._qemu.wait_for_agent(deadline), [lambda: self._by_ssh(deadline)])
        except _NoAgentError:
            self._qemu.watcher.booting = False
            self._guest.use_ssh_only()
            self._qemu.report("ssh")
            self._qemu.bus.emit(Note(self._qemu.name, level="info", message=SSH_ONLY))
            return
        except MachineError as error:
            if self._refused:
                error.why += f"; SSH: {self._refused}"
            raise
        if not self._guest.ssh.connected:
            self._guest.ssh.pin("")  # the guest may not have listened: its agent tells the key
        await self._guest.connect_agent(deadline)

    async def _by_ssh(self, deadline: Deadline) -> None:
        """Raise `_NoAgentError` once SSH works and no agent is to be expected; return where there is one."""
        channel = SshChannel(self._qemu.name, self._guest.ssh.current)
        while True:
            try:
                limit = deadline.earlier(self._scale.limit(ASK_LIMIT))
                found = await channel.exec(START_AGENT, deadline=limit)
                break
            except (MachineError, GuestCommandError) as error:  # it boots: nobody listens, or our key is not there yet
                self._refused = error.brief
                await pause(self._scale.interval(TRY_INTERVAL), deadline)
        if found.code == 0:
            grace = deadline.earlier(self._scale.limit(AGENT_GRACE))
            if await completes_before(self._qemu.watcher.agent_open.wait, grace):
                return
        raise _NoAgentError
