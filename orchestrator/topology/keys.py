"""Every key of a topology file, described once: type, default, meaning. Pure.

The loader knows the keys from here, the JSON Schema is made of them, and so are the
tables of docs/topology.md. The keys of checks and of images come from their kinds
(`orchestrator.topology.kinds`).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from orchestrator.topology import layer_values, network_values, values
from orchestrator.topology.breaking_keys import BREAKING_KEYS
from orchestrator.topology.key import NAME_SHAPE, NOTHING, REQUIRED, Key, named_reference
from orchestrator.topology.matrix_keys import MATRIX_KEYS
from orchestrator.topology.nightly_keys import NIGHTLY_TABLES
from orchestrator.topology.value_types import (
    Array,
    Command,
    Entries,
    HostPath,
    Shape,
    reference,
    table_list,
    words,
)
from orchestrator.topology.value_types import tables as named
from orchestrator.topology.words import Condition, Cpu, MachineKind, NetworkKind, ServiceKind

__all__ = ["FIXED_KEYS", "NOTHING", "RENAMED", "REQUIRED", "Key"]

ENVIRONMENT_NAME: Final = "^[A-Za-z_][A-Za-z0-9_]*$"

_STRINGS = Array(values.string)
_ENVIRONMENT = Entries(values.string, names=ENVIRONMENT_NAME)
_EGRESS = Shape(
    "true, false, or list of strings",
    {"anyOf": [{"type": "boolean"}, {"type": "array", "items": values.destination.schema}]},
)
_NETWORKS = Shape(
    "tables, or list of names",
    {"anyOf": [named("machines.NAME.networks.NAME").schema, {"type": "array", "items": {"type": "string"}}]},
)
_DEPENDS_ON = Shape(
    "list, or tables",
    {"anyOf": [{"type": "array", "items": {"type": "string"}}, named("services.NAME.depends_on.NAME").schema]},
)

_FILE = {
    "name": Key(NAME_SHAPE, "the environment. MAC addresses are derived from it", REQUIRED),
    "variant": Key(NAME_SHAPE, "the variant that is applied when `--variant` names no other"),
    "cpu": Key(words(Cpu), "the processor of all machines that name none themselves, see `machines.NAME`", '`"host"`'),
    "networks": Key(named("networks.NAME"), "see `networks.NAME`"),
    "images": Key(named("images.NAME"), "see `images.NAME`"),
    "layers": Key(named("layers.NAME"), "see `layers.NAME`"),
    "machines": Key(named("machines.NAME"), "see `machines.NAME`", REQUIRED),
    "services": Key(named("services.NAME"), "see `services.NAME`"),
    "suite": Key(Shape("table", reference("suite")), "see `suite`"),
    "waivers": Key(table_list("waivers"), "see `waivers`"),
    "nightly": Key(Shape("table", reference("nightly")), "see `nightly`"),
    "faults": Key(named("faults.NAME"), "see `faults.NAME`"),
    "scenarios": Key(table_list("scenarios"), "see `scenarios`"),
    "variants": Key(named("variants.NAME"), "see Variants"),
    "matrix": Key(Shape("table", reference("matrix")), "see `matrix`"),
}

_LAYER = {
    "source": Key(HostPath(), "the folder; it must exist. `--layer NAME=DIR` puts another in its place", REQUIRED),
    "target": Key(values.guest_path, "where guests see it; no folder of the system, and in no other layer", REQUIRED),
    "owner": Key(
        layer_values.owner,
        "who owns all of it in guests. A user without a group has its own group. A name is looked up in the image, "
        "where that is a plain file system, as those of recipes are; elsewhere write the numbers",
        '`"root"`',
    ),
    "exclude": Key(
        Array(layer_values.exclusion, "list of patterns"),
        "what is left out, as in `.gitignore`: `*.pyc` at any depth, `/tests` or `lib/tests` from the source on",
    ),
    "requires": Key(
        Array(layer_values.part, "list of patterns"),
        "each must match a file of the folder: `bin/server`, `migrations/*.sql`. `validate` names what is missing",
    ),
    "static": Key(
        Array(layer_values.exclusion, "list of patterns"),
        "files and folders that services read again each time, as a web server does; written as in `exclude`. `dev` "
        "brings in a change of only these without starting a service again",
    ),
    "resets": Key(
        Array(layer_values.exclusion, "list of patterns"),
        "files and folders whose effect stays in the machines' data, as migrations; written as in `exclude`. At a "
        "change of one `dev` goes back to the deepest [stage](incremental.md) without the layer",
    ),
    "nixos_input": Key(
        values.nonempty,
        "the input of a machine's `nixos_flake` that brings the folder into the image: then it is no disk there, and "
        "`--layer` is passed as `--override-input`. Machines of other providers have the disk",
    ),
}

_MACHINE = {
    "image": Key(named_reference("an image"), "the system it boots", REQUIRED),
    "cpus": Key(values.cpus, "virtual processors", "`1`"),
    "cpu": Key(
        words(Cpu),
        "the processor that it sees. host: all that the host has, or QEMU emulates. A level of x86-64: not more than "
        "that, so a state that is saved on one host can be used on others ([packed states](packed-states.md)). A host "
        "that has less refuses to start the machine",
        'the `cpu` of the file, else `"host"`',
    ),
    "memory": Key(values.memory, 'at least `"256MiB"`', '`"1GiB"`'),
    "kind": Key(
        words(MachineKind),
        "router: it passes packets on between its networks, and the others know the way ([networks](networks.md)). "
        "Its image needs `nft`",
        '`"machine"`',
    ),
    "networks": Key(_NETWORKS, "its interfaces, see `machines.NAME.networks.NAME`; a list where no key is needed"),
    "aliases": Key(
        Array(network_values.alias, "list of host names"),
        "other names that all machines know it by, with or without a domain. One that begins with the machine's name "
        "and a dot is its full name, which `hostname -f` prints in it",
    ),
    "dns": Key(
        values.flag,
        "a name server in the machine, which answers from `/etc/hosts`, for programs that do not read it. Its image "
        "needs `perl`, which every Debian has",
        "`false`",
    ),
    "egress": Key(
        _EGRESS,
        "whether the guest reaches outside networks through NAT: everything, nothing, or only these hosts and ports, "
        "see below",
        "`false`",
    ),
    "ports": Key(
        Array(values.port_forward),
        'guest ports that are open on 127.0.0.1 of the host. `"80"`: a free port, chosen at start and shown by '
        '`status`; `"8080:80"` or `"127.0.0.1:8080:80"`: host port 8080. Other host addresses are refused: a test '
        "machine must not be reachable from the network. A fixed port allows only one environment at a time",
    ),
    "files": Key(table_list("machines.NAME.files"), "see `machines.NAME.files`"),
}

_SERVICE = {
    "machine": Key(
        named_reference("a machine"), "where it runs; for a target, where its checks are made from", REQUIRED
    ),
    "unit": Key(values.unit, 'with its suffix: `"nginx.service"`', f"{REQUIRED}, none for a target"),
    "kind": Key(
        words(ServiceKind),
        "daemon: keeps running. oneshot: runs to its end and must exit with 0. target: no unit, a point that others "
        "wait for",
        '`"daemon"`',
    ),
    "description": Key(values.single_line, "one line for people"),
    "depends_on": Key(_DEPENDS_ON, "the services that must be up first, see `services.NAME.depends_on.NAME`"),
    "checks": Key(named("services.NAME.checks.NAME"), "see `services.NAME.checks.NAME`"),
    "timeout": Key(values.seconds, "from its start until all checks have passed", "`60`"),
    "logs": Key(
        Array(values.guest_path, "list of guest paths"),
        "log files to collect; the journal of the unit is always collected",
    ),
    "after_restore": Key(
        Command("command, list of words"),
        (
            "run as root when the machine comes from a [saved state](snapshots.md), before any check: renews"
            " what must not be the same twice. It must exit with 0"
        ),
    ),
    "uses": Key(
        Array(values.nonempty, "list of layers"),
        "the layers that its machine needs for it: mounted before any service that uses one starts",
    ),
    "stage": Key(
        values.flag,
        "save the state when this service and all that it depends on are up, so that a change of what comes later is a"
        " start from there, see [incremental starts](incremental.md)",
        "`false`",
    ),
    "environment": Key(
        _ENVIRONMENT,
        "additional variables of the unit: a drop-in in the guest, written before the service starts",
    ),
    "environment_file": Key(
        HostPath(),
        (
            "a file with more variables, one `NAME=value` a line, for keys and passwords: it is written into"
            " the guest with mode 0600 and is in no image, argument or log. `up` refuses to start without it"
        ),
    ),
}

_SUITE = {
    "machine": Key(named_reference("a machine"), "where the tests run", REQUIRED),
    "path": Key(
        HostPath(),
        "the folder that is copied into the guest; it must exist. `--suite DIR` puts another in its place",
        REQUIRED,
    ),
    "command": Key(Command(), "run in the copied folder, once per phase", REQUIRED),
    "user": Key(values.user, "who runs it; browsers refuse to run as root", REQUIRED),
    "environment": Key(_ENVIRONMENT, "environment variables"),
    "artifacts": Key(
        values.guest_path,
        (
            "the folder whose content is copied back: plain files that others can read, at most 2 GiB and "
            "100,000 of them; links are left out with a note"
        ),
        '`"/artifacts"`',
    ),
    "timeout": Key(values.seconds, "for one phase", "`600`"),
    "prepare": Key(
        Command("command, list of words"),
        (
            "run like `command` before `run --isolate` saves the state that each part starts from. Processes"
            " that it leaves running (a loaded test runner, a browser) need not be started in each part. It "
            "returns when they are ready; if it fails, parts start without them"
        ),
    ),
    "phases": Key(table_list("suite.phases"), "see `suite.phases`", "one phase named `suite`, without arguments"),
    "scale_timeouts": Key(
        values.flag,
        "multiply the limits of the suite's Playwright configuration by the time factor of a slow host. A suite that "
        "reads `E2E_TIME_FACTOR` itself is left alone",
        "`true`",
    ),
}

FIXED_KEYS: Final[Mapping[str, Mapping[str, Key]]] = MappingProxyType(
    {
        "": _FILE,
        "networks.NAME": {
            "kind": Key(
                words(NetworkKind),
                "how frames travel on the host: through a `vde_switch`, or through UNIX sockets between the QEMU "
                "processes",
                '`"vde"`',
            ),
            "subnet": Key(
                network_values.subnet, "at most `/30`; the first and the last address belong to no machine", REQUIRED
            ),
            "subnet6": Key(network_values.subnet6, "each machine on it has an IPv6 address too; at most `/126`"),
            "nat": Key(
                values.flag,
                "what leaves it through a router has the router's address, and nobody opens a connection into it",
                "`false`",
            ),
        },
        "images.NAME": {},
        "layers.NAME": _LAYER,
        "machines.NAME": _MACHINE,
        "machines.NAME.networks.NAME": {
            "address": Key(
                network_values.address, "inside the subnet, on no other machine", "chosen, see [networks](networks.md)"
            ),
            "address6": Key(network_values.address6, "the same in `subnet6`", "chosen, see [networks](networks.md)"),
            "mac": Key(
                network_values.mac,
                "unicast. The derived one is `52:54:00` and three bytes of a SHA-256 over the names of topology, "
                "machine and network: the same in every run, different for each interface",
                "derived",
            ),
        },
        "machines.NAME.files": {
            "source": Key(HostPath(), "the file", REQUIRED),
            "target": Key(values.guest_path, "its path in the guest; two files cannot share it", REQUIRED),
            "mode": Key(values.mode, "its permissions", '`"0600"`'),
            "required": Key(values.flag, "`false`: without the file the machine starts too", "`true`"),
        },
        "services.NAME": _SERVICE,
        "services.NAME.depends_on.NAME": {
            "condition": Key(
                words(Condition),
                "what to wait for",
                '`"service_completed_successfully"` if the dependency is a oneshot, else `"service_healthy"`',
                type_text="see below",
            ),
        },
        "services.NAME.checks.NAME": {
            "from": Key(named_reference("a machine"), "where the check is made from", "the service's machine"),
            "timeout": Key(values.seconds, "limit of one attempt", "`5`"),
        },
        "suite": _SUITE,
        "suite.phases": {
            "name": Key(NAME_SHAPE, "no two phases share it", REQUIRED),
            "args": Key(_STRINGS, "appended to the command"),
            "stop": Key(
                Array(values.nonempty, "list of services"),
                "stopped during this phase and started again, with their checks, after it; not targets",
            ),
            "faults": Key(
                Array(values.nonempty, "list of faults"),
                "begin before the first test of this phase and end after it, see [faults](faults.md)",
            ),
        },
        **BREAKING_KEYS,
        "waivers": {
            "pattern": Key(named_reference("a log pattern"), "one of those above", REQUIRED),
            "machine": Key(named_reference("a machine"), "where", "every machine"),
            "matching": Key(values.pattern, "searched in the line", "every line"),
            "reason": Key(
                values.single_line, "shown next to the line, in the terminal and the report", REQUIRED, "string"
            ),
            "until": Key(values.day, "the last day of the waiver", REQUIRED),
        },
        **MATRIX_KEYS,
        **NIGHTLY_TABLES,
    }
)
"""The keys of each table, ``NAME`` chosen by the author, without those that kinds bring."""

RENAMED: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "": {"accept": "waivers", "app": "layers.app"},
        "images.NAME": {"raw": "disk"},
        "waivers": {"sign": "pattern"},
    }
)
"""What keys were called in earlier versions, by table: refused, with the name that they have now."""
