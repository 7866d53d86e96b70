"""Machines that were switched off on purpose: noted beside their disks, so that nobody takes them for lost.

Who switches a machine off need not hold the environment's lock, so this is not in the state. A note counts for one
process only: the next one of the machine has another identity.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from contextlib import suppress

from orchestrator.atomic import write_atomically
from orchestrator.environment.failures import last_words
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.state import EnvironmentState
from orchestrator.errors import HostError
from orchestrator.log_patterns import HALTED
from orchestrator.process_id import ProcessId
from orchestrator.procfs import boot_id
from orchestrator.vm.arguments import MachinePaths


def note_switched_off(paths: MachinePaths, process: ProcessId, how: str) -> None:
    """Note that the end of a machine's process is wanted; what was noted of it first stays.

    Args:
        how: for people, as ``shut down``.
    """
    if _noted(paths, process):
        return
    with suppress(OSError):  # it was taken down meanwhile
        write_atomically(paths.switched_off, json.dumps({"process": process.as_dict(), "how": how}))


def forget_switched_off(paths: MachinePaths) -> None:
    """It did not end."""
    paths.switched_off.unlink(missing_ok=True)


def how_switched_off(paths: MachinePaths, process: ProcessId) -> str:
    """How a machine whose process has ended was switched off; empty where it was not, or still runs."""
    if process.alive:
        return ""
    sign = last_words(paths)
    return _noted(paths, process) or ("shut down by its guest" if sign is not None and sign.name == HALTED else "")


def _noted(paths: MachinePaths, process: ProcessId) -> str:
    with suppress(OSError, ValueError, KeyError, TypeError):
        data = json.loads(paths.switched_off.read_text())
        if ProcessId.from_dict(data["process"]) == process:
            return str(data["how"])
    return ""


def machines_off(env_paths: EnvironmentPaths, state: EnvironmentState) -> dict[str, str]:
    """The machines of an environment that were switched off, and how."""
    found = {
        name: how_switched_off(env_paths.machine(name, state.run_folder), known.process)
        for name, known in state.machines.items()
    }
    return {name: how for name, how in found.items() if how}


def can_go_on(env_paths: EnvironmentPaths, state: EnvironmentState) -> bool:
    """Whether all machines that do not run were switched off: then they can be started again."""
    started = set(state.machines) == set(state.topology.machines)
    off = machines_off(env_paths, state)
    return (
        started
        and all(known.process.alive or name in off for name, known in state.machines.items())
        and all(known.process.boot_id == boot_id() for known in state.machines.values())
        and all(network.alive for network in state.networks.values())
    )


def not_running(env_paths: EnvironmentPaths, state: EnvironmentState, name: str) -> HostError:
    """The error of a command that needs a machine which does not run."""
    how = machines_off(env_paths, state).get(name, "")
    return HostError(
        f"machine {name} is {'off' if how else 'not running any more'}",
        why=f"it was {how}" if how else "its process has ended",
        hint=f"orchestrator -n {env_paths.name} power on {name}",
        subject=name,
    )


def ended_machines(state: EnvironmentState, names: Collection[str] = ()) -> list[str]:
    """The machines that were started and do not run, in the order of the topology; of these, if names are given."""
    wanted = names or state.machines
    return [name for name, known in state.machines.items() if name in wanted and not known.process.alive]
