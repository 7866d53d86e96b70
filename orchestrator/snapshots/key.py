"""What a saved state depends on. Two starts with one key would come to the same state; any other needs a cold start.

The inputs are kept beside the key, so that a start that finds no fitting
snapshot can say what changed since the last one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from orchestrator.images.contract import BuiltImage
from orchestrator.topology.effective import to_dict
from orchestrator.topology.model import Machine, Topology
from orchestrator.vm.accelerator import Accelerator
from orchestrator.vm.architecture import architecture_of
from orchestrator.vm.arguments import MachinePaths, Memory, QemuSettings, script_arguments

KEY_LENGTH = 16
NOWHERE = MachinePaths(Path("/work"), Path("/sockets"), Path("/logs"))  # the places differ from start to start


def key_of(inputs: Mapping[str, str]) -> str:
    """One name for all inputs."""
    return hashlib.sha256(json.dumps(dict(inputs), sort_keys=True).encode()).hexdigest()[:KEY_LENGTH]


def inputs_of(
    topology: Topology,
    images: Mapping[str, BuiltImage],
    accelerator: Accelerator,
    handovers: Mapping[str, str],
    *,
    kernel_parameters: str = "",
) -> dict[str, str]:
    """Everything that matters, by a name people understand. Reads the run scripts and the pushed files.

    Args:
        handovers: per machine, what is done in it when it first answers, less its keys.
    """
    inputs = {
        "topology": _digest(_without_suite(topology)),
        "QEMU": accelerator.qemu,
        "accelerator": accelerator.name,
        "host CPU": host_cpu() if accelerator.name == "kvm" else "emulated",
        "kernel parameters": kernel_parameters,
    }
    for name, image in images.items():
        inputs[f"image {name}"] = image.key
        inputs[f"run script of {name}"] = _digest(image.script_text)
    for machine in topology.machines.values():
        inputs[f"hand-over of {machine.name}"] = _digest(handovers[machine.name])
        script = images[machine.image].script_text
        inputs[f"QEMU arguments of {machine.name}"] = _digest(_arguments(machine, accelerator.name, script))
        for file in topology.files_of(machine.name):
            there = file.source.exists()
            content = hashlib.sha256(file.source.read_bytes()).hexdigest()[:KEY_LENGTH] if there else "missing"
            inputs[f"file {file.target} of {machine.name}"] = f"{file.mode:o} {content}"
    return inputs


def differences(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The names of the inputs that are not the same. Pure."""
    return sorted(name for name in {*old, *new} if old.get(name) != new.get(name))


def host_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Model and abilities of the host's CPU: a guest of KVM has seen them."""
    wanted = ("vendor_id", "model name", "microcode", "flags")
    first = cpuinfo.read_text(errors="replace").split("\n\n")[0]
    return _digest([line for line in first.splitlines() if line.split("\t")[0].strip() in wanted])


def _without_suite(topology: Topology) -> object:
    """The topology as far as machines feel it.

    Not the suite, not where files lie (their content is a part too), not the host's side of forwarded ports.
    """
    machines = {name: replace(machine, files=()) for name, machine in topology.with_free_ports().machines.items()}
    services = {name: replace(service, environment_file=None) for name, service in topology.services.items()}
    bare = replace(topology, suite=None, waivers=(), path=Path(), images={}, app=None)
    return to_dict(replace(bare, machines=machines, services=services))


def _arguments(machine: Machine, accelerator: str, script: str) -> list[str]:
    settings = QemuSettings(accelerator, memory=Memory(Path("/ram")), architecture=architecture_of(script))
    return list(script_arguments(machine, NOWHERE, (), settings))


def _digest(data: object) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()[:KEY_LENGTH]
