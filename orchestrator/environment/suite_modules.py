"""A suite's node_modules in its machine: a large one as a disk, made once for its content, a small one as a copy."""

from __future__ import annotations

from contextlib import AsyncExitStack

from orchestrator.deadline import Deadline
from orchestrator.environment.suite_run import SuiteRun
from orchestrator.errors import OrchestratorError
from orchestrator.guest.files import PutOptions, put
from orchestrator.guest.plug import plugged
from orchestrator.images.folder_disk import FolderSize, folder_disk, measure
from orchestrator.text import size_text
from orchestrator.topology.model import Suite

NODE_MODULES = "node_modules"
LARGE_BYTES, LARGE_ENTRIES = 24 << 20, 2000  # from here on a copy costs more than a disk
CACHE_NAME = "suite-modules"


def large(suite: Suite) -> FolderSize | None:
    """The suite's node_modules, where it is to become a disk; None for a small one, or none."""
    folder = suite.path / NODE_MODULES
    if not folder.is_dir():
        return None
    found = measure(folder)
    big = found.size > LARGE_BYTES or found.entries > LARGE_ENTRIES
    return found if big else None


async def bring_modules(run: SuiteRun, size: FolderSize, stack: AsyncExitStack, deadline: Deadline) -> None:
    """Plug a large node_modules into the suite's folder until ``stack`` ends; copied where the machine takes no disk.

    Raises:
        GuestCommandError, MachineError: it cannot be brought there in either way.
    """
    live, source = run.machine, run.suite.path / NODE_MODULES
    place = f"{run.guest_folder}/{NODE_MODULES}"
    try:
        disk, cached = await folder_disk(source, size, name=CACHE_NAME, deadline=deadline)
        await stack.enter_async_context(plugged(live.monitor, live.agent, disk, place, scale=run.scale))
    except OrchestratorError as error:
        message = f"{source} could not be plugged in and is copied: {error.brief}"
        run.note("warning", message)
        await put(await live.ssh(), source, place, deadline=deadline, options=PutOptions(run.suite.user))
        return
    how = "the disk made before" if cached else "made a disk"
    message = f"node_modules of the suite ({size_text(size.size)}, {size.entries} files): {how}, plugged in"
    run.note("info", message)
