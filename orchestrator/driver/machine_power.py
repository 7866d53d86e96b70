"""Starting and ending a machine."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, suppress

from orchestrator.deadline import Deadline
from orchestrator.driver.machine_files import Files
from orchestrator.driver.power import PowerState
from orchestrator.driver.results import Seconds, WaitFailed
from orchestrator.errors import MachineError

OFF = 120.0  # seconds for a shutdown, before scaling
REBOOT = 180.0


class PowerCommands(Files):
    """Starting and ending a machine. Its disk stays as it is until the environment is taken down or reset."""

    async def start(self) -> None:
        """Start the machine if it is off. It returns before it is up; the next call waits for it.

        Services of the topology that run on it are started and proven in the background, and so is what depends on
        them. After `crash` and `shutdown` it boots with the same disk.
        """
        await self._fleet.start(self.name)

    async def wait_up(self, timeout: Seconds | None = REBOOT) -> None:
        """Wait until the machine is set up: agent, network, key, SSH.

        Raises:
            MachineError: it did not come up.
        """
        async with self._in_time(timeout):
            await self._up()

    async def shutdown(self, timeout: Seconds | None = OFF) -> None:
        """Shut the guest down in order, and wait for it. One that is off stays off.

        Raises:
            WaitFailed: it does not; it still runs then.
        """
        if self._power.state in (PowerState.OFF, PowerState.LOST):
            return
        live = await self._power.wait_up()
        self._power.expect_end()
        with suppress(MachineError):  # the guest may be gone before it answers
            words = ["systemctl", "--no-block", "poweroff"]
            await self._call(live.agent.exec(words, deadline=self._deadline(10)))
        await self.wait_for_shutdown(timeout)

    async def wait_for_shutdown(self, timeout: Seconds | None = OFF) -> None:
        """Wait until the machine is off, whoever shuts it down.

        Raises:
            WaitFailed: the limit passed.
        """
        async with self._in_time(timeout):
            await self._power.off.wait()
        if self._power.state is PowerState.LOST:
            self._power.require_on()

    async def crash(self) -> None:
        """Cut the power: QEMU ends at once. The disk is as the guest has written it."""
        if self._power.booted:
            await self._power.crash()
            await self.wait_for_shutdown(30)

    async def reboot(self, timeout: Seconds | None = REBOOT) -> None:
        """Reboot the guest in order, and wait until it is set up again.

        Raises:
            MachineError: it does not come back.
            WaitFailed: the limit passed.
        """
        async with self._in_time(timeout):
            await self._fleet.reboot(self.name)

    async def press_reset(self) -> None:
        """Press the reset button. It returns before the guest is up again; the next call waits for it."""
        await self._up()
        self._fleet.boots_again(self.name)
        await self._live.monitor.execute("system_reset")

    async def pause(self) -> None:
        """Stop the machine's CPUs. The guest does not notice; calls wait for `resume`, under their limits."""
        await self._up()
        await self._live.monitor.execute("stop")
        self._power.paused = True

    async def resume(self) -> None:
        """Let the CPUs go on."""
        self._power.require_on()
        await self._live.monitor.execute("cont")
        self._power.paused = False

    async def sleep(self, seconds: float) -> None:
        """Wait in the guest's time, which also proves that the guest runs. It is not scaled."""
        live = await self._up()
        limit = Deadline.after(seconds + self._fleet.scale.limit(60))
        await self._call(live.agent.exec(["sleep", str(seconds)], deadline=limit))

    async def wait_until_lost(self, timeout: Seconds | None = OFF) -> str:
        """Wait until the machine dies or panics.

        Returns:
            What was seen of it.

        Raises:
            WaitFailed: it goes on.
        """
        async with self._in_time(timeout):
            await self._power.off.wait()
        if self._power.error is None:
            raise WaitFailed(f"machine {self.name} was shut down, and not lost", subject=self.name)
        return self._power.error.brief

    def _in_time(self, timeout: Seconds | None) -> AbstractAsyncContextManager[None]:
        """A limit for a block, whose error says where the machine is then."""
        deadline = self._deadline(timeout)
        return deadline.enforce(lambda: WaitFailed(f"machine {self.name} is {self.state} after {deadline}"))
