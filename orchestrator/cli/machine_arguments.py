"""The commands on one machine: screen, keys, forward, power, link, fault, view; and the prompt."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cli.argument_types import duration, port
from orchestrator.cli.parser import Adder, CommandParser
from orchestrator.cli.shared_options import port_option, runs_option, start_options


def machine_commands(add: Adder) -> None:
    """Add them."""
    screen = _on_machine(add, "screen", "the display of a machine, as a picture or as text")
    screen.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the PNG file, - for stdout [stdout if it is a pipe or a file; in the terminal if it shows pictures; "
        "else MACHINE-screen.png]",
    )
    screen.add_argument("--text", action="store_true", help="print the text on it, read by OCR")
    screen.add_argument("--json", action="store_true", help="print path, width and height as JSON")

    keys = _on_machine(add, "keys", "press keys of a machine's keyboard")
    keys.add_argument("keys", nargs="*", metavar="KEY", help="a key or a chord: ret, a, f2, ctrl-alt-delete, 0x1c")
    keys.add_argument("--text", metavar="TEXT", help="type this first, on a keyboard with the US layout")
    keys.rest = "keys"

    forward = _on_machine(add, "forward", "make a TCP port of a machine reachable on this host")
    forward.add_argument("guest_port", nargs="?", type=port, metavar="GUEST_PORT", help="the machine's port")
    forward.add_argument("--host-port", type=port, metavar="N", help="the port of 127.0.0.1 on this host [a free one]")
    what = forward.add_mutually_exclusive_group()
    what.add_argument("--remove", action="store_true", help="end it; open connections continue")
    what.add_argument("--list", action="store_true", help="list all forwards of the machine")
    forward.add_argument("--json", action="store_true", help="as JSON")
    forward.rest = "guest_port"

    power = add("power", "switch a machine on or off, reset it, pause it")
    actions = ("on", "off", "reset", "pause", "resume", "crash")
    power.add_argument(
        "action",
        choices=actions,
        help="start it again with its disk; shut it down; press its reset button; stop its CPUs; let them continue; "
        "cut its power",
    )
    power.add_argument("machine", metavar="MACHINE", help="the machine's name")
    power.add_argument(
        "--wait-timeout", type=duration, metavar="TIME", help="limit [on: 1h; off: 2m, times the host's factor]"
    )

    link = add("link", "connect a machine to a network, or disconnect it")
    link.add_argument("action", choices=("up", "down"), help="put the cable in, or pull it")
    link.add_argument("machine", metavar="MACHINE", help="the machine's name")
    link.add_argument("network", nargs="?", metavar="NETWORK", help="of the topology [the machine's only one]")

    fault_command(add)

    _view_command(add)


def fault_command(add: Adder) -> None:
    """Add the command that breaks things."""
    fault = add("fault", "break something on purpose: the network, a disk, a machine, a service, the clock")
    fault.add_argument(
        "action",
        choices=("add", "list", "clear", "kinds"),
        help="begin one; list those that are declared or on; end some or all; list what can be done",
    )
    fault.add_argument(
        "words",
        nargs="*",
        metavar="WORD",
        help="add: the name of a declared fault, or KIND TARGET [KEY=VALUE ...]; clear: names of faults [all]",
    )
    fault.add_argument(
        "--for",
        dest="lasts",
        type=duration,
        metavar="TIME",
        help="add: end it after this time, or at Ctrl-C [as declared, else it stays on until `fault clear`]",
    )
    fault.add_argument("--json", action="store_true", help="list: as JSON")
    fault.rest = "words"


def repl_command(add: Adder) -> None:
    """Add the prompt."""
    repl = add("repl", "a Python prompt with the machines as objects")
    start_options(repl, outcome=False)
    repl.add_argument("--keep", action="store_true", help="leave the machines running afterwards")
    repl.add_argument(
        "--plain", action="store_true", help="Python's own prompt, even where IPython or ptpython is installed"
    )


def _on_machine(add: Adder, name: str, help_text: str) -> CommandParser:
    command = add(name, help_text)
    command.add_argument("machine", metavar="MACHINE", help="the machine's name")
    return command


def _view_command(add: Adder) -> None:
    view = add("view", "show the page of what runs, live in a browser; with a machine, its display in a VNC viewer")
    view.add_argument("machine", nargs="?", metavar="MACHINE", help="the machine's name [the page of the run]")
    port_option(view)
    runs_option(view)
    view.add_argument(
        "--tcp",
        nargs="?",
        const=0,
        type=port,
        metavar="PORT",
        help="lead this port of 127.0.0.1 to the display until Ctrl-C [alone: a free one from 5900]",
    )
    view.add_argument("--json", action="store_true", help="print the address, or socket and port, as JSON")
