"""Puts the units of a night, or its lines of the crontab, where systemd or cron finds them; and takes them away."""

from __future__ import annotations

import asyncio
import getpass
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.atomic import write_atomically
from orchestrator.deadline import Deadline
from orchestrator.errors import HostError
from orchestrator.nightly.schedule import Schedule, with_lines, without_lines
from orchestrator.process import child, run

LIMIT = 60.0  # seconds of one command


@dataclass(frozen=True, slots=True)
class Systemd:
    """Where units go, and how systemd is asked: its manager of the system for root, else that of the user."""

    folder: Path
    command: tuple[str, ...]

    @classmethod
    def of_this_user(cls) -> Systemd:
        if os.geteuid() == 0:
            return cls(Path("/etc/systemd/system"), ("systemctl",))
        config = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
        return cls(Path(config).expanduser() / "systemd/user", ("systemctl", "--user"))

    async def ask(self, *words: str) -> None:
        """One command of systemctl.

        Raises:
            HostError: it refused.
        """
        deadline = Deadline.after(LIMIT)
        await run(
            [*self.command, *words], deadline=deadline, hint="systemd must run here; --install cron needs only cron"
        )


async def install_timer(schedule: Schedule, systemd: Systemd) -> None:
    """Write the units, and let the timer run.

    Raises:
        HostError: they cannot be written, or systemd refuses them.
    """
    try:
        systemd.folder.mkdir(parents=True, exist_ok=True)
        for suffix, text in (("service", schedule.service()), ("timer", schedule.timer())):
            write_atomically(systemd.folder / f"{schedule.unit}.{suffix}", text, mode=0o644)
    except OSError as error:
        raise HostError("the units cannot be written", why=str(error), where=[str(systemd.folder)]) from error
    await systemd.ask("daemon-reload")
    await systemd.ask("enable", "--now", f"{schedule.unit}.timer")


async def remove_timer(schedule: Schedule, systemd: Systemd) -> bool:
    """Take the units away; whether there were any.

    Raises:
        HostError: systemd refuses.
    """
    units = [systemd.folder / f"{schedule.unit}.{suffix}" for suffix in ("timer", "service")]
    if not any(path.exists() for path in units):
        return False
    await systemd.ask("disable", "--now", f"{schedule.unit}.timer")
    for path in units:
        with suppress(FileNotFoundError):
            path.unlink()
    await systemd.ask("daemon-reload")
    return True


async def lingers() -> bool:
    """Whether this user's services run without a login; root's are the system's."""
    if os.geteuid() == 0:
        return True
    with suppress(HostError):
        argv = ["loginctl", "show-user", getpass.getuser(), "--property=Linger", "--value"]
        found = await run(argv, deadline=Deadline.after(LIMIT), check=False)
        return found.stdout.strip() == "yes"
    return False


async def crontab() -> str:
    """The crontab of this user; empty: there is none.

    Raises:
        HostError: cron is not installed.
    """
    if shutil.which("crontab") is None:
        raise HostError("crontab is not installed", hint="apt install cron, or --install timer")
    found = await run(["crontab", "-l"], deadline=Deadline.after(LIMIT), check=False)
    return found.stdout if found.code == 0 else ""


async def install_cron(schedule: Schedule) -> None:
    """Put our lines into the crontab."""
    schedule.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    await _write_crontab(with_lines(await crontab(), schedule))


async def remove_cron(schedule: Schedule) -> bool:
    """Take our lines out of the crontab; whether there were any."""
    if shutil.which("crontab") is None:
        return False
    old = await crontab()
    new = without_lines(old, schedule)
    if new != old:
        await _write_crontab(new)
    return new != old


async def _write_crontab(text: str) -> None:
    await _with_input(["crontab", "-"], text)


async def _with_input(argv: Sequence[str], text: str) -> None:
    async with Deadline.after(LIMIT).enforce(), child(argv, stdin=asyncio.subprocess.PIPE) as process:
        output, _ = await process.communicate(text.encode())
        if process.returncode:
            raise HostError(f"{argv[0]} refused the lines", why=output.decode("utf-8", "replace").strip())
