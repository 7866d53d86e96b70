"""What a run is made of, told as digests: runs whose digests are equal ran the same thing."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.errors import OrchestratorError
from orchestrator.events import EventBus
from orchestrator.events.run import RevisionFound
from orchestrator.images.folder_disk import measure
from orchestrator.process import run
from orchestrator.snapshots.key import layer_input
from orchestrator.tasks import run_all
from orchestrator.threads import in_thread
from orchestrator.topology.model import Topology

GIT_LIMIT = 10.0  # seconds for the commit of a folder: it is only a label
DIGEST_LENGTH = 32
NOT_THE_SUITE = (".git", "node_modules", "test-results", "playwright-report", "__pycache__")
OF_TOPOLOGY = ("topology", "service ", "file ", "kernel parameters")


async def tell_revisions(topology: Topology, inputs: Mapping[str, str], bus: EventBus) -> None:
    """Emit what the run is made of, as far as no other event says it.

    Args:
        inputs: of `orchestrator.snapshots.key.inputs_of`, for these machines as they were started.
    """
    suites = [] if topology.suite is None else [topology.suite.path]
    commits = await _commits([topology.root, *(layer.source for layer in topology.layers.values()), *suites])
    digest = topology_digest(topology, inputs)
    bus.emit(RevisionFound("topology", digest=digest, label=commits[topology.root]))
    for layer in topology.layers.values():
        had = next((inputs[key] for name in topology.machines if (key := layer_input(layer.name, name)) in inputs), "")
        if had:
            digest = had.partition(" ")[0]
            label, folder = commits[layer.source], str(layer.source)
            bus.emit(RevisionFound(f"layer {layer.name}", digest=digest, label=label, folder=folder))
    if topology.suite is not None:
        path = topology.suite.path
        try:
            found = await in_thread(partial(measure, path, NOT_THE_SUITE, read=True))
        except OSError:
            return  # whoever copies it says why it cannot be read
        bus.emit(RevisionFound("suite", digest=found.key, label=commits[path], folder=str(path)))


def topology_digest(topology: Topology, inputs: Mapping[str, str]) -> str:
    """One name for what the file says of machines, services, checks and the suite's command. Pure.

    Where things lie on the host does not matter.
    """
    own = {name: value for name, value in inputs.items() if name.startswith(OF_TOPOLOGY)}
    checks = {name: [repr(service.checks), service.timeout] for name, service in topology.services.items()}
    suite = topology.suite
    tests = None
    if suite is not None:
        tests = [suite.machine, suite.command, suite.user, dict(suite.environment), suite.timeout, repr(suite.phases)]
    text = json.dumps([own, checks, tests], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGEST_LENGTH]


async def commit_of(folder: Path) -> str:
    """The commit that is checked out in a folder, with ``-dirty`` where tracked files differ; empty: nobody knows."""
    return (await _commits([folder]))[folder]


async def _commits(folders: Sequence[Path]) -> dict[Path, str]:
    """The same for several. Each repository is asked once: it looks at every tracked file."""
    of = {folder: _repository(folder) for folder in folders}
    repositories = list(dict.fromkeys(one for one in of.values() if one is not None))
    found = dict(zip(repositories, await run_all(*map(_described, repositories)), strict=True))
    return {folder: "" if one is None else found[one] for folder, one in of.items()}


def _repository(folder: Path) -> Path | None:
    return next((above for above in (folder, *folder.parents) if (above / ".git").exists()), None)


async def _described(repository: Path) -> str:
    argv = ["git", "-C", str(repository), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}  # it writes nothing into the repository
    try:
        found = await run(argv, deadline=Deadline.after(GIT_LIMIT), env=environment, check=False)
    except OrchestratorError:
        return ""
    return found.stdout.strip() if found.code == 0 else ""
