"""What is called on a host, by name. Imported by Dask workers; all of it runs on the loop of one."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.codec import decode, encode
from orchestrator.fleet.offers import offer_of
from orchestrator.fleet.orders import Contract, Order
from orchestrator.fleet.session import Session

if TYPE_CHECKING:
    from distributed import Worker

Data = Mapping[str, Any]

# By run and by the worker's address: a test has the workers of many hosts in one process.
_sessions: dict[tuple[str, str], Session] = {}


def topic_of(run: str) -> str:
    """Where hosts tell what happens in a run."""
    return f"orchestrator-{run}"


async def offer(host: str) -> dict[str, Any]:
    """What this host has for guests."""
    found = encode(await offer_of(host))
    assert isinstance(found, dict)
    return found


async def sees(folder: str) -> bool:
    """Whether a folder is here, and can be written."""
    return os.access(folder, os.W_OK)


async def hold(contract: Data) -> dict[str, Any]:
    """Be there for the cells of a run until `close`, or until nobody answers any more."""
    from distributed import get_worker

    worker = get_worker()
    known = decode(contract, Contract, "contract")
    topic = topic_of(known.run)

    def tell(message: dict[str, object]) -> None:
        worker.log_event(topic, {**message, "host": known.host})

    session = Session(known, tell)
    _sessions[known.run, worker.contact_address] = session
    try:
        return {"closed": await session.hold()}
    finally:
        del _sessions[known.run, worker.contact_address]


async def run_cell(order: Data) -> dict[str, Any]:
    """One attempt of a cell."""
    from distributed import get_worker

    known = decode(order, Order, "order")
    session = _sessions.get((known.run, get_worker().contact_address))
    if session is None:
        return {"refused": "the host does not take part in this run any more"}
    found = encode(await session.run(known))
    assert isinstance(found, dict)
    return found


# The keyword is Dask's: it brings the worker that is asked.


async def answer(run: str, number: int, dask_worker: Worker) -> None:
    """Say that we are there."""
    if session := _sessions.get((run, dask_worker.contact_address)):
        session.answer(number)


async def close(run: str, dask_worker: Worker) -> list[str]:
    """End all cells of a run in order, and take no more of them; what could not be ended."""
    session = _sessions.get((run, dask_worker.contact_address))
    return await session.close() if session else []


async def end_all(address: str) -> None:
    """End the cells of every run that a worker has: it is about to leave."""
    for session in [one for (_, where), one in _sessions.items() if where == address]:
        await session.close()
