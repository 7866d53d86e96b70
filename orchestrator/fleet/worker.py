"""``python -m orchestrator.fleet.worker``: a host takes part in a fleet as long as this process lives.

Started by `orchestrator matrix`, it reads one line of JSON from stdin: where the scheduler is, and
the keys of this run. The end of stdin ends it, and before it all cells, in order. With an address as
its argument it joins a scheduler that is there already, with the keys of Dask's own configuration.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from orchestrator.errors import OrchestratorError
from orchestrator.fleet.engine import NO_DASHBOARD
from orchestrator.fleet.settings import configure_dask
from orchestrator.fleet.tasks import end_all, offer
from orchestrator.folders import cache_root, state_root
from orchestrator.tasks import run_with_watchdogs

ALL_AT_ONCE = 1024  # cells that Dask lets run; resources and we are stricter
LEAVING = 2  # seconds to tell a scheduler that may be gone
LONGEST_LINE = 1 << 20  # bytes of what we are told at the start


class _EndedError(Exception):
    """Whoever started us is gone, or wants us to end."""


async def serve(told: dict[str, Any], *, stay: bool) -> None:
    """Take part until nobody needs us.

    Args:
        told: ``scheduler``, ``host``; ``security`` and ``contact`` where they are not Dask's own.
        stay: also after stdin has ended.
    """
    from distributed import Worker
    from distributed.security import Security

    found = await offer(told["host"])
    listen, _, port = told.get("listen", "").partition(":")
    async with Worker(
        told["scheduler"],
        name=told["host"],
        security=Security(**told["security"]) if "security" in told else None,
        host=listen or None,
        port=int(port) if port else 0,
        contact_address=told.get("contact"),
        nthreads=ALL_AT_ONCE,
        resources={"memory": found["memory"], "processors": found["processors"]},
        memory_limit=0,  # QEMU's memory is not its own, and it must not judge by it
        dashboard=False,
        dashboard_address=NO_DASHBOARD,
    ) as worker:
        folders = {"state": str(state_root()), "cache": str(cache_root())}
        sys.stdout.write(json.dumps({"address": worker.contact_address, "offer": found, **folders}) + "\n")
        sys.stdout.flush()
        try:
            await run_with_watchdogs(worker.finished(), [_signalled] if stay else [_signalled, _stdin_ended])
        except _EndedError:
            pass
        finally:
            await end_all(worker.contact_address)
            await worker.close(timeout=LEAVING)


async def _stdin_ended() -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while await reader.read(4096):
        pass
    raise _EndedError


async def _signalled() -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()
    raise _EndedError


def main(words: list[str]) -> int:
    """Start as the words or stdin say."""
    configure_dask()
    import distributed  # noqa: F401 - it takes a second, which whoever invites us needs too

    if words:
        import socket

        told = {"scheduler": words[0], "host": words[1] if len(words) > 1 else socket.gethostname()}
    else:
        told = json.loads(_first_line())
    try:
        asyncio.run(serve(told, stay=bool(words)))
    except OrchestratorError as error:
        sys.stderr.write(f"{error.brief}\n")
        return error.exit_code
    return 0


def _first_line() -> bytes:
    """The first line of stdin, and not a byte more: asyncio reads on from there."""
    line = b""
    while not line.endswith(b"\n") and len(line) < LONGEST_LINE:
        byte = os.read(sys.stdin.fileno(), 1)
        if not byte:
            break
        line += byte
    return line


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
