"""Reads ``[nightly]``. It is no part of a `Topology`: what runs at night changes nothing about the machines."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from datetime import date
from pathlib import Path

from orchestrator.topology import values
from orchestrator.topology.document import Problems, parse, quote, read
from orchestrator.topology.nightly import Flaky, Isolation, Nightly, Notify, Overlap, Quarantined, Retention
from orchestrator.topology.nightly_values import age, clock_time, repeats, size
from orchestrator.topology.tables import NAME_RULE, Table, absolute, name
from orchestrator.topology.values import NAME


def load_nightly(path: Path) -> Nightly:
    """What a night is to do with a topology; what every key stands for where the file has no ``[nightly]``.

    Raises:
        TopologyError: the file is missing, or ``evidence`` has a line for each problem.
    """
    problems = Problems(path)
    root = parse(read(path), problems)
    file = Table(root, problems, "", "")
    found = nightly(file, path)
    problems.raise_if_any()
    return found


def nightly(file: Table, path: Path) -> Nightly:
    """The table of a file; problems are added to those of the file."""
    folder = path.parent.resolve()
    plain = Nightly(topology=folder / path.name, name=file.required("name", name, ""))
    node = file.get("nightly")
    if node is None:
        return plain
    table = Table(node, file.problems, "nightly", "nightly")
    return Nightly(
        topology=plain.topology,
        name=plain.name,
        variants=_variants(table, {each for each, _ in file.entries("variants")}),
        suites=_suites(table, folder, with_suite=file.has("suite")),
        layers=_layers(table, folder, {each for each, _ in file.entries("layers")}),
        budget=table.optional("budget", values.seconds, plain.budget),
        isolate=table.choice("isolate", Isolation, plain.isolate),
        reruns=table.optional("reruns", repeats, plain.reruns),
        new_tests=table.optional("new_tests", repeats, plain.new_tests),
        flaky=table.choice("flaky", Flaky, plain.flaky),
        overlap=table.choice("overlap", Overlap, plain.overlap),
        pull=tuple(absolute(folder, each) for each in table.array("pull", values.nonempty)),
        build=table.optional("build", values.flag, plain.build),
        at=table.optional("at", clock_time, plain.at),
        site=table.path("site", folder),
        metrics=_metrics(table, folder),
        quarantine=_quarantine(table),
        retention=_retention(table),
        notify=_notify(table),
    )


def _variants(table: Table, known: Collection[str]) -> tuple[str, ...]:
    found = []
    for node, variant in table.placed("variants", values.nonempty):
        table.unknown(node.at, "variant", variant, known)
        if variant in found:
            table.problems.add(node.at, f"variant {quote(variant)} is named twice")
        found.append(variant)
    return tuple(found)


def _suites(table: Table, folder: Path, *, with_suite: bool) -> Mapping[str, Path]:
    found = {}
    for each, text in table.mapping("suites", values.nonempty).items():
        if not NAME.fullmatch(each):
            table.complain("suites", f"{quote(each)}: {NAME_RULE}")
        found[each] = absolute(folder, text)
    if found and not with_suite:
        table.complain("suites", "the topology has no [suite] table to put them in")
    return found


def _layers(table: Table, folder: Path, known: Collection[str]) -> Mapping[str, Mapping[str, Path]]:
    found: dict[str, dict[str, Path]] = {}
    for each, node in table.entries("layers"):
        if not NAME.fullmatch(each):
            table.problems.add(node.key, f"layers {quote(each)}: {NAME_RULE}")
        if node.fields is None:
            table.problems.add(node.at, f"layers {quote(each)}: expected a table, found {node.describe()}")
        chosen = found.setdefault(each, {})
        for layer, place in (node.fields or {}).items():
            if table.unknown(place.key, "layer", layer, known):
                continue
            if isinstance(place.value, str) and place.value:
                chosen[layer] = absolute(folder, place.value)
            else:
                table.problems.add(place.at, f"layer {quote(layer)}: expected a folder, found {place.describe()}")
    return found


def _metrics(table: Table, folder: Path) -> Path | None:
    found = table.path("metrics", folder)
    if found is not None and found.suffix != ".prom":
        table.complain("metrics", "node_exporter reads only files whose name ends in .prom")
    return found


def _quarantine(table: Table) -> tuple[Quarantined, ...]:
    found = []
    for index, node in enumerate(table.items("quarantine")):
        one = Table(node, table.problems, "nightly.quarantine", f"test {index + 1} in quarantine")
        found.append(
            Quarantined(
                test=one.required("test", values.single_line, ""),
                reason=one.required("reason", values.single_line, ""),
                until=one.required("until", values.day, date.max),
            )
        )
    return tuple(found)


def _retention(table: Table) -> Retention:
    node = table.get("retention")
    if node is None:
        return Retention()
    one = Table(node, table.problems, "nightly.retention", "the retention")
    plain = Retention()
    limit = one.optional("size", size, 0)
    found = Retention(
        failed=one.optional("failed", age, plain.failed),
        passed=one.optional("passed", age, plain.passed),
        passed_runs=one.optional("passed_runs", repeats, plain.passed_runs),
        evidence=one.optional("evidence", age, plain.evidence),
        size=limit or None,
    )
    if found.evidence < max(found.failed, found.passed):
        one.complain("evidence", "it is a part of the whole folder, so it cannot be kept for a shorter time")
    return found


def _notify(table: Table) -> Notify:
    node = table.get("notify")
    if node is None:
        return Notify()
    one = Table(node, table.problems, "nightly.notify", "notify")
    texts = {
        field.name: one.optional(field.name, values.single_line, "")
        for field in fields(Notify)
        if field.name in ("webhook", "ping", "link")
    }
    return Notify(command=one.command("command"), apprise=one.array("apprise", values.single_line), **texts)
