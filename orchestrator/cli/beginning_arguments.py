"""The commands that one begins with: init, add, host-setup."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cli.parser import Adder, CommandParser
from orchestrator.cli.shared_options import limit_option, provider_option

ENTRIES = ("machine", "service", "check")


def beginning_commands(add: Adder) -> None:
    """Add them."""
    init = add("init", "a new project from a template: topology, recipes, tests, files for continuous integration")
    init.add_argument("folder", nargs="?", type=Path, default=Path(), metavar="DIR", help="where [this folder]")
    init.add_argument("--template", default="empty", metavar="TEMPLATE", help="its kind, see --list [empty]")
    init.add_argument("--list", action="store_true", help="the templates")
    init.add_argument("--force", action="store_true", help="overwrite what is there [nothing is written then]")
    init.add_argument("--json", action="store_true", help="print what was written as JSON")

    entry = add("add", "add a machine, a service or a check to the topology; comments and layout stay")
    entry.add_argument("what", choices=ENTRIES, metavar="KIND", help="machine, service or check")
    entry.add_argument("entry", metavar="ENTRY", help="its name")
    entry.add_argument("--dry-run", action="store_true", help="only show what would change, as a diff")
    _machine(entry)
    _service(entry)
    _check(entry)

    setup = add("host-setup", "install what this host lacks: QEMU, the tools that build images, subordinate ids")
    setup.add_argument("--check", action="store_true", help="only tell what is missing; exit code 3 if something is")
    setup.add_argument("--development", action="store_true", help="also what the tests of the orchestrator need")
    provider_option(setup)
    limit_option(setup, "--timeout", "ORCH_WAIT_TIMEOUT", "1h", "limit of the installation")
    setup.add_argument("--json", action="store_true", help="the outcome as JSON")


def _machine(entry: CommandParser) -> None:
    group = entry.add_argument_group("machine")
    group.add_argument("--image", metavar="IMAGE", help="machine: the image it boots [the only one of the file]")
    group.add_argument("--recipe", metavar="FILE", help="machine: a recipe, as a new image of this name")
    group.add_argument("--network", metavar="NETWORK", help="machine: the network it is on [the only one of the file]")
    group.add_argument("--address", metavar="ADDRESS", help="machine: its address there [the next free one]")
    group.add_argument("--cpus", type=int, metavar="N", help="machine: virtual processors [1]")
    group.add_argument("--memory", metavar="SIZE", help="machine: as 512MiB [1GiB]")
    group.add_argument(
        "--port", action="append", metavar="PORT", help="machine: a guest port open on 127.0.0.1; repeatable"
    )


def _service(entry: CommandParser) -> None:
    group = entry.add_argument_group("service")
    group.add_argument("--machine", metavar="MACHINE", help="service: where it runs [the only one of the file]")
    group.add_argument("--unit", metavar="UNIT", help="service: its systemd unit [ENTRY.service]; check: it is active")
    group.add_argument(
        "--kind", choices=("daemon", "oneshot", "target"), help="service: daemon, oneshot or target [daemon]"
    )
    group.add_argument(
        "--depends-on", action="append", metavar="SERVICE", help="service: what must be up first; repeatable"
    )
    group.add_argument("--description", metavar="TEXT", help="service: one line for people")
    group.add_argument(
        "--timeout", metavar="TIME", help="service: until all checks have passed [60]; check: limit of one attempt [5]"
    )


def _check(entry: CommandParser) -> None:
    group = entry.add_argument_group("check")
    group.add_argument("--service", metavar="SERVICE", help="check: the service that it proves")
    group.add_argument("--http", metavar="URL", help="check: the address answers")
    group.add_argument("--tcp", metavar="HOST:PORT", help="check: a connection can be made")
    group.add_argument(
        "--exec", metavar="COMMAND", help="check: the command ends with 0; divided into words, without a shell"
    )
    group.add_argument("--exists", metavar="PATH", help="check: the path exists in the guest")
    group.add_argument("--dns", metavar="HOST", help="check: the name resolves")
    group.add_argument("--status", type=int, metavar="N", help="check: http: the status [200]")
    group.add_argument("--contains", metavar="TEXT", help="check: http: the body holds this text")
    group.add_argument("--user", metavar="USER", help="check: exec: who runs the command [root]")
    group.add_argument("--stdout", metavar="REGEX", help="check: exec: is found in the output")
    group.add_argument(
        "--from", dest="origin", metavar="MACHINE", help="check: where it is made from [the service's machine]"
    )
