"""Dask's settings, without which it is not safe for machines (decision 0082); and its absence."""

from __future__ import annotations

from importlib.util import find_spec

from orchestrator.errors import HostError

SETTINGS: dict[str, object] = {
    "distributed.scheduler.allowed-failures": 0,  # whether a cell begins again is ours to say
    "distributed.scheduler.work-stealing": False,  # cells are long, few, and bound to what a host has
    "distributed.scheduler.worker-ttl": None,  # a host that emulates may be silent for long; leases decide
    "distributed.scheduler.no-workers-timeout": "60s",
    "distributed.worker.memory.target": False,  # QEMU's memory is not the worker's
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.worker.daemon": False,
    "distributed.scheduler.http.routes": [],  # nothing to see on a port
    "distributed.worker.http.routes": [],
    "distributed.admin.log-length": 100,
    # What a user has to know of it, we say.
    "logging": {
        "distributed": "critical",
        "distributed.client": "critical",
        "bokeh": "critical",
        "tornado": "critical",
    },
}


def configure_dask() -> None:
    """Set them, before anything of `distributed` is imported.

    Raises:
        HostError: Dask is not installed.
    """
    if find_spec("distributed") is None:
        raise HostError(
            "Dask distributed is not installed, and `orchestrator matrix` runs its cells with it",
            hint="python -m pip install 'orchestrator[fleet]'",
        )
    import dask

    dask.config.set(SETTINGS)
