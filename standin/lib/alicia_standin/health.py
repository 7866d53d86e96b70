"""``/health/detailed``: each service is used for real, one after the other."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable, Mapping

from alicia_standin import VERSION
from alicia_standin.config import Config
from alicia_standin.peers import Peers
from alicia_standin.store import Store

LIMIT = 5
"""Seconds for one service."""
CORE = ("database", "llm")
Health = dict[str, object]


async def report(config: Config, store: Store, peers: Peers) -> tuple[int, Health]:
    """The HTTP status and the body of the detailed health."""

    async def llm() -> None:
        await peers.chat([{"role": "user", "content": "ping"}], max_tokens=8)

    async def livekit() -> None:
        room = f"healthcheck_{time.time_ns()}"
        await peers.create_room(room)
        await peers.delete_room(room)

    async def asr() -> None:
        await peers.transcribe(silence())

    async def tts() -> None:
        await peers.synthesize("health")

    async def embedding() -> None:
        await peers.embed("health")

    services: dict[str, Health] = {
        "database": await probe(store.ping),
        "llm": await probe(llm),
        "asr": await probe(asr),
        "tts": await probe(tts),
        "embedding": await probe(embedding),
        "livekit": await probe(livekit),
    }
    status = overall(services)
    return (503 if status == "unhealthy" else 200), {
        "status": status,
        "version": VERSION,
        "services": services,
    }


async def probe(use: Callable[[], Awaitable[None]]) -> Health:
    """Use a service once: its status, the time it took in milliseconds, and why it failed."""
    started = time.monotonic()
    problem = ""
    try:
        async with asyncio.timeout(LIMIT):
            await use()
    except TimeoutError:
        problem = f"no answer within {LIMIT} s"
    except Exception as error:
        problem = str(error) or type(error).__name__
    health: Health = {
        "status": "unhealthy" if problem else "healthy",
        "latency_ms": int((time.monotonic() - started) * 1000),
    }
    if problem:
        health["error"] = problem
    return health


def overall(services: Mapping[str, Health]) -> str:
    """``unhealthy`` when a core service is, ``degraded`` when another is."""
    failed = {name for name, service in services.items() if service["status"] == "unhealthy"}
    if failed & set(CORE):
        return "unhealthy"
    return "degraded" if failed else "healthy"


def silence() -> bytes:
    """A quarter of a second of nothing, as WAV."""
    rate, samples = 16_000, bytes(8_000)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16)
    data = struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(data), b"WAVE") + form + data
