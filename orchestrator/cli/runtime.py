"""Runs a command: one event loop, progress on stderr, signals that shut it down in order."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from orchestrator.cli.signals import counts, ending_signals, first_signal
from orchestrator.deadline import Deadline
from orchestrator.environment.lock import is_ours, remove_if_last
from orchestrator.environment.paths import EnvironmentPaths, environments
from orchestrator.environment.state import EnvironmentState, read_state
from orchestrator.errors import HostError, Interrupted, UsageError
from orchestrator.events import EventBus
from orchestrator.process import kill_children

if TYPE_CHECKING:
    from orchestrator.cli.progress import Progress

T = TypeVar("T")


def interrupt_code() -> int:
    """The exit code of an interrupted command: 128 and the first signal's number."""
    return 128 + (first_signal() or signal.SIGINT)


def run_command(
    arguments: argparse.Namespace,
    work: Callable[[EventBus], Awaitable[T]],
    *,
    force: Callable[[], None] | None = None,
    view: Progress | None = None,
) -> T:
    """Run ``work`` in a new event loop, its events shown as the options say, or by a view of the command's own.

    The first SIGINT, SIGTERM or SIGHUP cancels it, and says so; a second one
    calls ``force`` and ends the program at once.

    Raises:
        Interrupted: after a first signal, when the work has wound down.
    """
    from orchestrator.cli.progress import Mode, make_progress
    from orchestrator.debug import debug_log

    mode: Mode = "quiet" if arguments.quiet else arguments.progress
    color = False if arguments.no_color else None
    shown = view or make_progress(mode, verbose=arguments.verbose, color=color)
    with shown as progress, debug_log.shown_by(progress.debug):
        bus = EventBus()
        bus.subscribe(progress)
        return asyncio.run(_interruptible(work(bus), bus, force))


async def _interruptible(work: Awaitable[T], bus: EventBus, force: Callable[[], None] | None) -> T:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        which = counts(number)
        if which == 2:
            if force is not None:
                force()
            kill_children()
            os._exit(128 + number)
        if which == 1:
            from orchestrator.events.run import Note  # kinds of events are loaded where they happen

            bus.emit(Note(level="warning", message="interrupted: shutting down; a second Ctrl-C ends at once"))
            task.cancel()

    numbers = ending_signals()
    for number in numbers:
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await work
    except asyncio.CancelledError:
        if (first := first_signal()) is not None:
            raise Interrupted(first) from None
        raise
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


def kill_environment(paths: EnvironmentPaths, *, only_ours: bool = False) -> Callable[[], None]:
    """What a second Ctrl-C does: SIGKILL to all of the environment's processes, its state removed, nothing else.

    Args:
        only_ours: only if this command brought the environment up.
    """
    from orchestrator.environment.teardown import orphans, remove_traces  # commands that only look need neither

    def kill() -> None:
        with suppress(HostError):
            state = read_state(paths.state)
            if only_ours and state is not None and state.owner.pid != os.getpid():
                return
            for process in [*(state.processes if state else []), *orphans(paths)]:
                process.signal_group(signal.SIGKILL)
            remove_traces(paths)
            if is_ours(paths.lock):
                remove_if_last(paths.lock)

    return kill


def chosen_name(arguments: argparse.Namespace) -> str:
    """The environment meant: ``--name``, else the topology file's, else the only one there is.

    Raises:
        UsageError: it is ambiguous or missing.
    """
    if arguments.name:
        return str(arguments.name)
    from_file = _name_in(arguments.file)
    known = environments()
    if from_file is not None:
        return from_file
    if len(known) == 1:
        return known[0]
    why = f"environments are {', '.join(known)}" if known else "there is no environment"
    raise UsageError("which environment?", why=f"{why}, and there is no {arguments.file}", hint="--name NAME")


def _name_in(path: Path) -> str | None:
    """The ``name`` of a topology file, without checking the rest of it."""
    import tomllib

    try:
        value = tomllib.loads(path.read_text(encoding="utf-8-sig")).get("name")
    except (OSError, ValueError):
        return None
    return value if isinstance(value, str) else None


def living_state(arguments: argparse.Namespace) -> tuple[EnvironmentPaths, EnvironmentState]:
    """The recorded state of the environment meant, with at least one running machine.

    Raises:
        HostError: it does not run.
    """
    paths, state = recorded_state(arguments)
    if not state.any_alive:
        from orchestrator.environment.switched_off import machines_off  # when something is wrong

        off = machines_off(paths, state)
        if off:
            hint = f"orchestrator -n {paths.name} power on {next(iter(off))}"
            raise HostError(f"all machines of environment {paths.name} are off", hint=hint)
        raise _does_not_run(paths.name, arguments)
    return paths, state


def recorded_state(arguments: argparse.Namespace) -> tuple[EnvironmentPaths, EnvironmentState]:
    """The recorded state of the environment meant, whether or not its machines run.

    Raises:
        HostError: there is none.
    """
    name = chosen_name(arguments)
    paths = EnvironmentPaths.of(name)
    state = read_state(paths.state)
    if state is None:
        raise _does_not_run(name, arguments)
    return paths, state


def _does_not_run(name: str, arguments: argparse.Namespace) -> HostError:
    hint = f"orchestrator -n {name} up" if arguments.name else "orchestrator up"
    return HostError(f"environment {name} does not run", hint=hint)


def known_machine(state: EnvironmentState, name: str) -> None:
    """Raise if ``name`` is not a running machine of the environment."""
    started_machine(state, name)
    if not state.machines[name].process.alive:
        from orchestrator.environment.switched_off import not_running  # when something is wrong

        raise not_running(EnvironmentPaths.of(state.name), state, name)


def started_machine(state: EnvironmentState, name: str) -> None:
    """Raise if ``name`` is not a machine of the environment, or was never started."""
    if name not in state.topology.machines:
        raise UsageError(f"no machine is named {name!r}", why=f"machines are {', '.join(state.topology.machines)}")
    if name not in state.machines:
        raise HostError(f"machine {name} is not started yet", hint="orchestrator status")


def limit_of(seconds: float) -> Deadline:
    return Deadline.after(seconds)


def say(text: str) -> None:
    """Print a line on stderr."""
    sys.stderr.write(text + "\n")
