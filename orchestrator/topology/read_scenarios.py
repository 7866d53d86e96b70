"""Scenarios of the topology file."""

from __future__ import annotations

from collections.abc import Mapping

from orchestrator.topology import fault_values, values
from orchestrator.topology.document import quote
from orchestrator.topology.model import Fault, Machine, Service, Suite
from orchestrator.topology.scenario import Scenario, Step, StepKind
from orchestrator.topology.tables import Table, name

OWN_KEYS: Mapping[str, tuple[str, ...]] = {
    "machine": (StepKind.COMMAND,),
    "user": (StepKind.COMMAND,),
    "code": (StepKind.COMMAND,),
    "stdout": (StepKind.COMMAND,),
    "passes": (StepKind.CHECK,),
    "within": (StepKind.COMMAND, StepKind.CHECK),
    "phase": (StepKind.TESTS,),
}  # keys that only some steps have


def scenarios(
    file: Table,
    faults: Mapping[str, Fault],
    machines: Mapping[str, Machine],
    services: Mapping[str, Service],
    suite: Suite | None,
) -> dict[str, Scenario]:
    """All scenarios of a file, by name."""
    found: dict[str, Scenario] = {}
    for index, node in enumerate(file.items("scenarios")):
        table = Table(node, file.problems, "scenarios", f"scenario {index + 1}")
        own = table.required("name", name, "")
        if own in found:
            table.complain("name", f"another scenario is named {quote(own)}")
        steps = []
        for number, item in enumerate(table.items("steps")):
            label = f"step {number + 1} of scenario {quote(own)}"
            inner = Table(item, file.problems, "scenarios.steps", label)
            step = _step(inner, suite)
            if step is not None:
                _verify(inner, step, faults, machines, services)
                steps.append(step)
        if not table.items("steps"):
            table.problems.add(table.node.key, f'{table.label} has no "steps"')
        found[own or f"#{index}"] = Scenario(own, tuple(steps), table.optional("description", values.single_line, ""))
    return found


def _step(table: Table, suite: Suite | None) -> Step | None:
    kinds = [kind for kind in StepKind if table.has(kind)]
    if len(kinds) != 1:
        what = " and ".join(kinds) or "nothing to do"
        table.problems.add(table.node.key, f"{table.label} has {what}; it needs exactly one of {', '.join(StepKind)}")
        return None
    kind = kinds[0]
    for key, owners in OWN_KEYS.items():
        if table.has(key) and kind not in owners:
            table.complain(key, f"it belongs to steps with {' or '.join(owners)}")
    phases = [phase.name for phase in suite.phases] if suite else []
    phase = table.optional("phase", values.nonempty, phases[0] if phases else "")
    if kind is StepKind.TESTS:
        if suite is None:
            table.complain("tests", "the topology has no [suite]")
        table.refer(table.get("phase"), "phase", phases)
    subject = ""
    if kind in (StepKind.FAULT, StepKind.END, StepKind.CHECK):
        subject = table.required(kind, values.nonempty, "")
    elif kind is StepKind.TESTS:
        subject = table.required(kind, values.string, "")
    return Step(
        kind=kind,
        subject=subject,
        seconds=table.optional("wait", values.seconds, 0.0),
        command=table.command("command"),
        machine=table.optional("machine", values.nonempty, ""),
        user=table.optional("user", values.user, "root"),
        code=table.optional("code", fault_values.exit_code, 0),
        stdout=table.optional("stdout", values.pattern, None),
        passes=table.optional("passes", values.flag, True),
        within=table.optional("within", values.seconds, 0.0) or None,
        phase=phase if kind is StepKind.TESTS else "",
    )


def _verify(
    table: Table,
    step: Step,
    faults: Mapping[str, Fault],
    machines: Mapping[str, Machine],
    services: Mapping[str, Service],
) -> None:
    match step.kind:
        case StepKind.FAULT | StepKind.END:
            table.refer(table.get(step.kind), "fault", faults)
        case StepKind.CHECK:
            table.refer(table.get("check"), "service", services)
        case StepKind.COMMAND:
            table.required("machine", values.nonempty, "")
            table.refer(table.get("machine"), "machine", machines)
