"""Units of a machine's systemd, asked through the guest agent."""

from __future__ import annotations

from orchestrator.deadline import Deadline, completes_before
from orchestrator.driver.machine_commands import Commands
from orchestrator.driver.results import Seconds, WaitFailed
from orchestrator.driver.shell import user_systemctl
from orchestrator.services.systemd import PROPERTIES, UnitStatus, full_name, parse_show

WAIT = 60.0  # seconds of a wait, before scaling
LOOK = 1.0  # seconds between looks at a unit of which the journal tells nothing, before scaling


class Units(Commands):
    """Units. All limits are seconds on a host with KVM; a slower host has more."""

    async def wait_for_unit(self, unit: str, user: str | None = None, timeout: Seconds | None = WAIT) -> None:
        """Wait until a unit is active. The journal's lines about it are looked at at once.

        Args:
            unit: its name; without a suffix a service.
            user: whose unit; None: the system's.

        Raises:
            WaitFailed: it failed, it is inactive and nothing is about to start it, or the limit passed.
        """
        deadline = self._deadline(timeout)
        journal = self._journal_size()
        status = UnitStatus(unit, "", "unknown", "", "", 0, 0)

        def late() -> WaitFailed:
            return self._unit_failed(f"unit {unit} is {status.active} after {deadline}", journal, unit)

        async with deadline.enforce(late):
            while True:
                status = await self._unit(unit, user)
                if status.active == "active":
                    return
                if status.active == "failed":
                    raise self._unit_failed(f"unit {unit} failed (result {status.result})", journal, unit)
                if status.active == "inactive" and not await self._may_start(user):
                    status = await self._unit(unit, user)
                    if status.active == "inactive":
                        raise self._unit_failed(_idle(unit, status), journal, unit)
                    continue
                await self._news_of(status.unit or unit)

    async def _may_start(self, user: str | None) -> bool:
        if self._fleet.starter.bringing_up:
            return True
        self._fleet.starter.raise_for_services()
        output = await self._systemctl(["list-jobs", "--no-legend"], user)
        return bool(output[1].strip()) and "No jobs" not in output[1]

    async def _news_of(self, unit: str) -> None:
        """Return when the journal tells of the unit, or after a while."""
        journal = self._live.qemu.watcher.journal
        interval = self._fleet.scale.reply(LOOK)
        name = full_name(unit)
        await self._call(completes_before(lambda: journal.wait_for_entry(name), Deadline.after(interval)))

    async def get_unit_info(self, unit: str, user: str | None = None) -> dict[str, str]:
        """All properties of a unit, as ``systemctl show`` has them."""
        _, output = await self._systemctl(["--no-pager", "show", "--", unit], user)
        pairs = (line.partition("=") for line in output.splitlines() if "=" in line)
        return {name: value for name, _, value in pairs}

    async def require_unit_state(self, unit: str, state: str = "active", user: str | None = None) -> None:
        """Raise if a unit is in another state than the wanted one.

        Raises:
            WaitFailed: it is.
        """
        found = (await self._unit(unit, user)).active
        if found != state:
            raise WaitFailed(f"unit {unit} is {found}, and must be {state}", subject=self.name)

    async def systemctl(self, words: str, user: str | None = None) -> tuple[int, str]:
        """Run ``systemctl`` with these words, in a shell.

        Returns:
            The exit code and stdout; neither is checked.
        """
        if user is None:
            return await self.execute(f"systemctl {words}")
        return await self.execute(f"XDG_RUNTIME_DIR=/run/user/$(id -u) systemctl --user {words}", user=user)

    async def start_job(self, unit: str, user: str | None = None) -> tuple[int, str]:
        """``systemctl start``; its outcome is not checked."""
        return await self.systemctl(f"start {unit}", user)

    async def stop_job(self, unit: str, user: str | None = None) -> tuple[int, str]:
        """``systemctl stop``; its outcome is not checked."""
        return await self.systemctl(f"stop {unit}", user)

    async def _unit(self, unit: str, user: str | None) -> UnitStatus:
        words = ["show", "-p", ",".join(("Id", *PROPERTIES)), "--", unit]
        _, output = await self._systemctl(words, user)
        return (parse_show(output) or parse_show("Id="))[0]

    async def _systemctl(self, words: list[str], user: str | None) -> tuple[int, str]:
        """Through the guest agent: it needs no network, and costs an emulated guest less."""
        live = await self._up()
        command = ["systemctl", *words] if user is None else user_systemctl(words)
        result = await self._call(live.agent.exec(command, deadline=self._deadline(WAIT), user=user or "root"))
        return result.code, result.text

    def _unit_failed(self, what: str, journal: int, unit: str) -> WaitFailed:
        lines = [str(entry) for entry in self.journal(unit=unit)[-10:]] or [
            str(entry) for entry in self._journal_since(journal)
        ]
        hint = f"orchestrator -n {self._fleet.session.paths.name} logs {self.name}"
        return WaitFailed(f"{what} in {self.name}", evidence=lines, hint=hint, subject=self.name)


def _idle(unit: str, status: UnitStatus) -> str:
    if status.load not in ("loaded", ""):
        return f"unit {unit} is {status.load}"
    return f"unit {unit} is inactive, and there is no job that would start it"
