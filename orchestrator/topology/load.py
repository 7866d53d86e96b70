"""From ``orchestrator.toml`` to a `Topology`, or to all of its problems at once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from types import MappingProxyType

from orchestrator.topology import read_faults, read_layers, read_machines, read_scenarios, values
from orchestrator.topology.document import Node, Problems, parse, quote, read, suggest
from orchestrator.topology.model import Fault, Machine, Service, ServiceKind, Suite, SuitePhase, Topology
from orchestrator.topology.read_matrix import read_matrix
from orchestrator.topology.read_services import environment, services
from orchestrator.topology.suite_package import is_empty
from orchestrator.topology.tables import NAME_RULE, Table, absolute, name
from orchestrator.topology.values import NAME
from orchestrator.topology.variants import Merged, apply
from orchestrator.waivers import Waiver

_IMPLIED_PHASE = "suite"


NOTHING_GIVEN: Mapping[str, Path] = MappingProxyType({})


def load_topology(
    path: Path,
    *,
    variant: str | None = None,
    layers: Mapping[str, Path] = NOTHING_GIVEN,
    suite: Path | None = None,
) -> Topology:
    """Read and check a topology file.

    Args:
        path: the file.
        variant: one of its ``[variants]``; None takes the file's own default.
        layers: folders in place of the sources of layers, by the layers' names.
        suite: a suite folder in place of the file's ``suite.path``.

    Raises:
        TopologyError: the file is missing, or ``evidence`` has a line for each problem.
    """
    problems = Problems(path)
    root = parse(read(path), problems)
    topology = _build(root, path, _chosen(root, variant, problems), layers, suite, problems)
    problems.raise_if_any()
    return topology


def load_variants(
    path: Path,
    *,
    layers: Mapping[str, Path] = NOTHING_GIVEN,
    suite: Path | None = None,
    text: str | None = None,
) -> Mapping[str, Topology]:
    """Every variant of a file, by name; the file alone under ``""`` if it has none.

    Args and errors are those of `load_topology`; the problems of all variants
    are raised together. ``text`` is what the file is to hold, in place of what it holds.
    """
    problems = Problems(path)
    root = parse(read(path) if text is None else text, problems)
    default = _chosen(root, None, problems)
    names = dict.fromkeys((default, *_variant_names(root)))
    found = {each: _build(root, path, each, layers, suite, problems) for each in names}
    problems.raise_if_any()
    return found


def missing_files(topology: Topology) -> tuple[str, ...]:
    """A line for each guest file that a machine needs and the host does not have now.

    No error when loading: such files hold keys, which a checkout does not have.
    `validate` shows these lines as warnings; `up` refuses to start without the files.
    """
    return tuple(
        f"machine {quote(machine)} needs {file.source}, which does not exist"
        for machine in topology.machines
        for file in topology.files_of(machine)
        if file.required and not file.source.is_file()
    )


def unused_layers(topology: Topology) -> tuple[str, ...]:
    """A line for each layer that no service uses, and so no machine sees."""
    used = {layer.name for machine in topology.machines for layer in topology.layers_of(machine)}
    return tuple(
        f'no service uses layer {quote(name)}, so no machine has it: add it to "uses" of a service'
        for name in topology.layers
        if name not in used
    )


def _variant_names(root: Node) -> tuple[str, ...]:
    variants = root.find("variants")
    return tuple(variants.fields) if variants is not None and variants.fields else ()


def _chosen(root: Node, wanted: str | None, problems: Problems) -> str:
    """The variant to apply, empty for none."""
    names = _variant_names(root)
    known = f"the file's variants are {', '.join(names)}" if names else "the file has no variants"
    if wanted is not None:
        if wanted in names:
            return wanted
        problems.add_option("--variant", f"{quote(wanted)} is not defined{suggest(wanted, names)}; {known}")
        return ""
    node = root.find("variant")
    if node is None:
        return ""
    if not isinstance(node.value, str):
        problems.add(node.at, f'"variant": expected a string, found {node.describe()}')
    elif node.value in names:
        return node.value
    else:
        hint = suggest(node.value, names)
        problems.add(node.at, f"variant {quote(node.value)} is not defined{hint}; {known}")
    return ""


def _build(
    root: Node, path: Path, variant: str, given: Mapping[str, Path], suite: Path | None, problems: Problems
) -> Topology:
    merged = apply(root, variant, problems)
    file = Table(merged.root, problems, "", "")
    _check_variants(file)
    if file.has("nightly"):
        from orchestrator.topology.read_nightly import nightly  # a start needs nothing of it

        nightly(file, path)
    folder = path.parent.resolve()
    read_matrix(
        root, folder, Problems(path), problems
    )  # `orchestrator matrix` reads it again; its mistakes are told here
    own = file.required("name", name, "")
    networks = read_machines.networks(file)
    images = read_machines.images(file, folder)
    machines = read_machines.machines(file, own, folder, networks, images, merged)
    if not machines and file.node.find("machines") is None:
        problems.add(file.node.key, "a topology has no machines")
    layers = read_layers.layers(file, folder, given)
    read_layers.verify_given(given, layers, merged, problems)
    known = services(file, machines, layers, merged, folder)
    targets = read_faults.Known(machines, known, networks)
    faults = read_faults.faults(file, targets, merged, folder)
    suite_table = _suite(file, folder, suite, targets, faults, merged)
    topology = Topology(
        name=own,
        path=folder / path.name,
        variant=variant,
        variants=_variant_names(root),
        networks=networks,
        images=images,
        machines=machines,
        services=known,
        suite=suite_table,
        waivers=_waivers(file, machines, merged),
        layers=layers,
        faults=faults,
        scenarios=read_scenarios.scenarios(file, faults, machines, known, suite_table),
    )
    read_layers.check_places(file, topology)
    return topology


def _check_variants(file: Table) -> None:
    """Names and types of all variants; their content is checked when one is applied."""
    for each, node in file.entries("variants"):
        if not NAME.fullmatch(each):
            file.problems.add(node.key, f"variant {quote(each)}: {NAME_RULE}")
        if node.fields is None:
            file.problems.add(node.at, f"variant {quote(each)}: expected a table, found {node.describe()}")


def _suite(
    file: Table,
    root: Path,
    given: Path | None,
    known: read_faults.Known,
    faults: Mapping[str, Fault],
    merged: Merged,
) -> Suite | None:
    node = file.get("suite")
    if node is None:
        if given:
            file.problems.add_option("--suite", "the topology has no [suite] table to put it in")
        return None
    table = Table(node, file.problems, "suite", "the suite")
    gone = merged.removed_names("machines")
    machine = table.required("machine", values.nonempty, "")
    table.refer(table.get("machine"), "machine", known.machines, gone)
    if not given:
        table.required("path", values.host_path, "")
    table.required("command", lambda entry: entry, node)
    return Suite(
        machine=machine,
        path=_suite_folder(table, root, given),
        command=table.command("command"),
        user=table.required("user", values.user, ""),
        environment=environment(table),
        artifacts=table.optional("artifacts", values.guest_path, "/artifacts"),
        timeout=table.optional("timeout", values.seconds, 600.0),
        phases=_phases(table, known.services, faults, machine, merged),
        prepare=table.command("prepare"),
        scale_timeouts=table.optional("scale_timeouts", values.flag, True),
    )


def _suite_folder(table: Table, root: Path, given: Path | None) -> Path:
    folder = absolute(Path.cwd(), str(given)) if given else table.path("path", root)
    if folder is None:
        return root
    text = ""
    if not folder.is_dir():
        text = f"{folder} is not a folder"
    elif is_empty(folder):
        text = f"{folder} is empty"
    if text:
        if given:
            table.problems.add_option("--suite", text)
        else:
            table.complain("path", text)
    return folder


def _waivers(file: Table, machines: Mapping[str, Machine], merged: Merged) -> tuple[Waiver, ...]:
    found = []
    for index, node in enumerate(file.items("waivers")):
        from orchestrator.log_patterns import waivable  # few files have one

        table = Table(node, file.problems, "waivers", f"waiver {index + 1}")
        pattern = table.required("pattern", values.nonempty, "")
        table.refer(table.get("pattern"), "log pattern", waivable())
        machine = table.optional("machine", values.nonempty, "")
        table.refer(table.get("machine"), "machine", machines, merged.removed_names("machines"))
        found.append(
            Waiver(
                pattern=pattern,
                reason=table.required("reason", values.single_line, ""),
                until=table.required("until", values.day, date.max),
                machine=machine,
                matching=table.optional("matching", values.pattern, ""),
            )
        )
    return tuple(found)


def _phases(
    suite: Table, known: Mapping[str, Service], faults: Mapping[str, Fault], machine: str, merged: Merged
) -> tuple[SuitePhase, ...]:
    if not suite.has("phases"):
        return (SuitePhase(_IMPLIED_PHASE),)
    found: dict[str, SuitePhase] = {}
    for index, node in enumerate(suite.items("phases")):
        table = Table(node, suite.problems, "suite.phases", f"phase {index + 1} of the suite")
        own = table.required("name", name, "")
        if own and own in found:
            table.complain("name", f"another phase is named {quote(own)}")
        stop = []
        for item, service in table.placed("stop", values.nonempty):
            if merged.was_removed("services", service):
                continue  # what is not there need not be stopped
            if not table.unknown(item.at, "service", service, known):
                if known[service].kind is ServiceKind.TARGET:
                    table.problems.add(item.at, f"{quote(service)} is a target: it has no unit to stop")
                if service in stop:
                    table.problems.add(item.at, f"{table.label} stops {quote(service)} twice")
            stop.append(service)
        used = read_faults.used(table, faults, machine, merged)
        found[own or f"#{index}"] = SuitePhase(own, table.array("args", values.string), tuple(stop), used)
    if suite.has("phases") and not found:
        suite.complain("phases", "there is no phase; leave the key out to run the suite once")
    return tuple(found.values())
