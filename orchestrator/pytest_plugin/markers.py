"""Our markers: what they say about a test, and what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from orchestrator.pytest_plugin.settings import RESET, Sketch

MARKERS = (
    "orchestrator(variant=…, reset=…, snapshot=…, keep=True): the variant of the topology, the reset level, the "
    "snapshot that this test needs, and whether the machines stay at the end",
    "machine(*names): the machines that the fixture `machine` stands for, one test for each",
    "slow_emulated: takes long where machines are emulated; -m 'not slow_emulated' leaves it out",
    "needs_kvm: skipped where machines are emulated",
    "fault(*names): faults of the topology that are on while the test runs",
    "accepts_sign(*patterns): a log line of these patterns does not fail the test",
)
VARIANT = "orchestrator_variant"  # the fixture by which the use of an environment is known
KEYS = {"variant": str, "reset": str, "snapshot": str, "keep": bool}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the markers `orchestrator` of a test and of what it is in say; the nearest wins."""

    variant: str | None = None
    reset: str | None = None
    snapshot: str | None = None
    keep: bool = False


def wanted(node: Any) -> Wanted:
    """Of an item, or of the definition that items are made of. Wrong keys and values are left out."""
    found: dict[str, Any] = {}
    for marker in node.iter_markers("orchestrator"):
        found = {**marker.kwargs, **found}
    right: dict[str, Any] = {key: value for key, value in found.items() if isinstance(value, KEYS.get(key, Wanted))}
    return Wanted(**right)


def uses_environment(item: pytest.Item) -> bool:
    """Whether a test names one of our fixtures, or a fixture that does."""
    return VARIANT in getattr(item, "fixturenames", ())


def machines_of(node: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    """The machines that the fixture `machine` stands for."""
    marker = node.get_closest_marker("machine")
    return tuple(map(str, marker.args)) if marker is not None and marker.args else known


def faults_of(item: pytest.Item) -> tuple[str, ...]:
    """The faults that are on while a test runs, those of its module and class first."""
    return tuple(str(name) for marker in reversed(list(item.iter_markers("fault"))) for name in marker.args)


def accepted(item: pytest.Item) -> frozenset[str]:
    """The log patterns that a test accepts."""
    return frozenset(name for marker in item.iter_markers("accepts_sign") for name in marker.args)


def problems(item: pytest.Item, sketch: Sketch | None) -> Iterator[str]:
    """A sentence for each mistake in the markers of a test."""
    for marker in item.iter_markers("orchestrator"):
        if marker.args:
            yield f"the marker orchestrator takes keywords only, not {marker.args[0]!r}"
        for key, value in marker.kwargs.items():
            if key not in KEYS:
                yield f"the marker orchestrator has no {key!r}; it has {', '.join(KEYS)}"
            elif not isinstance(value, KEYS[key]):
                yield f"the marker orchestrator has {key}={value!r}, which is no {KEYS[key].__name__}"
    asked = wanted(item)
    if asked.reset is not None and asked.reset not in RESET:
        yield f"reset level {asked.reset!r} does not exist; levels are {', '.join(RESET)}"
    if sketch is not None and asked.variant is not None and asked.variant not in (*sketch.variants, sketch.variant):
        yield f"variant {asked.variant!r} is not in the topology; it has {', '.join(sketch.variants) or 'none'}"
    for name in machines_of(item, ()):
        if sketch is not None and name not in sketch.machines:
            yield f"machine {name!r} is not in the topology; machines are {', '.join(sketch.machines)}"
    if faults_of(item) and not uses_environment(item):
        yield "the marker fault needs a test that uses an environment"
    names = accepted(item)
    if names:
        yield from _unknown_patterns(names)


def _unknown_patterns(names: frozenset[str]) -> Iterator[str]:
    from orchestrator.log_patterns import waivable

    known = waivable()
    for name in sorted(map(str, names)):
        if name not in known:
            yield f"log pattern {name!r} does not exist, or cannot be accepted; patterns are {', '.join(known)}"
