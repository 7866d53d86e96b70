"""A topology written out again: as TOML for people, as JSON-ready data for the state of an environment.

The TOML is the effective file, one variant applied and every default spelled
out. The data is exact: an environment is taken down from it alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

from orchestrator.codec import decode, encode
from orchestrator.errors import TopologyError
from orchestrator.topology.kinds import plain
from orchestrator.topology.model import (
    Check,
    Cpu,
    Destination,
    Fault,
    GuestFile,
    Image,
    Layer,
    Machine,
    PortForward,
    Service,
    Suite,
    Topology,
)
from orchestrator.topology.scenario import Step, StepKind

# ------------------------------------------------------------------ TOML


def to_toml(topology: Topology) -> str:
    """The effective file.

    Paths inside the topology's folder are written relative to it, so the text
    means the same only next to the original. Loaded there, it gives an equal
    topology, but with the applied variant as the only one.
    """
    return "\n".join(_document(topology)) + "\n"


def _document(topology: Topology) -> Iterator[str]:
    root = topology.root
    yield from _pairs(name=topology.name, variant=topology.variant or None)
    for network in topology.networks.values():
        yield from _table("networks", network.name)
        yield from _pairs(
            kind=network.kind,
            subnet=str(network.subnet),
            subnet6=str(network.subnet6) if network.subnet6 else None,
            nat=network.nat or None,
        )
    for image in topology.images.values():
        yield from _table("images", image.name)
        yield from _image(image, root)
    for layer in topology.layers.values():
        yield from _layer(layer, root)
    for machine in topology.machines.values():
        yield from _machine(machine, root)
    for service in topology.services.values():
        yield from _service(service, root)
    for fault in topology.faults.values():
        yield from _fault(fault, root)
    if topology.suite:
        yield from _suite(topology.suite, root)
    for scenario in topology.scenarios.values():
        yield from ("", "[[scenarios]]")
        yield from _pairs(name=scenario.name, description=scenario.description or None)
        for step in scenario.steps:
            yield from ("", "[[scenarios.steps]]")
            yield from _pairs(**_step(step, root))
    for waiver in topology.waivers:
        yield from ("", "[[waivers]]")
        yield from _pairs(
            pattern=waiver.pattern,
            machine=waiver.machine or None,
            matching=waiver.matching or None,
            reason=waiver.reason,
            until=waiver.until,
        )
    if topology.variant:
        yield from _table("variants", topology.variant)


def _image(image: Image, root: Path) -> Iterator[str]:
    for source in image.sources.values():
        yield from _pairs(**{key: plain(value, root) for key, value in source.written().items()})


def _layer(layer: Layer, root: Path) -> Iterator[str]:
    yield from _table("layers", layer.name)
    yield from _pairs(
        source=plain(layer.source, root),
        target=layer.target,
        owner=layer.owner,
        exclude=list(layer.exclude) or None,
        requires=list(layer.requires) or None,
        static=list(layer.static) or None,
        resets=list(layer.resets) or None,
        nixos_input=layer.nixos_input or None,
    )


def _machine(machine: Machine, root: Path) -> Iterator[str]:
    yield from _table("machines", machine.name)
    yield from _pairs(
        kind=machine.kind if machine.is_router else None,
        image=machine.image,
        cpus=machine.cpus,
        memory=f"{machine.memory}MiB",
        egress=[_destination(one) for one in machine.destinations] or machine.egress,
        aliases=list(machine.aliases) or None,
        dns=machine.dns or None,
        cpu=machine.cpu if machine.cpu is not Cpu.HOST else None,
        ports=[_forward(forward) for forward in machine.ports],
        files=[_file(file, root) for file in machine.files],
    )
    for link in machine.links:
        yield from _table("machines", machine.name, "networks", link.network)
        address6 = str(link.address6) if link.address6 else None
        yield from _pairs(address=str(link.address), address6=address6, mac=link.mac)


def _forward(forward: PortForward) -> str:
    return f"{forward.host}:{forward.guest}" if forward.host else str(forward.guest)


def _destination(one: Destination) -> str:
    return f"{one.host}:{one.port}" + ("" if one.protocol == "tcp" else f"/{one.protocol}")


def _file(file: GuestFile, root: Path) -> dict[str, object]:
    return {
        "source": plain(file.source, root),
        "target": file.target,
        "mode": f"{file.mode:04o}",
        "required": file.required,
    }


def _service(service: Service, root: Path) -> Iterator[str]:
    yield from _table("services", service.name)
    yield from _pairs(
        description=service.description or None,
        machine=service.machine,
        kind=service.kind,
        unit=service.unit,
        timeout=plain(service.timeout, root),
        logs=list(service.logs) or None,
        after_restore=list(service.after_restore) or None,
        uses=list(service.uses) or None,
        stage=service.stage or None,
        environment=dict(service.environment) or None,
        environment_file=plain(service.environment_file, root) if service.environment_file else None,
    )
    for dependency in service.depends_on:
        yield f"depends_on.{_key(dependency.service)}.condition = {_value(dependency.condition)}"
    for check in service.checks:
        yield from _table("services", service.name, "checks", check.name)
        yield from _check(check, root)


def _check(check: Check, root: Path) -> Iterator[str]:
    keys = check.spec.written()
    first = keys.pop(check.kind)
    yield from _pairs(**{check.kind: plain(first, root), "from": check.machine, "timeout": plain(check.timeout, root)})
    yield from _pairs(**{key: plain(value, root) for key, value in keys.items()})


def _fault(fault: Fault, root: Path) -> Iterator[str]:
    yield from _table("faults", fault.name)
    yield from _pairs(
        kind=fault.kind,
        on=fault.on,
        **{
            "for": plain(fault.lasts, root) if fault.lasts else None,
            "at": plain(fault.at, root) if fault.at else None,
            "recovers_within": plain(fault.recovers_within, root) if fault.recovers_within else None,
        },
    )
    yield from _pairs(**{key: plain(value, root) for key, value in fault.spec.written().items()})


def _step(step: Step, root: Path) -> dict[str, object]:
    values = {StepKind.WAIT: plain(step.seconds, root), StepKind.COMMAND: list(step.command)}
    return {
        str(step.kind): values.get(step.kind, step.subject),
        "machine": step.machine or None,
        "user": step.user if step.kind is StepKind.COMMAND else None,
        "code": step.code or None,
        "stdout": step.stdout,
        "passes": None if step.passes else False,
        "within": plain(step.within, root) if step.within else None,
        "phase": step.phase or None,
    }


def _suite(suite: Suite, root: Path) -> Iterator[str]:
    yield from _table("suite")
    yield from _pairs(
        machine=suite.machine,
        path=plain(suite.path, root),
        command=list(suite.command),
        user=suite.user,
        environment=dict(suite.environment),
        artifacts=suite.artifacts,
        timeout=plain(suite.timeout, root),
        prepare=list(suite.prepare) or None,
        scale_timeouts=None if suite.scale_timeouts else False,
    )
    for phase in suite.phases:
        yield from ("", "[[suite.phases]]")
        faults = list(phase.faults) or None
        yield from _pairs(name=phase.name, args=list(phase.args), stop=list(phase.stop), faults=faults)


def _table(*path: str) -> Iterator[str]:
    yield from ("", f"[{'.'.join(_key(part) for part in path)}]")


def _pairs(**values: object) -> Iterator[str]:
    for key, value in values.items():
        if value is not None:
            yield f"{_key(key)} = {_value(value)}"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _string(name)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_value(entry)}" for key, entry in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_value(entry) for entry in value)}]"
    raise TypeError(f"TOML cannot express {value!r}")


def _string(text: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


# ------------------------------------------------------------------ data


def to_dict(topology: Topology) -> dict[str, object]:
    """The topology as JSON-ready data; `from_dict` gives an equal one back."""
    data = encode(topology)
    assert isinstance(data, dict)
    return data


def from_dict(data: object) -> Topology:
    """The topology that `to_dict` wrote.

    Fields unknown here are skipped, and missing ones take their default, so
    that an environment of another version can still be taken down.

    Raises:
        TopologyError: the data is damaged; the text names the field.
    """
    try:
        return decode(data, Topology, "topology")
    except (KeyError, TypeError, ValueError) as error:
        raise TopologyError(
            "the recorded topology of the environment is damaged", why=str(error) or repr(error)
        ) from error
