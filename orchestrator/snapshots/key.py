"""What a saved state depends on. Two starts with one key would come to the same state; any other needs another start.

The inputs are kept beside the key, so that a start that finds no fitting
snapshot can say what changed since the last one. A stage depends on the machines, and on those services and layers that
are part of it; checks are no part of any state, for every start makes them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.images.contract import BuiltImage
from orchestrator.images.layers import LayerDisk
from orchestrator.topology.effective import to_dict
from orchestrator.topology.model import Cpu, Machine, Service, Topology
from orchestrator.topology.stages import Stage
from orchestrator.vm.accelerator import Accelerator
from orchestrator.vm.architecture import architecture_of
from orchestrator.vm.arguments import MachinePaths, Memory, QemuSettings, script_arguments

KEY_LENGTH = 16
EMULATED = "emulated"  # the processor of machines under TCG, on every host
NOWHERE = MachinePaths(Path("/work"), Path("/sockets"), Path("/logs"))  # the places differ from start to start


def key_of(inputs: Mapping[str, str]) -> str:
    """One name for all inputs."""
    return hashlib.sha256(json.dumps(dict(inputs), sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]


@dataclass(frozen=True, slots=True)
class Parts:
    """What the machines of a topology are made of.

    Attributes:
        layers: the disks of each machine.
        handovers: per machine, what is done in it when it first answers, less its keys.
    """

    images: Mapping[str, BuiltImage]
    layers: Mapping[str, tuple[LayerDisk, ...]]
    handovers: Mapping[str, str]


def inputs_of(
    topology: Topology, parts: Parts, accelerator: Accelerator, *, kernel_parameters: str = ""
) -> dict[str, str]:
    """Everything that matters, by a name people understand. Reads the run scripts and the pushed files.

    What is in a layer, and each service, are inputs of their own, apart from the machines.
    """
    inputs = {
        "topology": _digest(_machines_only(topology)),
        "QEMU": accelerator.qemu,
        "accelerator": accelerator.name,
        "host CPU": _seen_cpu(topology, accelerator.name),
        "kernel parameters": kernel_parameters,
    }
    for name, image in parts.images.items():
        inputs[f"image {name}"] = image.key
        inputs[f"run script of {name}"] = _digest(image.script_text)
    for machine in topology.machines.values():
        inputs[f"hand-over of {machine.name}"] = _digest(parts.handovers[machine.name])
        script = parts.images[machine.image].script_text
        inputs[f"QEMU arguments of {machine.name}"] = _digest(_arguments(machine, accelerator.name, script))
        for layer in parts.layers[machine.name]:
            inputs[f"room for layer {layer.name} of {machine.name}"] = str(layer.capacity)
            inputs[layer_input(layer.name, machine.name)] = f"{layer.key} {topology.layers[layer.name].target}"
        for file in machine.files:
            inputs[f"file {file.target} of {machine.name}"] = f"{file.mode:o} {_content(file.source)}"
    for service in topology.services.values():
        inputs[_service_input(service.name)] = _digest(_service(service))
    return inputs


def inputs_of_stage(inputs: Mapping[str, str], topology: Topology, stage: Stage) -> dict[str, str]:
    """Those of `inputs_of` that the state at a stage depends on. Pure."""
    later = {_service_input(name) for name in topology.services if name not in stage.services}
    for machine in topology.machines:
        mounted = [one.name for one in topology.layers_of(machine, stage.services)]
        later |= {layer_input(name, machine) for name in topology.layers if name not in mounted}
    return {name: value for name, value in inputs.items() if name not in later}


def layer_input(layer: str, machine: str) -> str:
    """The name of the input that is the content of a layer."""
    return f"layer {layer} of {machine}"


def _service_input(name: str) -> str:
    return f"service {name}"


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The names of the inputs that are not the same. Pure."""
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def host_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Model and abilities of the host's CPU: a guest of KVM has seen them."""
    wanted = ("vendor_id", "model name", "microcode", "flags")
    first = cpuinfo.read_text(errors="replace").split("\n\n")[0]
    return _digest([line for line in first.splitlines() if line.split("\t")[0].strip() in wanted])


def host_cpus(accelerator: str) -> frozenset[str]:
    """What the input ``host CPU`` of states may be that this host's processor can go on with."""
    return frozenset({host_cpu(), host_vendor()} if accelerator == "kvm" else {EMULATED})


def host_vendor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Who made the host's CPU: all that a guest of a named level sees of it."""
    found = re.search(r"^vendor_id\s*:\s*(\S+)", cpuinfo.read_text(errors="replace"), re.MULTILINE)
    return found[1] if found else "unknown"


def _seen_cpu(topology: Topology, accelerator: str) -> str:
    """What of the host's processor the machines have seen."""
    if accelerator != "kvm":
        return EMULATED
    named = all(machine.cpu is not Cpu.HOST for machine in topology.machines.values())
    return host_vendor() if named else host_cpu()


def _machines_only(topology: Topology) -> object:
    """The topology as far as machines feel it before any service.

    Not the suite, not where files lie (their content is a part too), not the host's side of forwarded ports.
    """
    machines = {name: replace(machine, files=()) for name, machine in topology.with_free_ports().machines.items()}
    bare = replace(
        topology, suite=None, waivers=(), path=Path(), images={}, layers={}, services={}, faults={}, scenarios={}
    )
    return to_dict(replace(bare, machines=machines))


def _service(service: Service) -> object:
    """What of a service a state feels."""
    bare = replace(service, checks=(), timeout=0.0, logs=(), description="", stage=False, environment_file=None)
    secret = None if service.environment_file is None else _content(service.environment_file)
    return [repr(bare), secret]


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:KEY_LENGTH] if path.exists() else "missing"


def _arguments(machine: Machine, accelerator: str, script: str) -> list[str]:
    settings = QemuSettings(accelerator, memory=Memory(Path("/ram")), architecture=architecture_of(script))
    return list(script_arguments(machine, NOWHERE, (), settings))


def _digest(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()[:KEY_LENGTH]
