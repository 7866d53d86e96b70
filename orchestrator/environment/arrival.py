"""Waiting for a guest that boots, by whichever way it can be reached first: its agent, or SSH where it has none."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from os import SEEK_END
from pathlib import Path
from typing import Any

from orchestrator.deadline import Deadline, completes_before, pause
from orchestrator.environment.failures import SHOWN, end_of_boot
from orchestrator.environment.live_guest import LiveGuest
from orchestrator.environment.live_qemu import LiveQemu
from orchestrator.errors import GuestCommandError, MachineError
from orchestrator.events.run import Note
from orchestrator.guest.channel import SshChannel
from orchestrator.guest.lacks import Lack
from orchestrator.guest.seed import told_host_key
from orchestrator.process import tail
from orchestrator.tasks import run_with_watchdogs
from orchestrator.timescale import TimeScale

TRY_INTERVAL = 1.0  # seconds between logins to a guest that still does not know our key, before scaling
ASK_LIMIT = 10.0  # seconds for the question about an agent, before scaling
AGENT_GRACE = 5.0  # seconds an agent has to open its port once it was started, or the boot is over, before scaling
SSH_GRACE = 10.0  # the same for a foreign guest: its first boot also has to take our key
END = 8 << 10  # bytes of a console's log in which the end of a boot is looked for
LOOK_INTERVAL = 2.0  # seconds between looks at a console, a file of the host
# It ends with 0 where there is an agent, which is started then, if its port did not do that.
START_AGENT = ["sh", "-c", "command -v qemu-ga >/dev/null && systemctl start --no-block qemu-guest-agent.service"]
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
        guards: list[Callable[[], Coroutine[Any, Any, None]]] = [lambda: self._boot_without_agent(deadline)]
        if told:  # a foreign guest
            self._guest.ssh.pin(told)
            guards.append(lambda: self._by_ssh(deadline))
        try:
            await run_with_watchdogs(self._qemu.wait_for_agent(deadline), guards)
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
        if told and not self._guest.ssh.connected:
            self._guest.ssh.pin("")  # the guest may not have listened: its agent tells the key
        await self._guest.connect_agent(deadline)

    async def _boot_without_agent(self, deadline: Deadline) -> None:
        """Raise a `MachineError` when the console shows that the boot is over, and no agent has opened its port."""
        opened, log = self._qemu.watcher.agent_open.wait, self._qemu.paths.serial_log
        begin = log.stat().st_size if log.exists() else 0  # what is above is of an earlier boot
        grace = self._scale.limit(SSH_GRACE if told_host_key(self._qemu.paths) else AGENT_GRACE)
        while not await completes_before(opened, deadline.earlier(LOOK_INTERVAL)):
            if not (sign := end_of_boot(last_lines(log, begin))):
                continue
            if await completes_before(opened, deadline.earlier(grace)):
                return
            if end_of_boot(last_lines(log, begin)):
                why = f"its boot is over ({sign}), and nothing in it has opened the port of the guest agent"
                raise self._guest.lacks.error(Lack.AGENT, why, evidence=tail(log, SHOWN))

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
                await pause(self._scale.reply(TRY_INTERVAL), deadline)
        if found.code == 0:
            grace = deadline.earlier(self._scale.limit(AGENT_GRACE))
            if await completes_before(self._qemu.watcher.agent_open.wait, grace):
                return
        raise _NoAgentError


def last_lines(log: Path, begin: int) -> list[str]:
    """The last lines of a console's log that came after its first ``begin`` bytes."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, SEEK_END)
            file.seek(max(begin if begin <= size else 0, size - END))  # it was shortened meanwhile
            text = file.read(END).decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    return [line.rstrip("\r") for line in text.split("\n") if line.strip()]
