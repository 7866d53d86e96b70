"""``orchestrator cp``: MACHINE:PATH on one side or on both, as ``cp -R`` would."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from orchestrator.cli.copy_progress import CopyProgress
from orchestrator.cli.runtime import known_machine, living_state, run_command, say
from orchestrator.deadline import Deadline
from orchestrator.environment.attach import ssh_to
from orchestrator.environment.state import EnvironmentState
from orchestrator.errors import IncompleteCopy, UsageError
from orchestrator.guest.copy_entries import Tally, shown
from orchestrator.guest.copy_names import NOTHING, Source, facts_of, last_name, resolve_target, without_slash
from orchestrator.guest.copy_walk import content_size, look_at
from orchestrator.guest.files import Remote, between, facts, get, inspect, measure, put
from orchestrator.guest.ssh import Ssh
from orchestrator.text import size_text

NO_LIMIT = 30 * 86_400.0  # seconds: nobody waits longer for a copy
NAMED = 100  # things left out that are named


@dataclass(frozen=True, slots=True)
class Side:
    """One word of the command line.

    Attributes:
        machine: empty for a path of this host.
    """

    machine: str
    path: str

    @property
    def label(self) -> str:
        return f"{self.machine}:" if self.machine else ""

    def __str__(self) -> str:
        return shown(f"{self.label}{self.path}")


def run(arguments: argparse.Namespace) -> int:
    paths, state = living_state(arguments)
    sources, target = [_side(text, state) for text in arguments.source], _side(arguments.target, state)
    if not target.machine and not all(source.machine for source in sources):
        raise UsageError(
            "one side must be in a machine",
            why=f"machines are {', '.join(state.machines)}",
            hint="orchestrator cp server:/etc/hosts . copies out, orchestrator cp file server:/root/ copies in",
        )
    for machine in {side.machine for side in (*sources, target) if side.machine}:
        known_machine(state, machine)

    async def work() -> Tally:
        async with AsyncExitStack() as stack, Deadline.after(arguments.timeout or NO_LIMIT).enforce():
            connections: dict[str, Ssh] = {}
            for side in (*sources, target):
                if side.machine and side.machine not in connections:
                    connection = ssh_to(paths, state, side.machine, limit=arguments.timeout)
                    connections[side.machine] = await stack.enter_async_context(connection)
            copying = _Copying(connections, target, len(sources) > 1, progress)
            try:
                return await copying.all(sources)
            except BaseException:
                unfinished.append(copying.so_far())
                raise
        raise AssertionError("the body returns or raises")

    unfinished: list[str] = []
    try:
        with _progress(arguments) as progress:
            mode = "json" if arguments.progress == "json" else "plain"  # the bar is ours
            tally = run_command(argparse.Namespace(**{**vars(arguments), "progress": mode}), lambda _: work())
    finally:
        for line in filter(None, unfinished):
            say(f"note: {line}")
    return _told(tally, sources, target, progress, quiet=arguments.quiet)


class _Copying:
    """One call: several sources, one after another."""

    def __init__(self, connections: dict[str, Ssh], target: Side, several: bool, progress: CopyProgress) -> None:
        self._connections = connections
        self._target = target
        self._several = several
        self._progress = progress
        self._deadline = Deadline.after(2 * NO_LIMIT)  # the limit of the whole command comes first
        self._tally = Tally(on_bytes=progress.add)
        self._partial = ""  # a folder that is being filled

    def so_far(self) -> str:
        """What exists of a copy that failed. A single file is complete or absent."""
        begun = self._tally.files or self._tally.moved
        files = f"{self._tally.files} files, {size_text(self._tally.moved)}"
        return f"{self._partial} is incomplete: about {files} were copied" if self._partial and begun else ""

    async def all(self, sources: Sequence[Side]) -> Tally:
        for source in sources:
            if source.machine:
                await self._from_machine(source)
            else:
                await self._from_host(source)
            self._partial = ""
        return self._tally

    async def _from_host(self, source: Side) -> None:
        folder = stat.S_ISDIR(look_at(source.path).st_mode)
        place = await self._place(source, folder)
        total = content_size(source.path) if self._progress.wanted else 0
        self._progress.begin(str(source), total)
        ssh = self._connections[self._target.machine]
        await put(ssh, source.path, place, deadline=self._deadline, tally=self._tally)

    async def _from_machine(self, source: Side) -> None:
        ssh = self._connections[source.machine]
        found = await inspect(ssh, source.path, deadline=self._deadline)
        if source.path.endswith("/"):
            if not found.folder:
                raise UsageError(f"{source} is not a folder")
            found = Remote(ssh, without_slash(source.path), True)
        place = await self._place(source, found.folder)
        total = await measure(found, deadline=self._deadline) if self._progress.wanted else 0
        self._progress.begin(str(source), total)
        if self._target.machine:
            other = self._connections[self._target.machine]
            await between(found, other, place, deadline=self._deadline, tally=self._tally)
        else:
            await get(ssh, found, Path(place), deadline=self._deadline, tally=self._tally)

    async def _place(self, source: Side, folder: bool) -> str:
        """The path that a source becomes."""
        target, name = self._target, last_name(source.path)
        if not target.path:
            raise UsageError("the target is empty", hint=". is the folder you are in")
        path = without_slash(target.path)
        inner = os.path.join(path, name) if name else path  # noqa: PTH118 - the words of a user, as they are
        if target.machine:
            there, inside = await facts(self._connections[target.machine], path, inner, deadline=self._deadline)
            if there.kind == "o":
                raise UsageError(
                    f"{target} is a device, a socket or a pipe, which cp does not write to",
                    hint=f"orchestrator exec {target.machine} -- sh -c 'cat > {path}' takes what is piped into it",
                )
        else:
            there = facts_of(path)
            inside = facts_of(inner) if there.kind == "d" else NOTHING
        place = resolve_target(target.path, Source(name, folder, self._several), there, inside, label=target.label)
        if folder and source.machine == target.machine and _is_below(place, source.path):
            raise UsageError(f"{source} cannot be copied into itself", why=f"{shown(target.label + place)} lies in it")
        self._partial = shown(f"{target.label}{place}") if folder else ""
        return place


def _is_below(path: str, folder: str) -> bool:
    """Whether a path is, by its name, a folder of the same machine or inside it."""
    return PurePosixPath(os.path.normpath(path)).is_relative_to(os.path.normpath(folder))


def _told(tally: Tally, sources: Sequence[Side], target: Side, progress: CopyProgress, *, quiet: bool) -> int:
    """Print what was copied, and what was not.

    Raises:
        IncompleteCopy: something was left out.
    """
    subject = str(sources[0]) if len(sources) == 1 else f"{len(sources)} sources"
    if not quiet:
        rate = progress.rate()
        files = f"{tally.files} file{'s' if tally.files != 1 else ''}, {size_text(tally.moved)}"
        say(f"{subject} → {target}: {files}{f', {rate}' if rate else ''}")
        for line in tally.notes(NAMED):
            say(f"note: {line}")
    if tally.missing:
        what = "1 thing was" if tally.missing == 1 else f"{tally.missing} things were"
        for line in tally.names_left_out(NAMED):
            say(f"left out: {line}")
        raise IncompleteCopy(
            f"{what} left out or not copied whole",
            why="sockets, devices and named pipes are not copied, and some files could not be read",
            hint="the rest was copied; the names are above",
        )
    return 0


def _progress(arguments: argparse.Namespace) -> CopyProgress:
    from orchestrator.cli.progress_failure import is_terminal, use_color

    terminal = arguments.progress == "tty" or (arguments.progress == "auto" and is_terminal(sys.stderr))
    silent = arguments.quiet or arguments.progress in ("quiet", "json")
    color = use_color(sys.stderr, False if arguments.no_color else None)
    return CopyProgress(sys.stderr, live=terminal and not silent, lines=not terminal and not silent, color=color)


def _side(text: str, state: EnvironmentState) -> Side:
    """Machine and path of ``MACHINE:PATH``, or a path of this host if a slash comes before the colon."""
    name, colon, path = text.partition(":")
    if not colon or "/" in name:
        return Side("", text)
    if name not in state.machines:
        raise UsageError(
            f"no machine is named {name!r}",
            why=f"machines are {', '.join(state.machines)}",
            hint=f"./{text} means a host file of that name",
        )
    if not path.startswith("/"):
        raise UsageError(f"the path in the machine must be absolute: {text!r}")
    return Side(name, path)
