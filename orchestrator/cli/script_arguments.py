"""The options of `orchestrator test`."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cli.argument_types import duration
from orchestrator.cli.parser import Adder
from orchestrator.cli.shared_options import free_ports_option, keep_option, provider_option, runs_option, variant_option


def test_command(add: Adder) -> None:
    """Add the command."""
    test = add("test", "run NixOS testScripts on the machines of the topology")
    test.add_argument("scripts", nargs="+", type=Path, metavar="FILE", help="a Python script, or a Nix file with one")
    variant_option(test, "a variant of the topology")
    provider_option(test)
    test.add_argument(
        "--warm",
        action="store_true",
        help="bring all up before each script, from the saved healthy state where it fits; start() then does nothing",
    )
    test.add_argument(
        "--units",
        choices=("boot", "orchestrator"),
        help="who starts the topology's services: the machines' own boot, or the orchestrator, in their order and with "
        "their checks, as machines come up [orchestrator where the topology has units]",
    )
    keep_option(test)
    test.add_argument(
        "--keep-going", action="store_true", help="go on behind a subtest that failed; the script fails all the same"
    )
    test.add_argument(
        "--check", action="store_true", help="only list what the scripts use that is not supported; nothing is started"
    )
    test.add_argument(
        "--timeout",
        type=duration,
        metavar="TIME",
        help="limit of each script, from its first line on [1h on a host with KVM, more on a slower one]",
    )
    runs_option(test)
    free_ports_option(test)
    test.add_argument("--json", action="store_true", help="outcomes as JSON on stdout; scripts print to stderr")
