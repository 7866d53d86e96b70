"""The options of `orchestrator dev`."""

from __future__ import annotations

from orchestrator.cli.parser import Adder
from orchestrator.cli.shared_options import keep_option, limit_option, start_options, suite_options


def dev_command(add: Adder) -> None:
    """Add the command."""
    dev = add("dev", "bring the environment up, watch what it is made of, bring changes in and run the tests again")
    start_options(dev, outcome=False)
    suite_options(dev)
    dev.add_argument(
        "--last-failed", action="store_true", help="as long as tests fail, run only those; first those of the last run"
    )
    limit_option(dev, "--timeout", "ORCH_TIMEOUT", "3h", "limit of each round, images included")
    keep_option(dev)
    dev.add_argument("--json", action="store_true", help="one JSON object for each round on stdout")
