"""``orchestrator nightly --install`` and ``--uninstall``: shown before it is done."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from orchestrator.cli.runtime import say
from orchestrator.errors import UsageError
from orchestrator.folders import state_root
from orchestrator.nightly.installing import (
    Systemd,
    install_cron,
    install_timer,
    lingers,
    remove_cron,
    remove_timer,
)
from orchestrator.nightly.schedule import Schedule, kept_environment
from orchestrator.topology.nightly import Nightly


def schedule_of(arguments: argparse.Namespace, nightly: Nightly, name: str) -> Schedule:
    """What is to begin every night: this program, as it was called now."""
    argv = [sys.executable, "-m", "orchestrator", "nightly", "--file", str(nightly.topology), "--name", name]
    argv += ["--runs", str(arguments.runs.absolute()), "--progress", "plain"]
    return Schedule(
        name=name,
        at=nightly.at,
        argv=argv,
        folder=nightly.topology.parent,
        environment=kept_environment(os.environ),
        budget=nightly.budget,
        log=state_root() / "nightly" / f"{name}.log",
    )


def install(arguments: argparse.Namespace, nightly: Nightly, name: str) -> int:
    """Show what would be written, ask, write it."""
    schedule = schedule_of(arguments, nightly, name)
    systemd = Systemd.of_this_user()
    if arguments.install == "timer":
        for suffix, text in (("service", schedule.service()), ("timer", schedule.timer())):
            sys.stdout.write(f"# {systemd.folder / f'{schedule.unit}.{suffix}'}\n{text}\n")
        sys.stdout.write(f"{' '.join(systemd.command)} enable --now {schedule.unit}.timer\n")
    else:
        sys.stdout.write(schedule.cron())
    sys.stdout.flush()
    if arguments.dry_run:
        return 0
    _agreed(arguments)
    if arguments.install == "timer":
        asyncio.run(install_timer(schedule, systemd))
        if not asyncio.run(lingers()):
            say("warning: your services end when you log out; `loginctl enable-linger` lets the night run without you")
        say(f"it begins at {nightly.at}; `{' '.join(systemd.command)} list-timers {schedule.unit}.timer` shows when")
    else:
        asyncio.run(install_cron(schedule))
        say(f"it begins at {nightly.at}; its output is in {schedule.log}")
    return 0


def uninstall(arguments: argparse.Namespace, nightly: Nightly, name: str) -> int:
    """Take away both, wherever they are."""
    schedule = schedule_of(arguments, nightly, name)
    systemd = Systemd.of_this_user()
    if arguments.dry_run:
        sys.stdout.write(
            f"{systemd.folder / schedule.unit}.timer and .service, and the lines {schedule.mark} of crontab\n"
        )
        return 0
    timer, cron = asyncio.run(remove_timer(schedule, systemd)), asyncio.run(remove_cron(schedule))
    words = [word for word, found in (("the timer", timer), ("the lines of the crontab", cron)) if found]
    say(f"{' and '.join(words)} removed" if words else f"nothing was installed for {name}")
    return 0


def _agreed(arguments: argparse.Namespace) -> None:
    """Ask whether it is to be done.

    Raises:
        UsageError: nobody agreed.
    """
    if arguments.yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked", why="there is no terminal", hint="--yes does what is shown")
    sys.stderr.write("do this? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was installed")
