"""Making a guest reboot, once: in order where it still listens, else as if the reset button were pressed."""

from __future__ import annotations

from orchestrator.deadline import Deadline, completes_before
from orchestrator.environment.watch import Watcher
from orchestrator.errors import OrchestratorError
from orchestrator.events import EventBus
from orchestrator.events.run import Note
from orchestrator.guest.channel import GuestChannel
from orchestrator.vm.qmp import Monitor

COMMAND = "systemctl --no-block reboot || systemctl --force --force reboot"
RESET_SEEN = 3.0  # seconds for QEMU to tell that it did what it was told


async def go_down(
    monitor: Monitor, agent: GuestChannel | None, watcher: Watcher, bus: EventBus, *, answer: Deadline, down: Deadline
) -> None:
    """Return when QEMU has reset the machine; its next boot begins then.

    Args:
        agent: None for a guest that is known to be dead: it is not asked.
        answer: until then the agent has taken the command.
        down: until then the guest has stopped its services.

    Raises:
        MachineError: QEMU does not do it.
    """
    with watcher.expecting_reset():
        if agent is not None and await monitor.run_state() == "running":
            why = await _asked(agent, watcher, answer, down)
            if not why or watcher.was_reset.is_set():
                return
            bus.emit(Note(monitor.machine, level="warning", message=f"{why}; it is reset"))
        watcher.agent_open.clear()
        await monitor.execute("system_reset")
        if await monitor.run_state() != "running":
            await monitor.execute("cont")
        await completes_before(watcher.was_reset.wait, Deadline.after(RESET_SEEN))


async def _asked(agent: GuestChannel, watcher: Watcher, answer: Deadline, down: Deadline) -> str:
    """Ask the guest, and see it go; why not, or nothing.

    Nobody asks what became of the command: the agent may be gone before it can tell, and that of the next boot knows
    nothing of it. That QEMU is reset is the answer.
    """
    try:
        if not agent.connected:
            await agent.connect(answer)
        await agent.begin(COMMAND, deadline=answer)
    except OrchestratorError as error:
        return error.what
    if await completes_before(watcher.was_reset.wait, down):
        return ""
    return f"it did not shut down within {down}"
