"""Whether a machine runs, watched as long as its driver is open."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from enum import Enum
from typing import Any, TypeVar

from orchestrator.deadline import FOREVER, Deadline
from orchestrator.driver.background import BackgroundTasks
from orchestrator.driver.results import MachineOff
from orchestrator.environment.machine import LiveMachine
from orchestrator.environment.runstate import Runstate
from orchestrator.environment.switched_off import note_switched_off
from orchestrator.errors import MachineError, OrchestratorError, UnforeseenError
from orchestrator.tasks import run_with_watchdogs
from orchestrator.vm.qmp import Monitor, event_summary

T = TypeVar("T")


class PowerState(Enum):
    """Where a machine is, for its driver."""

    OFF = "off"
    STARTING = "starting"  # it boots; calls wait
    UP = "up"
    LOST = "lost"  # it died or panicked: `Power.error` says how


class Power:
    """Follows one machine: whether it is up, and why it is not.

    Args:
        key: the public key that opens guests, one line.
        ready: called after each hand-over, and awaited before the machine counts as up.
        ended: called when the machine is off or lost.
    """

    def __init__(
        self,
        live: LiveMachine,
        tasks: BackgroundTasks,
        key: str,
        ready: Callable[[LiveMachine], Coroutine[Any, Any, None]],
        ended: Callable[[], None],
    ) -> None:
        self.live = live
        self.state = PowerState.OFF
        self.error: OrchestratorError | None = None
        self.off = asyncio.Event()
        self.off.set()
        self.paused = False
        self._tasks = tasks
        self._key = key
        self._ready = ready
        self._ended = ended
        self._up = asyncio.Event()
        self._gone = asyncio.Event()
        self._reset = asyncio.Event()  # the boot that a call began in is over
        self._expected = False  # its end is ours, or the guest shut down
        self._watching: list[asyncio.Task[None]] = []

    @property
    def name(self) -> str:
        return self.live.name

    @property
    def booted(self) -> bool:
        """Whether there is a machine that boots or runs."""
        return self.state in (PowerState.STARTING, PowerState.UP)

    # ------------------------------------------------------------------ beginning

    def follow(self, live: LiveMachine) -> None:
        """A machine that is handed over already: watch it from now on."""
        self._begin(live)
        self._become_up()

    def boot(self, live: LiveMachine, deadline: Deadline) -> None:
        """A machine whose QEMU was launched just now: hand it over in the background."""
        self._begin(live)
        self.state = PowerState.STARTING
        self._watching.append(self._tasks.begin(self._hand_over(live.boot(self._key, deadline))))

    def _begin(self, live: LiveMachine) -> None:
        self.live, self.error, self._expected, self.paused = live, None, False, False
        self.off.clear()
        self._gone.clear()
        self._up.clear()
        self._watching = [self._tasks.begin(self._watch()), self._tasks.begin(self._listen())]

    async def _hand_over(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
            await self._ready(self.live)
        except Exception as cause:  # noqa: BLE001 - calls would wait for ever
            # Where the machine has ended, its watch knows more.
            if not self._gone.is_set():
                self.lose(cause if isinstance(cause, OrchestratorError) else _unforeseen(self.name, cause))
            return
        self._become_up()

    def _become_up(self) -> None:
        self.state = PowerState.UP
        self._up.set()

    # ------------------------------------------------------------------ watching

    async def _watch(self) -> None:
        try:
            await self.live.qemu.watcher.watch()
        except Exception as cause:  # noqa: BLE001 - an unwatched machine must not look like one that runs
            if not isinstance(cause, OrchestratorError):
                self.lose(_unforeseen(self.name, cause))
            elif self._expected:
                self._end()
            else:
                self.lose(cause)

    async def _listen(self) -> None:
        """What QEMU tells: that the guest shut down, or boots again."""
        monitor = await self.monitor()
        async with monitor.events() as events:
            async for message in events:
                name, data = event_summary(message)
                if name == "SHUTDOWN" and data.get("guest"):
                    self.expect_end()
                elif name == "RESET" and self.state is PowerState.UP:
                    self.boots_again()

    async def monitor(self) -> Monitor:
        """The connection to QEMU, as soon as there is one."""
        return await self.live.qemu.watcher.wait_connected()

    def boots_again(self) -> None:
        """The guest of a running machine was reset: hand it over again in the background."""
        if self.live.runstate is Runstate.READY:
            self.live.qemu.watcher.agent_open.clear()
            self.live.leave_boot()
        self.state = PowerState.STARTING
        self._up.clear()
        self._reset.set()
        self._reset = asyncio.Event()
        work = self.live.boot_again(self._key, Deadline.after(FOREVER))
        self._watching.append(self._tasks.begin(self._hand_over(work)))

    def lose(self, error: OrchestratorError) -> None:
        """The machine is lost, and this is why."""
        self.error, self.state = error, PowerState.LOST
        self._gone.set()
        self.off.set()
        self._ended()

    def _end(self) -> None:
        self.state = PowerState.OFF
        process = self.live.qemu.process
        if process is not None:
            note_switched_off(self.live.paths, process, "switched off")
        self._gone.set()
        self.off.set()
        self._ended()

    # ------------------------------------------------------------------ for calls

    async def wait_up(self) -> LiveMachine:
        """The machine, when it is handed over.

        Raises:
            MachineOff: it is off.
            OrchestratorError: it is lost.
        """
        self.require_on()
        await run_with_watchdogs(_wait(self._up), [self.raise_when_gone])
        return self.live

    def require_on(self) -> None:
        """Raise if there is no machine to call."""
        if self.error is not None:
            raise again(self.error)
        if self.state is PowerState.OFF:
            raise MachineOff(f"machine {self.name} is off", subject=self.name, hint=f"start it: {self.name}.start()")

    async def guard(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work on the machine; its end ends the work, with the reason."""
        return await run_with_watchdogs(work, [self.raise_when_gone, self._raise_when_reset])

    async def _raise_when_reset(self) -> None:
        await self._reset.wait()
        raise MachineError(
            f"machine {self.name} was reset during the call", subject=self.name, why="its guest boots again"
        )

    async def raise_when_gone(self) -> None:
        """Wait for the machine's end, and raise it."""
        await self._gone.wait()
        self.require_on()
        raise MachineOff(f"machine {self.name} shut down during the call", subject=self.name)

    def expect_end(self) -> None:
        """From now on its end is no loss."""
        self._expected = self.live.qemu.watcher.expects_end = True

    def release(self) -> None:
        """Stop to watch; what becomes of the machine is somebody else's business."""
        for task in self._watching:
            task.cancel()
        self._watching = []

    async def crash(self) -> None:
        """End QEMU at once; the disk stays as it is."""
        self.expect_end()
        monitor = self.live.qemu.watcher.monitor
        if monitor is not None:
            with suppress(MachineError):  # it ends before it answers
                await monitor.execute("quit", deadline=Deadline.after(2))


def _unforeseen(machine: str, cause: Exception) -> UnforeseenError:
    error = UnforeseenError(f"machine {machine} cannot be followed", why=f"{type(cause).__name__}: {cause}")
    error.__cause__ = cause
    return error


async def _wait(event: asyncio.Event) -> None:
    await event.wait()


def again(error: OrchestratorError) -> OrchestratorError:
    """An error to be raised more than once: each time without the traceback of the time before."""
    return error.with_traceback(None)
