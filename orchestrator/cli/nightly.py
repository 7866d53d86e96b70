"""``orchestrator nightly``: one night, from the updates to the message."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import suppress
from datetime import date
from pathlib import Path

from orchestrator.atomic import write_atomically
from orchestrator.cli.argument_types import LONGEST_NAME
from orchestrator.cli.history import looked_at
from orchestrator.cli.history_prune import prune
from orchestrator.cli.history_prune import told as told_of_removals
from orchestrator.cli.run_folder import remember
from orchestrator.cli.runtime import interrupt_code, run_command, say
from orchestrator.deadline import Deadline
from orchestrator.errors import LockedError, OrchestratorError, UsageError
from orchestrator.events import wall_clock
from orchestrator.nightly.commands import Commands
from orchestrator.nightly.junit import night_junit
from orchestrator.nightly.message import changes, message_of, note_verdicts, subject_of
from orchestrator.nightly.metrics import metrics_text, write_metrics
from orchestrator.nightly.model import Night
from orchestrator.nightly.night import Work, new_night, run_night
from orchestrator.nightly.overlap import LastNight, alone, gap_of
from orchestrator.nightly.remembered import Remembered
from orchestrator.nightly.telling import ping, send
from orchestrator.text import duration_text
from orchestrator.topology.load import load_variants
from orchestrator.topology.nightly import Nightly, Overlap
from orchestrator.topology.read_nightly import load_nightly


def run(arguments: argparse.Namespace) -> int:
    nightly = load_nightly(arguments.file)
    name = arguments.name or f"{nightly.name[: LONGEST_NAME - 6]}-night"
    if arguments.install or arguments.uninstall:
        from orchestrator.cli import night_schedule

        change = night_schedule.install if arguments.install else night_schedule.uninstall
        return change(arguments, nightly, name)
    if arguments.dry_run:
        return _dry_run(arguments, nightly, name)
    _check(arguments, nightly)
    deadline = Deadline.after(nightly.budget)
    return run_command(arguments, lambda _: _night(arguments, nightly, name, deadline))


def _check(arguments: argparse.Namespace, nightly: Nightly) -> None:
    """What can be known to be wrong before anything is begun."""
    topologies = load_variants(arguments.file)
    if all(topology.suite is None for topology in topologies.values()):
        raise UsageError(
            "the topology has no [suite]", where=[str(arguments.file)], hint="docs/topology.md describes it"
        )
    missing = [str(suite) for suite in nightly.suites.values() if not suite.is_dir()]
    missing += [str(folder) for chosen in nightly.layers.values() for folder in chosen.values() if not folder.is_dir()]
    if missing and not nightly.pull:
        raise UsageError("a folder of [nightly] does not exist", evidence=missing, where=[str(arguments.file)])


def _dry_run(arguments: argparse.Namespace, nightly: Nightly, name: str) -> int:
    _check(arguments, nightly)
    commands = Commands(nightly.topology, name)
    cells = {
        cell.name: commands.run_words(cell, Path("NIGHT") / "cells" / cell.name, nightly.budget, str(nightly.isolate))
        for cell in nightly.cells
    }
    if arguments.json:
        plan = {"name": name, "budget": nightly.budget, "pull": [str(one) for one in nightly.pull], "cells": cells}
        sys.stdout.write(json.dumps(plan, indent=2) + "\n")
        return 0
    for folder in nightly.pull:
        sys.stdout.write(f"git pull --ff-only in {folder}\n")
    for words in cells.values():
        sys.stdout.write(f"orchestrator {' '.join(words)}\n")
    sys.stdout.write(f"in at most {duration_text(nightly.budget)}; failed tests {nightly.reruns} times more\n")
    return 0


async def _night(arguments: argparse.Namespace, nightly: Nightly, name: str, deadline: Deadline) -> int:
    remembered = Remembered()
    night = new_night(arguments.runs, name)
    remember(night.folder)  # so that a night that is killed is known to have been
    try:
        async with alone(name, wait=nightly.overlap is Overlap.WAIT, deadline=deadline):
            last = remembered.last_night(name, night.night_id)
            gap = gap_of(None if last is None else last.started, night.started)
            night.missed, night.clock_back = gap.missed, gap.clock_back
            _warn(await ping(nightly.notify.ping, "start"))
            work = Work(nightly, Commands(nightly.topology, name), remembered, deadline, say)
            failure: OrchestratorError | None = None
            try:
                await run_night(night, work)
            except asyncio.CancelledError:
                night.outcome, night.exit_code, night.reason = "interrupted", interrupt_code(), "a signal ended it"
                raise
            except OrchestratorError as error:
                night.outcome, night.exit_code, night.reason = "error", error.exit_code, error.brief
                failure = error
            finally:
                _record(night, remembered)
            await _notify(night, nightly, last, remembered)
            _publish(nightly)
            _prune(nightly, arguments.runs)
            if failure is not None:
                raise failure
    except LockedError as error:
        night.outcome, night.exit_code, night.reason = "skipped", error.exit_code, error.brief
        _record(night, remembered)
        raise
    if arguments.json:
        sys.stdout.write(json.dumps(night.as_dict(), indent=2) + "\n")
    assert night.exit_code is not None
    return night.exit_code


def _record(night: Night, remembered: Remembered) -> None:
    """Everything that is kept of a night; a full disk is told, and hides nothing."""
    night.ended = wall_clock()
    try:
        night.write()
        remember(night.folder)
        if night.outcome != "skipped":
            note_verdicts(night, remembered.tests(night.name))
            write_atomically(night.folder / "junit.xml", night_junit(night), mode=0o644)
            night.write()
    except OSError as error:
        say(f"warning: the night is not recorded: {error}")


async def _notify(night: Night, nightly: Nightly, before: LastNight | None, remembered: Remembered) -> None:
    """The message, if something changed; the ping and the figures always."""
    today = date.fromtimestamp(wall_clock())
    failed_before = () if before is None else before.failed_updates
    told = changes(night, None if before is None else before.outcome, nightly, today, failed_before)
    if remembered.problem:
        told.append(f"the history could not be asked: {remembered.problem}")
    link = nightly.notify.link.replace("{night}", night.night_id)
    night.told, night.message = told, message_of(night, told, link)
    say(night.message.rstrip("\n"))
    notify = nightly.notify
    if told:
        data = {"outcome": night.outcome, "night": night.night_id, "link": link, "changes": told}
        _warn(await send(notify, subject_of(night), night.message, data))
    if nightly.metrics is not None:
        last = remembered.last_success(night.name)
        try:
            write_metrics(nightly.metrics, metrics_text(night, last))
        except OSError as error:
            say(f"warning: the figures are not written: {error}")
    _warn(await ping(notify.ping, "end", code=night.exit_code, outcome=night.outcome, body=night.message))
    with suppress(OSError):  # it was written before; only the message is new
        night.write()
    with suppress(OSError):
        write_atomically(night.folder / "message.txt", night.message, mode=0o644)


def _publish(nightly: Nightly) -> None:
    """The pages of the history, where they are wanted."""
    if nightly.site is None:
        return
    from orchestrator.history.site import write_site

    root = nightly.site
    try:
        looked_at(lambda connection: write_site(connection, root))
    except (OSError, OrchestratorError) as error:
        say(f"warning: the pages are not written: {error}")


def _prune(nightly: Nightly, runs: Path) -> None:
    """Old runs of nights go; those that somebody started by hand are `history prune`'s."""
    try:
        gone = prune(nightly.retention, runs, nights=True)
    except OrchestratorError as error:
        say(f"warning: old runs stay: {error.brief}")
        return
    if gone:
        say(told_of_removals(gone, dry_run=False))


def _warn(lines: list[str]) -> None:
    for line in lines:
        say(f"warning: not told: {line}")
