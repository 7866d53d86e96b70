"""What the tests of the last look do and expect."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from supervisor_scene import World, up

from orchestrator.deadline import Deadline
from orchestrator.errors import OrchestratorError, ServiceError


async def confirm(world: World) -> None:
    await world.services.verify_still_healthy(Deadline.after(10))


async def ready(world: World) -> None:
    """As a cold start comes to READY."""
    await up(world)
    await heard(world)
    await confirm(world)


async def heard(world: World) -> None:
    """Return when the followers of the journals have read what was written so far."""
    for machine in world.machines.values():
        journal = world.services._reach.journals[machine.name]
        machine.say("mark.service", "mark")
        await journal.wait_for_entry("mark.service")


async def disproved(world: World, work: Callable[[World], Awaitable[None]] = confirm) -> OrchestratorError:
    with pytest.raises(ServiceError) as caught:
        await work(world)
    return caught.value
