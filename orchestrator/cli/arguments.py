"""Every command and option, as one argparse tree. It imports nothing heavy: ``--help`` is immediate.

docs/commands.md and the shell completion are made from this tree.
"""

from __future__ import annotations

from pathlib import Path

import orchestrator
from orchestrator.cli.argument_types import clones, count, duration, shard
from orchestrator.cli.beginning_arguments import beginning_commands
from orchestrator.cli.dev_arguments import dev_command
from orchestrator.cli.help_texts import EXAMPLES, EXIT_CODES, NOTES
from orchestrator.cli.machine_arguments import machine_commands, repl_command
from orchestrator.cli.matrix_arguments import matrix_command
from orchestrator.cli.night_arguments import night_commands
from orchestrator.cli.parser import Adder, CommandParser
from orchestrator.cli.script_arguments import test_command
from orchestrator.cli.shared_options import (
    change_limit,
    common_options,
    guest_limit,
    keep_option,
    limit_option,
    machine_argument,
    port_option,
    provider_option,
    runs_option,
    start_options,
    suite_options,
    topology_options,
    variant_option,
)


def build_parser() -> CommandParser:
    """The whole command line."""
    parser = CommandParser(
        prog="orchestrator",
        description="End-to-end tests on real virtual machines: boot them, enforce the service order, "
        "run the browser suite, keep the evidence.",
        epilog=EXIT_CODES,
        parents=[common_options(defaults=True)],
    )
    parser.add_argument("--version", action="version", version=f"orchestrator {orchestrator.__version__}")
    common = common_options(defaults=False)
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)

    def add(name: str, help_text: str, aliases: tuple[str, ...] = ()) -> CommandParser:
        examples = "\n".join(f"  {line}" for line in EXAMPLES.get(name, ()))
        notes = "".join(f"{note}\n\n" for note in NOTES.get(name, ()))
        found = commands.add_parser(
            name,
            help=help_text,
            description=help_text[0].upper() + help_text[1:] + ".",
            epilog=f"{notes}examples:\n{examples}" if examples else None,
            parents=[common],
            aliases=list(aliases),
        )
        found.set_defaults(command=name)
        return found

    beginning_commands(add)
    _running(add)
    _run_command(add)
    dev_command(add)
    matrix_command(add)
    test_command(add)
    _changing(add)
    _looking(add)
    machine_commands(add)
    repl_command(add)
    night_commands(add)
    _describing(add)
    return parser


def _running(add: Adder) -> None:
    up = add("up", "build what is missing, boot the machines, start and prove every service")
    start_options(up)
    limit_option(up, "--wait-timeout", "ORCH_WAIT_TIMEOUT", "2h", "limit of the whole command, images included")
    up.add_argument(
        "--down-on-failure", action="store_true", help="take everything down when it fails [the machines stay up]"
    )

    plan = add("plan", "what `up` would begin with, what would start again, and why; starts nothing")
    start_options(plan)
    limit_option(plan, "--timeout", "ORCH_WAIT_TIMEOUT", "2h", "limit for images that must be built first")


def _run_command(add: Adder) -> None:
    run = add("run", "up, browser suite, report, down: the whole test run")
    start_options(run)
    limit_option(run, "--timeout", "ORCH_TIMEOUT", "3h", "limit of the whole run")
    keep_option(run)
    run.add_argument(
        "--isolate",
        choices=("none", "suite", "file", "test"),
        default="none",
        nargs="?",
        const="file",
        help="restore a fresh state before each phase, spec file or test [default none; alone: file]",
    )
    run.add_argument(
        "--scenario",
        action="append",
        metavar="NAME",
        help="run this scenario of the topology instead of the suite's phases; may be repeated",
    )
    suite_options(run)
    run.add_argument("--shard", type=shard, metavar="I/N", help="only the I-th of N parts of each phase's tests")
    run.add_argument(
        "--clones", type=clones, metavar="N", help="divide the tests among N environments, started from one saved state"
    )


def _changing(add: Adder) -> None:
    down = add("down", "stop the environment and remove everything of it")
    down.add_argument("--all", action="store_true", help="every environment of this user")

    restart = add("restart", "restart services or reboot machines, and prove everything that depends on them")
    names_help = "services, or machines (machine:NAME where both have it)"
    restart.add_argument("names", nargs="+", metavar="NAME", help=names_help)
    change_limit(restart)

    reset = add("reset", "put the running environment back to its healthy state, or to a saved one, in place")
    reset.add_argument("snapshot", nargs="?", metavar="SNAPSHOT", help="a named state [the healthy one]")
    change_limit(reset)
    reset.add_argument("--json", action="store_true", help="print the outcome as JSON on stdout")

    snapshot = add("snapshot", "named states of a running environment, memory included")
    snapshot.add_argument(
        "action",
        choices=("save", "restore", "list", "rm", "prune", "export", "import"),
        help="save one, restore it, list all, remove one, or remove those that are not needed; "
        "put states into one file for another host, and take them from it",
    )
    snapshot.add_argument(
        "words",
        nargs="*",
        metavar="SNAPSHOT",
        help="its name: lower-case letters, digits, - and _; with export and import the file, behind a name if any",
    )
    snapshot.rest = "words"
    change_limit(snapshot)
    snapshot.add_argument("--all", action="store_true", help="prune: every one that no running environment needs")
    snapshot.add_argument("--dry-run", action="store_true", help="prune: only show what would be removed")
    snapshot.add_argument("--with-images", action="store_true", help="export: the images of the machines too")
    snapshot.add_argument("--json", action="store_true", help="as JSON, with sizes in bytes")


def _looking(add: Adder) -> None:
    status = add("status", "show what runs, and its state", ("ps",))
    status.add_argument("--json", action="store_true", help="as JSON")
    status.add_argument("--checks", action="store_true", help="also run every check, not only ask systemd")
    status.add_argument("--all", action="store_true", help="every environment of this user")

    shell = add("shell", "a terminal in a machine")
    machine_argument(shell)
    shell.add_argument("--user", default="root", help="who [root]")

    console = add("console", "the machine's serial console; Ctrl-] leaves it")
    machine_argument(console)

    execute = add("exec", "run a command in a machine; its streams and exit code are the guest's")
    machine_argument(execute)
    execute.add_argument("--user", default="root", help="who [root]")
    guest_limit(execute)
    execute.add_argument(
        "--no-stdin",
        action="store_true",
        help="do not read stdin, for use in loops; -n without a name means the same, as in ssh",
    )
    execute.usage = "orchestrator exec [OPTIONS] MACHINE -- COMMAND [ARGUMENT ...]"
    execute.set_defaults(argv=[])  # the words after --, taken by CommandParser before argparse sees them

    copy = add("cp", "copy files or folders to, from or between machines: MACHINE:PATH, at least on one side")
    copy.add_argument("source", nargs="+", metavar="SOURCE", help="a path, or MACHINE:PATH; a link here is followed")
    copy.add_argument(
        "target",
        metavar="TARGET",
        help="a path, or MACHINE:PATH; in a folder, or after a / at the end, the source keeps its name",
    )
    guest_limit(copy)

    logs = add("logs", "journals of the machines, merged")
    logs.add_argument("machine", nargs="*", metavar="MACHINE", help="only these machines")
    logs.add_argument("-f", "--follow", action="store_true", help="keep printing new lines")
    logs.add_argument("--since", type=duration, metavar="TIME", help="only the last 90s, 10m, …")
    logs.add_argument("--unit", action="append", default=[], metavar="UNIT", help="only this unit; may be repeated")
    logs.add_argument("--lines", type=count, default=None, metavar="N", help="only the last N lines")
    logs.add_argument("--json", action="store_true", help="one JSON object a line")
    logs.add_argument(
        "--lnav", action="store_true", help="all of the run on one axis in lnav: events, journals, consoles, logs"
    )

    config = add("ssh-config", "configuration for plain ssh, scp and rsync")
    config.add_argument("--path", action="store_true", help="print only the path of the file")


def _describing(add: Adder) -> None:
    validate = add(
        "validate", "check the topology file in all its variants; show each error with file, line and column"
    )
    topology_options(validate)
    validate.add_argument("--json", action="store_true", help="as JSON")
    config = add("config", "the effective topology after variant and defaults")
    topology_options(config)
    config.add_argument("--json", action="store_true", help="as JSON")
    graph = add("graph", "the order of services")
    topology_options(graph)
    graph.add_argument("--format", choices=("text", "mermaid", "json"), default="text", help="how it is drawn [text]")
    schema = add("schema", "the JSON Schema of topology files, for editors")
    schema.add_argument("--recipe", action="store_true", help="of the recipes of Debian images instead")
    _images(add)
    doctor = add("doctor", "what this host offers, and what is missing")
    variant_option(doctor, "check the host for this variant")
    provider_option(doctor)
    runs_option(doctor)
    doctor.add_argument("--json", action="store_true", help="as JSON")
    doctor.add_argument("--fresh", action="store_true", help="probe the accelerator again")
    report = add("report", "write the reports of a run folder again, and print the path of the page")
    report.add_argument(
        "run", nargs="?", type=Path, default=None, metavar="FOLDER", help="the run folder [the latest below --runs]"
    )
    runs_option(report)
    report.add_argument(
        "--serve", action="store_true", help="serve the page on this host until Ctrl-C, with the files of the run"
    )
    port_option(report)
    report.add_argument("--json", action="store_true", help="with --serve: print the address as JSON")
    report.add_argument(
        "--export",
        choices=("trace", "otlp", "lnav", "asciicast"),
        help="write the run in another format instead, and print the files: Chrome trace events (Perfetto), spans of "
        "OpenTelemetry, lines for lnav, the consoles for asciinema",
    )
    why = add("why", "the story of a failed run: what went wrong first, on which machine, and what to type next")
    why.add_argument(
        "run", nargs="?", type=Path, default=None, metavar="FOLDER", help="the run folder [the latest below --runs]"
    )
    runs_option(why)
    why.add_argument("--json", action="store_true", help="as JSON, with all times in seconds since the run began")
    completion = add("completion", "a completion script for your shell")
    completion.add_argument(
        "shell",
        choices=("bash", "zsh", "fish", "tcsh", "names"),
        help="the shell; names prints what the scripts ask for: machines, services, …",
    )
    completion.add_argument(
        "kinds",
        nargs="*",
        metavar="KIND",
        help="names: only these kinds (environment, machine, network, service, unit, variant)",
    )


def _images(add: Adder) -> None:
    images = add("images", "build, list or prune machine images")
    images.add_argument(
        "action",
        choices=("build", "list", "prune", "diff"),
        help="build what the topology needs, list the cache, remove what nobody uses, or compare the packages of two",
    )
    images.add_argument("words", nargs="*", metavar="IMAGE", help="diff: two images, by the beginning of their keys")
    topology_options(images)
    provider_option(images)
    limit_option(images, "--timeout", "ORCH_WAIT_TIMEOUT", "2h", "build: limit for all images")
    images.add_argument("--keep", type=count, default=2, metavar="N", help="prune: newest entries kept of a layer [2]")
    images.add_argument("--older-than", type=duration, metavar="TIME", help="prune: only entries unused for this long")
    images.add_argument("--dry-run", action="store_true", help="prune: only show what would be removed")
    images.add_argument("--json", action="store_true", help="as JSON, with sizes in bytes")
