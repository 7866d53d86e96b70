"""Copies as the tests make them: this host is both ends, a real sshd between them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fake_qemu import run_async
from real_sshd import Server

from orchestrator.deadline import Deadline
from orchestrator.guest.copy_entries import Tally
from orchestrator.guest.files import between, get, inspect, put
from orchestrator.guest.ssh import Ssh, connect

Copy = Callable[[Ssh, Path, Path], Awaitable[Tally]]


def with_ssh(server: Server, work: Callable[[Ssh], Awaitable[None]], limit: float = 120) -> None:
    async def scenario() -> None:
        ssh = await connect(server.target, Deadline.after(30))
        try:
            await work(ssh)
        finally:
            await ssh.close()

    run_async(scenario(), limit)


@contextmanager
def large_file(path: Path, size: int = 1 << 30) -> Iterator[Path]:
    """A file of zeros that are no holes, for the block: its room is taken from the disk, but nothing is written."""
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, size)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def soon() -> Deadline:
    return Deadline.after(60)


async def into(ssh: Ssh, source: Path, target: Path) -> Tally:
    return await put(ssh, source, str(target), deadline=soon())


async def out(ssh: Ssh, source: Path, target: Path) -> Tally:
    return await get(ssh, str(source), target, deadline=soon())


async def across(ssh: Ssh, source: Path, target: Path) -> Tally:
    other = await connect(ssh.target, Deadline.after(30))
    try:
        tally = Tally()
        found = await inspect(ssh, str(source), deadline=soon())
        await between(found, other, str(target), deadline=soon(), tally=tally)
        return tally
    finally:
        await other.close()


DIRECTIONS = pytest.mark.parametrize("copy", [into, out, across])
