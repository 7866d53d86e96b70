"""``orchestrator logs``: the journals of all machines, merged by time.

They are stored on the host while the guests run, so this works while a
machine hangs and after it has died.
"""

from __future__ import annotations

import argparse
import asyncio
import heapq
import os
import shutil
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from orchestrator.cli.argument_types import env
from orchestrator.cli.runtime import chosen_name, say
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.state import read_state
from orchestrator.errors import HostError, UsageError
from orchestrator.events import utc_text, wall_clock
from orchestrator.services.journal import Entry, parse_entry
from orchestrator.services.systemd import full_name
from orchestrator.streams import ReaderGoneError, left_by_its_reader
from orchestrator.tasks import run_all
from orchestrator.text import clean, json_text
from orchestrator.vm.follow import follow_lines

LINE_LIMIT = 2000
COLORS = (36, 33, 32, 35, 34)


def run(arguments: argparse.Namespace) -> int:
    folder = _logs_folder(arguments)
    if arguments.lnav:
        return _lnav(folder.parent)
    files = {path.parent.name: path for path in sorted(folder.glob("*/journal.jsonl"))}
    unknown = [name for name in arguments.machine if name not in files]
    if unknown:
        raise UsageError(
            f"no journal of {', '.join(unknown)}", why=f"there are {', '.join(files) or 'none'}", where=[str(folder)]
        )
    chosen = {name: path for name, path in files.items() if not arguments.machine or name in arguments.machine}
    printer = Printer(arguments, chosen, real_names(folder.parent) if arguments.unit else {})
    ends: dict[str, int] = {}
    entries = ((entry, name) for entry, name in _merged(chosen, ends) if printer.wanted(entry))
    shown = 0
    for entry, name in entries if arguments.lines is None else deque(entries, maxlen=arguments.lines):
        printer.show(entry, name)
        shown += 1
    if arguments.follow and chosen:
        sys.stdout.flush()
        with suppress(KeyboardInterrupt):
            asyncio.run(_follow(chosen, ends, printer))
    elif not shown:
        say("no lines" + (" match" if arguments.unit or arguments.since else " yet"))
    return 0


def _lnav(run_folder: Path) -> int:
    """Show everything of a run in lnav, which takes this process's place.

    Raises:
        HostError: there is no lnav.
    """
    from orchestrator.report.export import export
    from orchestrator.report.lines import lnav_folder

    program = shutil.which("lnav")
    if program is None:
        raise HostError(
            "lnav is not installed",
            hint="apt install lnav, or read the file of `orchestrator report --export lnav` with another program",
        )
    try:
        (path,) = export(run_folder, "lnav")
    except OSError as error:
        raise HostError("the run cannot be read", why=str(error), where=[str(run_folder)]) from error
    os.execv(program, [program, "-I", str(lnav_folder()), str(path)])  # noqa: S606 - no shell between


def _logs_folder(arguments: argparse.Namespace) -> Path:
    """The machines' folder of the running environment, else of the last run here."""
    name = chosen_name(arguments)
    state = read_state(EnvironmentPaths.of(name).state)
    if state is not None:
        return state.run_folder / "machines"
    latest = Path(env("ORCH_RUNS", "runs")) / "latest" / "machines"
    if latest.is_dir():
        say(f"environment {name} does not run; these are the journals of {latest.parent.resolve().name}")
        return latest
    raise HostError(f"environment {name} does not run, and there is no earlier run here", hint="orchestrator up")


def real_names(run_folder: Path) -> dict[str, set[str]]:
    """Units that the topology calls by an alias, and the names under which the journal has them."""
    found: dict[str, set[str]] = {}
    for path in run_folder.glob("events*.jsonl"):
        with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                if '"unit.alias"' not in line and '"unit.name"' not in line:  # the second by older versions
                    continue
                from orchestrator.events.read import parse_event  # few environments have such a line
                from orchestrator.events.services import UnitAlias

                event = parse_event(line)
                if isinstance(event, UnitAlias) and event.id:
                    found.setdefault(event.subject, set()).add(event.id)
    return found


def _merged(files: dict[str, Path], ends: dict[str, int]) -> Iterator[tuple[Entry, str]]:
    return heapq.merge(*(_read(path, name, ends) for name, path in files.items()), key=lambda pair: pair[0].at)


def _read(path: Path, name: str, ends: dict[str, int]) -> Iterator[tuple[Entry, str]]:
    """What a journal holds now; ``ends`` gets where that ends, which is where following it begins."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        ends[name] = 0
        while ends[name] < size and (line := file.readline()):
            entry = parse_entry(line.decode("utf-8", "replace"))
            if entry is None and not line.endswith(b"\n"):
                return  # half of a line; its rest is being written
            ends[name] += len(line)
            if entry is not None:
                yield entry, name


class Printer:
    """Filters and prints entries according to the options."""

    def __init__(self, arguments: argparse.Namespace, machines: dict[str, Path], real: dict[str, set[str]]) -> None:
        self._units = set(map(full_name, arguments.unit))
        self._units |= {name for unit in self._units for name in real.get(unit, ())}
        self._after = wall_clock() - arguments.since if arguments.since else 0.0
        self._json = arguments.json
        self._width = max((len(name) for name in machines), default=0)
        self._number = {name: index for index, name in enumerate(machines)}
        self._color = sys.stdout.isatty() and not arguments.no_color and "NO_COLOR" not in os.environ

    def wanted(self, entry: Entry) -> bool:
        return entry.at >= self._after and (not self._units or entry.unit in self._units)

    def show(self, entry: Entry, machine: str) -> None:
        if self._json:
            data = {
                "time": utc_text(entry.at),
                "machine": machine,
                "unit": entry.unit,
                "identifier": entry.identifier,
                "priority": entry.priority,
                "message": entry.message,
            }
            sys.stdout.write(json_text(data) + "\n")
            return
        time = datetime.fromtimestamp(entry.at).strftime("%H:%M:%S.%f")[:-3]
        name = machine.ljust(self._width)
        if self._color:
            name = f"\033[{COLORS[self._number[machine] % len(COLORS)]}m{name}\033[0m"
        for line in entry.message.split("\n"):
            sys.stdout.write(f"{time} {name} | {entry.identifier}: {clean(line, LINE_LIMIT)}\n")


async def _follow(files: dict[str, Path], starts: dict[str, int], printer: Printer) -> None:
    """Print until cancelled or until the reader is gone.

    Raises:
        ReaderGoneError: the reader of our stdout is gone.
    """

    async def one(name: str, path: Path) -> None:
        async for line in follow_lines(path, start=starts[name]):
            entry = parse_entry(line)
            if entry is not None and printer.wanted(entry):
                printer.show(entry, name)
                sys.stdout.flush()

    async def reader_gone() -> None:
        await left_by_its_reader(sys.stdout.fileno())
        raise ReaderGoneError

    await run_all(reader_gone(), *(one(name, path) for name, path in files.items()))
