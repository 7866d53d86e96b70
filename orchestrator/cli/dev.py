"""``orchestrator dev``: up, then change, deploy, test, and again, until somebody quits."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import fields
from typing import TYPE_CHECKING

from orchestrator.cli.crash import explained
from orchestrator.cli.dev_keys import choose_machine, keys_of
from orchestrator.cli.progress_failure import is_terminal
from orchestrator.cli.run import with_suite_options
from orchestrator.cli.run_folder import RunFolder
from orchestrator.cli.runtime import interrupt_code, kill_environment, run_command, say
from orchestrator.cli.up import request_of, start_fresh
from orchestrator.deadline import FOREVER, Deadline
from orchestrator.dev.environment import DevEnvironment
from orchestrator.dev.inbox import Inbox
from orchestrator.dev.loop import Loop
from orchestrator.dev.suite_runs import Known, failed_before
from orchestrator.dev.watching import watch_sources
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.plan import Request
from orchestrator.errors import OrchestratorError
from orchestrator.events import Event, EventBus
from orchestrator.events.base import ENVELOPE
from orchestrator.events.dev import DevCycleEnded
from orchestrator.events.run import RunOutcome
from orchestrator.guest.interact import shell_on
from orchestrator.tasks import finish_despite_cancel, root_cause
from orchestrator.text import json_text

if TYPE_CHECKING:
    from orchestrator.cli.dev_board import DevBoard


def run(arguments: argparse.Namespace) -> int:
    def read() -> Request:
        return with_suite_options(request_of(arguments), arguments)

    request = read()  # before anything is started
    view = _board(arguments)
    if view is None and arguments.progress in ("auto", "tty"):
        arguments.progress = "plain"  # the view of `up` has an end, and explains failures there
    return run_command(
        arguments,
        lambda bus: _Dev(arguments, read, bus, view).work(),
        force=kill_environment(EnvironmentPaths.of(request.name), only_ours=True),
        view=view,
    )


def _board(arguments: argparse.Namespace) -> DevBoard | None:
    """The board, for a person at a terminal."""
    wanted = arguments.progress in ("auto", "tty") and not arguments.quiet
    if not (wanted and is_terminal(sys.stderr) and is_terminal(sys.stdin)):
        return None
    from orchestrator.cli.dev_board import DevBoard

    return DevBoard(sys.stderr, verbose=arguments.verbose, color=False if arguments.no_color else None)


class _Dev:
    """What the command holds while its loop runs."""

    def __init__(
        self, arguments: argparse.Namespace, read: Callable[[], Request], bus: EventBus, view: DevBoard | None
    ) -> None:
        self._arguments = arguments
        self._bus = bus
        self._view = view
        self._inbox = Inbox()
        known = failed_before(arguments.runs) if arguments.last_failed else Known()
        self._environment = DevEnvironment(read, bus, arguments.timeout, grep=arguments.grep, known=known)
        self._loop = Loop(
            self._environment,
            self._inbox,
            bus,
            only_failed=arguments.last_failed,
            explained=explained,
            shell=self._shell,
        )

    async def work(self) -> int:
        """All of it; the exit code."""
        began, folder = Deadline.after(FOREVER), RunFolder(self._bus)
        if self._arguments.json:
            self._bus.subscribe(_print_round)
        if self._arguments.fresh:
            await start_fresh(self._environment.request, self._bus)
        outcome: RunOutcome = "interrupted"
        code = interrupt_code()
        try:
            await self._until_quit()
            outcome, code = "passed", 0
        except BaseExceptionGroup as group:
            error = root_cause(group)
            if isinstance(error, OrchestratorError):
                outcome, code = "error", error.exit_code
            raise error from None
        finally:
            await finish_despite_cancel(self._close(outcome, code, began))
            folder.report()
        return code

    async def _until_quit(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._environment.work_in(group)
            watching = group.create_task(watch_sources(self._environment, self._inbox))
            with ExitStack() as stack:
                if self._view is not None:
                    self._view.addresses = lambda: self._environment.addresses
                    stack.enter_context(keys_of(sys.stdin.fileno(), self._pressed))
                await self._loop.run()
            watching.cancel()
            await self._environment.stop_preparing()

    async def _close(self, outcome: RunOutcome, code: int, began: Deadline) -> None:
        keep = self._arguments.keep
        wanted = keep == "always" or (keep == "failure" and self._loop.last in ("failed", "error"))
        stays = await self._environment.close(outcome, code, began, keep=wanted)
        name = self._environment.name
        say(f"environment {name} " + (f"stays up; `orchestrator -n {name} down` ends it" if stays else "is down"))

    # ------------------------------------------------------------------ keys

    def _pressed(self, key: str) -> None:
        view = self._view
        if key == "s" and view is not None and view.state != "waiting":
            view.hint("the shell opens between two rounds: press s again when this one is over")
            return
        self._inbox.put_key(key)

    async def _shell(self) -> None:
        """A shell in a machine; nothing else goes on until it ends."""
        opened, view = self._environment.opened, self._view
        if opened is None or view is None:
            return
        with view.suspended():
            name = choose_machine(list(opened.session.machines), sys.stdin.fileno())
            if name is None:
                return
            ssh = await opened.session.machines[name].ssh()
            say(f"{name}: `exit` or Ctrl-D leaves the shell")
            shell_on(ssh, "root")


def _print_round(event: Event) -> None:
    if isinstance(event, DevCycleEnded):
        values = {one.name: getattr(event, one.name) for one in fields(event) if one.name not in ENVELOPE}
        sys.stdout.write(json_text({"environment": event.subject, **values}) + "\n")
        sys.stdout.flush()
