"""The commands about many runs: nightly, history, bisect."""

from __future__ import annotations

from orchestrator.cli.argument_types import count
from orchestrator.cli.parser import Adder
from orchestrator.cli.shared_options import limit_option, runs_option

HISTORY = ("list", "show", "test", "import", "pin", "prune", "site", "export")


def night_commands(add: Adder) -> None:
    """Add them."""
    nightly = add("nightly", "one night: updates, every cell of [nightly], repetitions, verdicts, and what changed")
    runs_option(nightly)
    change = nightly.add_mutually_exclusive_group()
    change.add_argument(
        "--install", choices=("timer", "cron"), help="let it begin every night: by a timer of systemd, or by cron"
    )
    change.add_argument("--uninstall", action="store_true", help="take the timer and the lines of the crontab away")
    nightly.add_argument("--yes", action="store_true", help="--install: do what is shown without a question")
    nightly.add_argument("--dry-run", action="store_true", help="only show what would be run, or installed")
    nightly.add_argument("--json", action="store_true", help="print the night as JSON on stdout")

    history = add("history", "earlier runs: what they were made of, and what they say of the tests")
    history.add_argument(
        "action",
        choices=HISTORY,
        help="list runs; show one; a test with its verdict; import run folders; pin a run, so that it is never "
        "removed; prune: remove old runs as [nightly.retention] says; site: write the pages into a folder; "
        "export everything as JSON",
    )
    history.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="show, pin: a run; test: a part of its title; import: folders [all known]; site: a folder",
    )
    history.add_argument("--lines", type=count, default=None, metavar="N", help="list: only the last N runs [20]")
    history.add_argument("--again", action="store_true", help="import: also what did not change")
    history.add_argument("--dry-run", action="store_true", help="prune: only show what would be removed")
    runs_option(history)
    history.add_argument("--remove", action="store_true", help="pin: take the mark away")
    history.add_argument("--json", action="store_true", help="as JSON")

    bisect = add("bisect", "which part of what was tested broke a test, and at which commit")
    bisect.add_argument("test", metavar="TEST", help="a part of its title")
    bisect.add_argument("--good", metavar="RUN", help="a run in which it passed [the last one before it broke]")
    bisect.add_argument("--bad", metavar="RUN", help="a run in which it failed [the first one]")
    runs_option(bisect)
    limit_option(bisect, "--timeout", "ORCH_TIMEOUT", "3h", "limit of all probes")
    bisect.add_argument("--json", action="store_true", help="the finding as JSON")
