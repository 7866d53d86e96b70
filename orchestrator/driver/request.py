"""What an environment is opened with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.environment.lock import command_text
from orchestrator.environment.paths import EnvironmentPaths, environments
from orchestrator.environment.plan import Request, complete_topology
from orchestrator.environment.state import read_state
from orchestrator.errors import HostError, UsageError

KEEP = ("never", "failure", "always")
START = ("auto", "warm", "cold")


def checked(what: str, value: str, choices: tuple[str, ...]) -> str:
    """A value that is among its choices.

    Raises:
        UsageError: it is not.
    """
    if value not in choices:
        raise UsageError(f"{what}={value!r} is not among its choices", why=f"choices are {', '.join(choices)}")
    return value


def from_file(  # noqa: PLR0913 - the keywords of `Environment.load`
    file: str | Path,
    *,
    variant: str | None,
    name: str | None,
    layers: Mapping[str, str | Path],
    suite: str | Path | None,
    start: str,
    images: str,
    runs: str | Path,
) -> Request:
    """The request for a topology file.

    Raises:
        TopologyError, UsageError: what is wrong with it.
    """
    checked("start", start, START)
    topology = complete_topology(
        Path(file),
        variant=variant,
        layers={layer: Path(folder) for layer, folder in layers.items()},
        suite=None if suite is None else Path(suite),
    )
    return Request(
        topology=topology,
        name=name or topology.name,
        provider=images,
        runs=Path(runs),
        command=command_text(),
        start=start,
    )


def of_running(name: str | None, runs: str | Path) -> Request:
    """The request for an environment that runs already: what it was started with.

    Raises:
        UsageError: which one is not clear.
        HostError: it does not run.
    """
    chosen = name or _only_one()
    state = read_state(EnvironmentPaths.of(chosen).state)
    if state is None or not state.any_alive:
        raise HostError(f"environment {chosen} does not run", hint=f"orchestrator -n {chosen} up")
    return Request(
        topology=state.topology,
        name=chosen,
        provider=state.provider,
        runs=Path(runs),
        command=command_text(),
    )


def _only_one() -> str:
    known = environments()
    if len(known) == 1:
        return known[0]
    why = f"environments are {', '.join(known)}" if known else "there is no environment"
    raise UsageError("which environment?", why=why, hint='attach("NAME")')
