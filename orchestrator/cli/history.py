"""``orchestrator history``: earlier runs, and what they say of the tests."""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from orchestrator.atomic import write_atomically
from orchestrator.cli.runtime import say
from orchestrator.cli.tables import ago, aligned
from orchestrator.errors import HostError, UsageError
from orchestrator.events import utc_text, wall_clock
from orchestrator.history.exporting import export_rows, run_as_dict, test_as_dict
from orchestrator.history.filling import fill, refill
from orchestrator.history.queries import TestHistory, find_run, run_rows, slower_services, tests
from orchestrator.history.records import PINNED
from orchestrator.history.statistics import rate_text
from orchestrator.history.store import History
from orchestrator.text import duration_text

T = TypeVar("T")
SHOWN = 20  # runs that `list` shows


def run(arguments: argparse.Namespace) -> int:
    takes = {"show": "RUN", "test": "NAME", "pin": "RUN", "site": "DIR"}
    if arguments.action in takes and len(arguments.words) != 1:
        word = takes[arguments.action]
        raise UsageError(
            f"history {arguments.action} needs one {word}", hint=f"orchestrator history {arguments.action} {word}"
        )
    if arguments.action in ("list", "export", "prune") and arguments.words:
        raise UsageError(
            f"history {arguments.action} takes no {arguments.words[0]!r}", hint="orchestrator history --help"
        )
    if arguments.action == "prune":
        from orchestrator.cli import history_prune

        return history_prune.run(arguments)
    actions = {
        "list": _list,
        "show": _show,
        "test": _test,
        "import": _import,
        "pin": _pin,
        "export": _export,
        "site": _site,
    }
    return actions[arguments.action](arguments)


def looked_at(work: Callable[[sqlite3.Connection], T], history: History | None = None) -> T:
    """Ask the history, after it has read what is new: a command that was killed could not record its run."""
    history = History() if history is None else history

    def work_now(connection: sqlite3.Connection) -> T:
        fill(connection, history.folders())
        return work(connection)

    return history.use(work_now, refill(history))


def _list(arguments: argparse.Namespace) -> int:
    limit = arguments.lines or (None if arguments.json else SHOWN)
    rows = looked_at(lambda connection: run_rows(connection, limit))
    if arguments.json:
        sys.stdout.write(json.dumps([run_as_dict(row) for row in rows], indent=2) + "\n")
        return 0
    now = wall_clock()
    table = [
        (
            row["run_id"],
            ago(now - row["started"]),
            f"{row['environment']}{' ' + row['variant'] if row['variant'] else ''}",
            row["outcome"],
            _counts(row),
            duration_text(row["seconds"]),
            " ".join(word for word in (row["role"], "pinned" if row["pinned"] else "") if word),
        )
        for row in rows
    ]
    if table:
        sys.stdout.write(aligned([("RUN", "BEGAN", "ENVIRONMENT", "OUTCOME", "TESTS", "TOOK", ""), *table]))
    elif not arguments.quiet:
        say("no run is recorded yet; `orchestrator history import FOLDER` reads earlier ones")
    return 0


def _counts(row: sqlite3.Row) -> str:
    words = [f"{row['tests']}"] if row["tests"] else []
    words += [f"{row[word]} {word}" for word in ("failed", "flaky") if row[word]]
    return ", ".join(words) or "-"


def _found(connection: sqlite3.Connection, name: str) -> sqlite3.Row:
    row = find_run(connection, name)
    if row is None:
        raise UsageError(
            f"no single run is named {name!r}",
            why="a run is named by its id, or by as much of its beginning as no other has",
            hint="orchestrator history list",
        )
    return row


def _show(arguments: argparse.Namespace) -> int:
    def ask(connection: sqlite3.Connection) -> dict[str, object]:
        return run_as_dict(_found(connection, arguments.words[0]), connection)

    found = looked_at(ask)
    if arguments.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    lines = [f"{found['run_id']}: {found['outcome']}{': ' + str(found['cause']) if found['cause'] else ''}"]
    lines += [
        f"  {name}: {found[name]}" for name in ("started", "command", "variant", "accelerator", "folder", "night_id")
    ]
    if found["infrastructure"]:
        lines.append(f"  says nothing about its tests: {found['infrastructure']}")
    lines.append(f"  revision set {found['revision_set']}")
    revisions, results = found["revisions"], found["tests"]
    assert isinstance(revisions, list)
    assert isinstance(results, list)
    lines += [f"    {one['kind']}: {one['digest'][:16]} {one['label']}".rstrip() for one in revisions]
    lines += [f"  {one['status']}: {one['title']}{': ' + one['error'] if one['error'] else ''}" for one in results]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _test(arguments: argparse.Namespace) -> int:
    word = arguments.words[0]

    def ask(connection: sqlite3.Connection) -> list[TestHistory]:
        return tests(connection, word=word, last=None)

    found = looked_at(ask)
    if not found:
        raise UsageError(f"no test has {word!r} in its title", hint="orchestrator history show latest")
    if arguments.json:
        sys.stdout.write(json.dumps([test_as_dict(one) for one in found], indent=2) + "\n")
        return 0
    for one in found:
        sys.stdout.write("\n".join(_told(one)) + "\n")
    return 0


def _told(one: TestHistory) -> list[str]:
    verdict = one.verdict
    lines = [f"{verdict.state}: {one.key.shown} ({one.key.phase}, {one.key.accelerator or 'no machines'})"]
    lines.append(f"  fails by itself: {rate_text(verdict.rate, verdict.runs)}; {verdict.failures} such failures")
    if verdict.state in ("broken", "fixed"):
        lines.append(f"  since {verdict.since}; passed last in {verdict.last_good or 'no run'}")
    if one.drift is not None:
        lines.append(f"  takes {duration_text(one.drift.now)}, before {duration_text(one.drift.before)}")
    lines.append(
        "  " + "".join(_mark(observation.results, observation.infrastructure) for observation in one.observations[-60:])
    )
    lines += [f"  {count} × {text}" for text, count in sorted(one.errors.items(), key=lambda pair: -pair[1])[:5]]
    return lines


def _mark(results: tuple[bool, ...], infrastructure: bool) -> str:
    if infrastructure:
        return "·"
    if not results:
        return "-"
    return "✔" if all(results) else "✘" if not any(results) else "~"


def _import(arguments: argparse.Namespace) -> int:
    history = History()
    places = [Path(word) for word in arguments.words] or history.folders()
    missing = [str(place) for place in places if not place.is_dir()]
    if missing and arguments.words:
        raise UsageError("there is no such folder", evidence=missing, hint="orchestrator history import runs")
    history.set_aside()
    for place in places:
        history.add_folder(place)
    progress = None if arguments.quiet or not sys.stderr.isatty() else _progress
    done = history.use(lambda one: fill(one, places, again=arguments.again, progress=progress), refill(history))
    if arguments.json:
        counted = {"runs": done.runs, "nights": done.nights, "known": done.known, "unreadable": list(done.unreadable)}
        sys.stdout.write(json.dumps(counted) + "\n")
    for line in done.unreadable:
        say(f"warning: not read: {line}")
    if not arguments.quiet:
        say(f"{done.runs} runs and {done.nights} nights read, {done.known} were known; {history.path}")
    return 0


def _progress(number: int, total: int) -> None:
    sys.stderr.write(f"\r{number}/{total}{'' if number < total else chr(10)}")


def _pin(arguments: argparse.Namespace) -> int:
    """The mark is in the run folder: it outlives the database."""
    folder = Path(looked_at(lambda connection: str(_found(connection, arguments.words[0])["folder"])))
    mark = folder / PINNED
    try:
        if arguments.remove:
            mark.unlink(missing_ok=True)
        else:
            write_atomically(mark, utc_text(wall_clock()) + "\n", mode=0o644)
    except OSError as error:
        raise HostError(
            "the run cannot be pinned",
            why=f"{error.strerror or error}: the mark is a file in its folder",
            where=[str(folder)],
            hint="only a run whose folder exists can be pinned",
        ) from error
    looked_at(lambda _: None)
    if arguments.json:
        sys.stdout.write(json.dumps({"run_folder": str(folder), "pinned": not arguments.remove}) + "\n")
    elif not arguments.quiet:
        say(f"{folder.name} is {'not pinned any more' if arguments.remove else 'pinned: it is never removed'}")
    return 0


def _site(arguments: argparse.Namespace) -> int:
    from orchestrator.history.site import write_site  # its templates take time to load

    root = Path(arguments.words[0])
    try:
        pages = looked_at(lambda connection: write_site(connection, root))
    except OSError as error:
        raise HostError("the pages cannot be written", why=str(error), where=[str(root)]) from error
    sys.stdout.write(f"{root.absolute() / 'index.html'}\n")
    if not arguments.quiet:
        say(f"{pages} pages")
    return 0


def _export(arguments: argparse.Namespace) -> int:
    def ask(connection: sqlite3.Connection) -> dict[str, object]:
        slower = {name: [one.before, one.now] for name, one in slower_services(connection).items()}
        return {"format": 1, **export_rows(connection), "services_that_drift": slower}

    sys.stdout.write(json.dumps(looked_at(ask), indent=2 if arguments.json else None) + "\n")
    return 0
