"""Which saved state a start can begin with, and what has to happen again; the whole tree of reasons."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.environment.saving import default_store
from orchestrator.snapshots.key import differences, inputs_of_stage, key_of
from orchestrator.snapshots.store import Snapshot, SnapshotStore
from orchestrator.text import size_text
from orchestrator.topology.model import Topology
from orchestrator.topology.stages import HEALTHY, Stage, stages_of

_PART = re.compile(r"(layer \S+) of \S+|(service \S+)|(image \S+)|(file \S+) of \S+")


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a start depends on: the topology, and the values of `orchestrator.snapshots.key.inputs_of`."""

    topology: Topology
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Choice:
    """A saved state to start from; ``stage``: how far it has come."""

    snapshot: Snapshot
    stage: Stage


@dataclass(frozen=True, slots=True)
class StageFit:
    """A stage beside what is saved.

    Attributes:
        snapshot: the state that fits; None: there is none.
        changed: the inputs that differ from the last one that was saved at this stage.
        reason: why none fits, where nothing differs: it was never saved, or is damaged.
    """

    stage: Stage
    snapshot: Snapshot | None
    changed: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class Decision:
    """How a start begins.

    Attributes:
        fits: every stage, the deepest first, up to the one that is taken.
        again: the services that start again, in the order of the file.
    """

    fits: Sequence[StageFit]
    again: tuple[str, ...]
    total: int

    @property
    def choice(self) -> Choice | None:
        """What is taken; None: a cold start."""
        last = self.fits[-1]
        return Choice(last.snapshot, last.stage) if last.snapshot is not None else None

    @property
    def why(self) -> str:
        """Why the healthy state does not do."""
        return reason_of(self.fits[0])

    @property
    def text(self) -> str:
        """One line for people."""
        choice = self.choice
        if choice is None:
            return f"cold start: {self.why}"
        where = "memory" if choice.snapshot.kind == "tmpfs" else "disk"
        saved = f"{size_text(choice.snapshot.size)} in {where}, {choice.snapshot.folder.name}"
        if choice.stage.name == HEALTHY:
            return f"start from the saved healthy state ({saved})"
        count = f"{len(self.again)} of {self.total} services start again"
        first = self.fits[0]
        what = f"{changed_text(first.changed)} changed" if first.changed else first.reason
        return f"{what}: from stage {choice.stage.name}, {count} ({saved})"


def decide(environment: str, planned: Inputs, store: SnapshotStore | None = None) -> Decision:
    """Look for the deepest stage of which a saved state fits.

    Args:
        environment: whose last states say what changed since.
    """
    store = default_store() if store is None else store
    stages = stages_of(planned.topology)
    fits = []
    for stage in reversed(stages):
        fits.append(_fit(environment, planned, stage, store))
        if fits[-1].snapshot is not None:
            break
    reached = fits[-1].stage.services if fits[-1].snapshot is not None else frozenset[str]()
    again = tuple(name for name in planned.topology.services if name not in reached)
    return Decision(tuple(fits), again, len(planned.topology.services))


def _fit(environment: str, planned: Inputs, stage: Stage, store: SnapshotStore) -> StageFit:
    inputs = inputs_of_stage(planned.values, planned.topology, stage)
    key = key_of(inputs)
    found = store.at_stage(stage.name, key)
    if found is not None:
        return StageFit(stage, found, (), "")
    damaged = store.damaged(stage.name, key)
    last = store.last_at(environment, stage.name)
    if damaged:
        return StageFit(stage, None, (), f"the saved {stage.name} state is damaged ({damaged[0].problem})")
    if last is None or last.manifest is None:
        return StageFit(stage, None, (), f"no {stage.name} state was saved yet")
    return StageFit(stage, None, tuple(differences(last.manifest.inputs, inputs)), "")


def reason_of(fit: StageFit) -> str:
    """Why no state of a stage fits, in one line."""
    if fit.changed:
        return f"the saved state does not fit, changed since: {', '.join(fit.changed)}"
    return fit.reason


def changed_text(changed: Sequence[str]) -> str:
    """The inputs that changed, each thing once. Pure.

    >>> changed_text(["layer app of client", "layer app of server", "service backend"])
    'layer app, service backend'
    """
    names = [
        next((group for group in match.groups() if group), "") if (match := _PART.fullmatch(one)) else one
        for one in changed
    ]
    return ", ".join(dict.fromkeys(names))
