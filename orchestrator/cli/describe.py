"""``validate``, ``config``, ``graph`` and ``schema``: what a topology file says, or may say; nothing is started."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.cli.argument_types import layers_of
from orchestrator.errors import RecipeError, TopologyError
from orchestrator.text import json_text
from orchestrator.topology.load import load_topology, load_variants, missing_files, unused_layers
from orchestrator.topology.model import Topology
from orchestrator.topology.suite_package import look_at


def run(arguments: argparse.Namespace) -> int:
    if arguments.command == "validate":
        return _validate(arguments)
    if arguments.command == "schema":
        sys.stdout.write(json_text(_schema(recipe=arguments.recipe), indent=2) + "\n")
        return 0
    topology = load_topology(
        arguments.file, variant=arguments.variant, layers=layers_of(arguments), suite=arguments.suite
    )
    if arguments.command == "config":
        sys.stdout.write(_config(topology, as_json=arguments.json))
    else:
        sys.stdout.write(_graph(topology, arguments.format))
    return 0


def counts(topology: Topology) -> dict[str, int]:
    """The number of machines, networks, services and so on of a topology, by word."""
    return {
        "machine": len(topology.machines),
        "network": len(topology.networks),
        "service": len(topology.services),
        "check": sum(len(service.checks) for service in topology.services.values()),
        "test phase": len(topology.suite.phases) if topology.suite else 0,
    }


def count_text(topology: Topology) -> str:
    """``2 machines, 1 network, …``"""
    return ", ".join(f"{number} {word if number == 1 else word + 's'}" for word, number in counts(topology).items())


def _validate(arguments: argparse.Namespace) -> int:
    try:
        if arguments.variant is not None:  # an unknown one is a problem as well
            load_topology(arguments.file, variant=arguments.variant, layers=layers_of(arguments), suite=arguments.suite)
        variants = load_variants(arguments.file, layers=layers_of(arguments), suite=arguments.suite)
        shown = {name: topology for name, topology in variants.items() if arguments.variant in (None, name)}
        _check_recipes(shown.values())
    except (TopologyError, RecipeError) as error:
        _tell_problems(error, as_json=arguments.json)
        return error.exit_code
    suites = {name: look_at(topology.suite.path) for name, topology in shown.items() if topology.suite}
    warnings = {
        name: (*missing_files(topology), *unused_layers(topology), *(suites[name].warnings if name in suites else ()))
        for name, topology in shown.items()
    }
    if arguments.json:
        data = {
            "valid": True,
            "variants": [
                {
                    "variant": name,
                    "counts": counts(topology),
                    "suite": suites[name].as_dict() if name in suites else None,
                    "warnings": warnings[name],
                }
                for name, topology in shown.items()
            ],
            "problems": [],
        }
        sys.stdout.write(json_text(data, indent=2) + "\n")
        return 0
    width = max(len(name) for name in shown)
    for name, topology in shown.items():
        label = f"variant {name:<{width}}  " if name else ""
        sys.stdout.write(f"{topology.name}  {label}{count_text(topology)}\n")
    if not arguments.quiet:
        for line in dict.fromkeys(suite.describe() for suite in suites.values()):
            sys.stderr.write(f"{line}\n")
        for name, lines in warnings.items():
            prefix = f"variant {name}: " if name else ""
            sys.stderr.write("".join(f"warning: {prefix}{line}\n" for line in lines))
    return 0


def _check_recipes(topologies: Iterable[Topology]) -> None:
    """Read every source of the images in use; raise `RecipeError` with the problems of all."""
    from orchestrator.images.provider import used_images
    from orchestrator.images.provider_kind import ImageProvider

    found: list[RecipeError] = []
    for topology in topologies:
        for image in used_images(topology).values():
            for source in image.sources.values():
                if isinstance(source, ImageProvider):
                    try:
                        source.check(topology.variant)
                    except RecipeError as error:
                        found.append(error)
    if found:
        lines = dict.fromkeys(line for error in found for line in error.evidence or (error.brief,))
        raise RecipeError(found[0].what, evidence=tuple(lines))


def _tell_problems(error: TopologyError | RecipeError, *, as_json: bool) -> None:
    """Print every problem on its own line, as compilers do; none is left out."""
    problems: Sequence[str] = error.evidence or (error.what + (f": {error.why}" if error.why else ""),)
    if as_json:
        data = {"valid": False, "variants": [], "problems": problems}
        sys.stdout.write(json_text(data, indent=2) + "\n")
        return
    sys.stderr.write("".join(f"{line}\n" for line in problems))
    if error.evidence:
        sys.stderr.write(f"error: {error.what}\n")
    elif error.hint:
        sys.stderr.write(f"  next:  {error.hint}\n")


def _schema(*, recipe: bool) -> Mapping[str, object]:
    if recipe:
        from orchestrator.images.recipe_reference import recipe_schema

        return recipe_schema()
    from orchestrator.topology.schema import json_schema

    return json_schema()


def _config(topology: Topology, *, as_json: bool) -> str:
    from orchestrator.topology.effective import to_dict, to_toml

    if as_json:
        return json_text(to_dict(topology), indent=2) + "\n"
    return to_toml(topology)


def _graph(topology: Topology, form: str) -> str:
    from orchestrator.topology.graph import as_json, as_mermaid, as_text

    return {"text": as_text, "mermaid": as_mermaid, "json": as_json}[form](topology)
