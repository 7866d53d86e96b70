"""Layers in the topology file: their folders, and their places in machines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from orchestrator.topology import layer_values, values
from orchestrator.topology.document import Problems, quote, suggest
from orchestrator.topology.layer_files import layer_problems
from orchestrator.topology.model import Layer, Topology
from orchestrator.topology.tables import Table, absolute
from orchestrator.topology.variants import Merged

# A disk mounted there would hide what the guest itself needs.
SYSTEM = re.compile(r"/(bin|boot|dev|etc|lib|lib64|nix|nix/store|proc|root|run|sbin|sys|tmp|usr|var)")
KERNELS = ("/dev", "/proc", "/sys")  # nothing can be made there
LAYERS = "layers"


def layers(file: Table, root: Path, given: Mapping[str, Path]) -> dict[str, Layer]:
    """All layers, each with the folder that was given for it, or the file's."""
    found = {}
    for name, table in file.named(LAYERS, "layer", "layers.NAME"):
        if name not in given:
            table.required("source", values.host_path, "")
        own = table.path("source", root)
        source = absolute(Path.cwd(), str(given[name])) if name in given else own
        layer = Layer(
            name=name,
            source=source or root,
            target=table.required("target", values.guest_path, ""),
            owner=table.optional("owner", layer_values.owner, "root"),
            exclude=table.array("exclude", layer_values.exclusion),
            requires=table.array("requires", layer_values.part),
            static=table.array("static", layer_values.exclusion),
            resets=table.array("resets", layer_values.exclusion),
            nixos_input=table.optional("nixos_input", values.nonempty, ""),
            replaced=source != own,
        )
        if SYSTEM.fullmatch(layer.target) or any(layer.target.startswith(f"{one}/") for one in KERNELS):
            table.complain("target", f"{quote(layer.target)} is a folder of the guest's system, which it would hide")
        if source is not None:
            _check_folder(table, layer)
        found[name] = layer
    return found


def _check_folder(table: Table, layer: Layer) -> None:
    for text in layer_problems(layer):
        if layer.replaced:
            table.problems.add_option(f"--layer {layer.name}", text)
        else:
            table.complain("source", text)


def verify_given(given: Mapping[str, Path], known: Mapping[str, Layer], merged: Merged, problems: Problems) -> None:
    """A problem for each folder that was given for a layer which the file does not have."""
    for name in given:
        if name not in known and not merged.was_removed(LAYERS, name):
            there = f"its layers are {', '.join(known)}" if known else "it has no [layers.NAME] table"
            problems.add_option(
                f"--layer {name}", f"the topology has no layer {quote(name)}{suggest(name, known)}; {there}"
            )


def check_places(file: Table, topology: Topology) -> None:
    """No layer of a machine lies in another one of it, and no file is to be written into one."""
    tables = dict(file.entries(LAYERS))

    def complain(layer: str, key: str, text: str) -> None:
        node = tables[layer]
        entry = (node.fields or {}).get(key)
        file.problems.add(entry.at if entry else node.key, text)

    for name, machine in topology.machines.items():
        mine = [layer for layer in topology.layers_of(name) if layer.target]
        for number, layer in enumerate(mine):
            for other in mine[:number]:
                if _inside(layer.target, other.target) or _inside(other.target, layer.target):
                    what = f"the targets of layers {quote(other.name)} and {quote(layer.name)}"
                    text = f"{what} are in each other on machine {quote(name)}: {other.target} and {layer.target}"
                    complain(layer.name, "target", text)
        for guest_file in machine.files:
            if around := [layer for layer in mine if guest_file.target and _inside(guest_file.target, layer.target)]:
                text = f"file {quote(guest_file.target)} of machine {quote(name)} is in layer {quote(around[0].name)}"
                complain(around[0].name, "target", f"{text}, which is read-only")


def _inside(path: str, folder: str) -> bool:
    return path == folder or path.startswith(f"{folder}/")
