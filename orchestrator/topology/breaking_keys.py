"""The keys of faults and scenarios: what breaks a system on purpose. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from orchestrator.topology import fault_values, values
from orchestrator.topology.key import NAME_SHAPE, REQUIRED, Key, named_reference
from orchestrator.topology.value_types import Command, table_list

BREAKING_KEYS: Final[Mapping[str, Mapping[str, Key]]] = {
    "faults.NAME": {
        "kind": Key(values.nonempty, "what happens, see the table of kinds in [faults](faults.md)", REQUIRED),
        "on": Key(
            values.nonempty,
            "what it happens to, as its kind wants it: `machine`, `machine.network` (the machine alone where it is "
            "in one network), `service` or `network`",
            REQUIRED,
        ),
        "for": Key(values.seconds, "it ends by itself after this time", "until the phase, block or command ends"),
        "at": Key(values.seconds, "in a phase: it begins so long after the first test could", "at once"),
        "recovers_within": Key(
            values.seconds,
            "after its end everything it was on must be healthy again within this time, times the time factor",
            "the limits of the services",
        ),
    },
    "scenarios": {
        "name": Key(NAME_SHAPE, "no two scenarios share it; `run --scenario NAME`", REQUIRED),
        "description": Key(values.single_line, "one line for people"),
        "steps": Key(table_list("scenarios.steps"), "one after the other, see `scenarios.steps`", REQUIRED),
    },
    "scenarios.steps": {
        "fault": Key(values.nonempty, "this fault begins; it stays on until its `for`, its `end`, or the last step"),
        "end": Key(values.nonempty, "this fault ends, and what it was on is proven"),
        "wait": Key(values.seconds, "nothing, for a time"),
        "command": Key(Command("command, list of words"), "a command in `machine` ends as `code` and `stdout` say"),
        "check": Key(values.nonempty, "the checks of this service pass, or one fails, as `passes` says"),
        "tests": Key(values.string, 'tests of the suite whose titles match this pattern; `""`: all of `phase`'),
        "machine": Key(named_reference("a machine"), "command: where", "required for a command"),
        "user": Key(values.user, "command: who", '`"root"`'),
        "code": Key(fault_values.exit_code, "command: what it exits with", "`0`"),
        "stdout": Key(values.pattern, "command: is found in its output"),
        "passes": Key(values.flag, "check: `false`: one of them fails", "`true`"),
        "within": Key(
            values.seconds,
            "command, check: it is tried again for so long, times the time factor",
            "a command: tried once; a check: the limit of the service",
        ),
        "phase": Key(values.nonempty, "tests: the phase whose `args` they have", "the first"),
    },
}
"""By table, ``NAME`` chosen by the author; the kinds of faults bring more."""
