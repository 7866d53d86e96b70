"""Hosts of a fleet: how one joins, what it sees of our files, how evidence comes home. This host is the first one."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from orchestrator.codec import decode
from orchestrator.deadline import Deadline
from orchestrator.errors import HostError
from orchestrator.fleet.needs import Offer
from orchestrator.fleet.orders import Times
from orchestrator.process import child, describe_exit, reaped, tail
from orchestrator.tasks import Later

JOINING = 60.0  # seconds from the start of a worker until it has joined


Tell = Callable[[str], None]


async def _nothing(tell: Tell) -> None:
    """A host that sees our files lacks nothing."""
    del tell


@dataclass(frozen=True, slots=True)
class Joined:
    """A host that takes part.

    Attributes:
        address: of its worker, for the engine.
        gone: returns when the worker has ended, with the reason.
        state, cache: its folders.
        prepare: gives it what cells need, and tells what it does. Raises `HostError` if the host is not fit.
    """

    address: str
    offer: Offer
    gone: Callable[[], Awaitable[str]]
    state: str = ""
    cache: str = ""
    prepare: Callable[[Tell], Awaitable[None]] = _nothing


class Host(Protocol):
    """A host that cells may run on."""

    name: str

    def join(self, invitation: Later[dict[str, Any]], times: Times) -> AbstractAsyncContextManager[Joined]:
        """Let it take part for the block. At its end the host ends what it still runs, in order.

        Args:
            invitation: the engine's, as soon as it has one. The host gets ready meanwhile.

        Raises:
            HostError: it cannot.
        """

    def there(self, path: Path) -> str:
        """What a path of ours, below the folder that travels, is called on the host."""

    def folder(self, run_folder: Path, attempt: str) -> Path:
        """Where an attempt leaves its run folder: absolute, or relative to the host's own state folder."""

    async def bring(self, folder: str, home: Path, *, whole: bool) -> None:
        """Bring the folder of an attempt home; without ``whole``, what every report needs.

        Raises:
            HostError: it cannot be reached.
        """

    async def discard(self, folder: str) -> None:
        """Remove the folder of an attempt there, when what is wanted of it is at home."""


class SeesOurFiles:
    """Of a host: it has our files at the same places, and evidence is at home already."""

    def there(self, path: Path) -> str:
        return str(path)

    def folder(self, run_folder: Path, attempt: str) -> Path:
        return run_folder / "cells" / attempt

    async def bring(self, folder: str, home: Path, *, whole: bool) -> None:  # noqa: ARG002 - it is there
        return None

    async def discard(self, folder: str) -> None:  # noqa: ARG002 - it is home
        return None


class LocalHost(SeesOurFiles):
    """This host."""

    def __init__(self, log: Path, name: str = "local") -> None:
        self.name = name
        self._log = log

    @asynccontextmanager
    async def join(self, invitation: Later[dict[str, Any]], times: Times) -> AsyncIterator[Joined]:
        argv = [sys.executable, "-m", "orchestrator.fleet.worker"]
        with self._log.open("ab") as log:
            async with worker(argv, self.name, invitation, times, log=log, errors=self._log) as joined:
                yield joined


@asynccontextmanager
async def worker(
    argv: list[str], host: str, invitation: Later[dict[str, Any]], times: Times, *, log: Any, errors: Path
) -> AsyncIterator[Joined]:
    """Run a worker for the block; the end of its stdin ends it and, before it, all its cells.

    Args:
        argv: its command, here or through ssh.
        invitation: its first line of stdin. Secrets are in it, and in no argument.
        log: takes its stderr; ``errors`` is the path of it.
    """
    async with child(
        argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, grace=2 * times.ending
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        limit = Deadline.after(JOINING)

        def silent() -> HostError:
            return HostError(f"host {host} did not join within {limit}", evidence=tail(errors, 5))

        async with limit.enforce(silent):
            told = {**await invitation.wait(), "host": host}
            with suppress(BrokenPipeError, ConnectionResetError):
                process.stdin.write(json.dumps(told).encode() + b"\n")
                await process.stdin.drain()
            line = await process.stdout.readline()
        answer = _answer(line)
        if answer is None:
            await reaped(process)
            raise HostError(
                f"host {host} cannot take part",
                why=f"its worker {describe_exit(process.returncode or 0)}",
                evidence=tail(errors, 10),
                where=[str(errors)],
            )

        async def gone() -> str:
            await reaped(process)
            return f"its worker {describe_exit(process.returncode or 0)}"

        try:
            offer = decode(answer["offer"], Offer, "offer")
            yield Joined(answer["address"], offer, gone, answer["state"], answer["cache"])
        finally:
            process.stdin.close()
            with suppress(HostError):
                async with Deadline.after(2 * times.ending).enforce(silent):
                    await asyncio.shield(reaped(process))


def _answer(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and "address" in found else None
