"""Options that several commands have."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from orchestrator.cli.argument_types import (
    Providers,
    app_folder,
    duration,
    env,
    environment_name,
    layer_folder,
    port,
    variable,
)
from orchestrator.cli.parser import CommandParser, one_of
from orchestrator.plugin_names import module_names

PROGRESS = ("auto", "tty", "plain", "json", "quiet")
PROVIDERS = Providers(("auto", *module_names("orchestrator.images.providers")))


def common_options(*, defaults: bool) -> CommandParser:
    """Options that can be given before or after the command.

    Only those before it have defaults: the defaults of a command would overwrite what was given before it.
    """

    def default(value: object) -> object:
        return value if defaults else argparse.SUPPRESS

    common = CommandParser(add_help=False)
    group = common.add_argument_group("common options")
    group.add_argument(
        "--file",
        type=Path,
        default=default(env("ORCH_FILE", "orchestrator.toml")),
        metavar="FILE",
        help="the topology file [ORCH_FILE, default orchestrator.toml]",
    )
    group.add_argument(
        "-n",
        "--name",
        type=environment_name,
        default=default(os.environ.get("ORCH_NAME") or None),
        metavar="NAME",
        help="the environment's name; several run side by side [ORCH_NAME, default the topology's name]",
    )
    group.add_argument(
        "--progress",
        type=one_of(PROGRESS),
        choices=PROGRESS,
        default=default(env("ORCH_PROGRESS", "auto")),
        help="how progress is shown on stderr [ORCH_PROGRESS, default auto]",
    )
    group.add_argument("--no-color", action="store_true", default=default(False), help="no colours [NO_COLOR]")
    group.add_argument("-q", "--quiet", action="store_true", default=default(False), help="failures only")
    group.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=default(0),
        help="also check answers, screenshots, output of builds and suite; twice (-vv): also each command to QEMU, "
        "guests and the host, as debug.log in the run folder has them always",
    )
    return common


def topology_options(parser: argparse.ArgumentParser) -> None:
    """Which topology, application and suite."""
    variant_option(parser, "a variant of the topology")
    parser.add_argument(
        "--layer",
        type=layer_folder,
        action="append",
        metavar="NAME=DIR",
        help="another folder in place of a layer's source; may be repeated",
    )
    parser.add_argument(
        "--app", type=app_folder, action="append", dest="layer", metavar="DIR", help="the same as --layer app=DIR"
    )
    parser.add_argument("--suite", type=Path, metavar="DIR", help="another browser suite in place of the file's")


def provider_option(parser: argparse.ArgumentParser) -> None:
    """Where images come from."""
    parser.add_argument(
        "--images",
        type=one_of(PROVIDERS),
        choices=PROVIDERS,
        default=env("ORCH_IMAGES", "auto"),
        help="where machine images come from [ORCH_IMAGES, default auto]",
    )


def variant_option(parser: argparse.ArgumentParser, purpose: str) -> None:
    """Which variant of the topology."""
    parser.add_argument(
        "--variant",
        default=os.environ.get("ORCH_VARIANT") or None,
        metavar="V",
        help=f"{purpose} [ORCH_VARIANT, default the file's own]",
    )


def runs_option(parser: argparse.ArgumentParser) -> None:
    """Where run folders are."""
    parser.add_argument(
        "--runs",
        type=Path,
        default=Path(env("ORCH_RUNS", "runs")),
        metavar="DIR",
        help="where run folders are made [ORCH_RUNS, default runs]",
    )


def suite_options(parser: argparse.ArgumentParser) -> None:
    """Which tests of the suite, and how they are run."""
    parser.add_argument("--grep", metavar="REGEX", help="only browser tests whose title matches")
    parser.add_argument(
        "--env",
        type=variable,
        action="append",
        default=[],
        metavar="NAME[=VALUE]",
        help="a variable for the suite, repeatable; without a value, that of this shell; "
        "CI= runs it as if outside of CI",
    )
    parser.add_argument(
        "--no-scale-timeouts",
        action="store_true",
        help="do not multiply the time limits of the suite's configuration on a slow host",
    )


def port_option(parser: argparse.ArgumentParser) -> None:
    """Where a page is served."""
    parser.add_argument(
        "--port", type=port, metavar="N", help="the port of 127.0.0.1 that the page is served on [a free one]"
    )


def keep_option(parser: argparse.ArgumentParser) -> None:
    """Whether the machines stay."""
    parser.add_argument(
        "--keep",
        choices=("never", "failure", "always"),
        default="never",
        nargs="?",
        const="failure",
        help="leave the machines up afterwards: on failure, always [default never]",
    )


def free_ports_option(parser: argparse.ArgumentParser) -> None:
    """Which ports of the host are forwarded."""
    parser.add_argument(
        "--free-ports", action="store_true", help="choose free ports of the host, even where the topology fixes them"
    )


def limit_option(parser: argparse.ArgumentParser, option: str, variable: str, default: str, purpose: str) -> None:
    """The limit of a whole command that builds or starts something; a variable can set it."""
    parser.add_argument(
        option,
        type=duration,
        default=env(variable, default),
        metavar="TIME",
        help=f"{purpose} [{variable}, default {default}]",
    )


def change_limit(parser: argparse.ArgumentParser) -> None:
    """The limit of a command that changes what runs."""
    parser.add_argument("--wait-timeout", type=duration, default="1h", metavar="TIME", help="limit [1h]")


def guest_limit(parser: argparse.ArgumentParser) -> None:
    """The limit of what is done in a guest; none by itself."""
    parser.add_argument("--timeout", type=duration, default=None, metavar="TIME", help="end it after this time (124)")


def machine_argument(parser: argparse.ArgumentParser) -> None:
    """Which machine."""
    parser.add_argument("machine", metavar="MACHINE", help="the machine's name")


def start_options(parser: argparse.ArgumentParser, *, outcome: bool = True) -> None:
    """What `up`, `run` and `repl` have in common.

    Args:
        outcome: with an option to print it.
    """
    topology_options(parser)
    provider_option(parser)
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--fresh", action="store_true", help="cold start, even when the environment is up already")
    start.add_argument("--warm", action="store_true", help="start from a saved healthy state, or not at all")
    runs_option(parser)
    parser.add_argument(
        "--kernel-parameters", default="", metavar="TEXT", help="appended to every guest's kernel command line"
    )
    free_ports_option(parser)
    if outcome:
        parser.add_argument("--json", action="store_true", help="print the outcome as JSON on stdout")
