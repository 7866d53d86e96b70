"""What happens after a message is stored: its embedding, and the assistant's answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any

import asyncpg

from alicia_standin.config import Config
from alicia_standin.hub import Hub
from alicia_standin.peers import PeerError, Peers
from alicia_standin.store import Row, Store

HISTORY = 40
"""How many of the latest messages the LLM is given."""

log = logging.getLogger("alicia")


class Background:
    """Work that goes on after a request was answered. Its failures are logged, never raised."""

    def __init__(self, config: Config, store: Store, peers: Peers, hub: Hub) -> None:
        self._config = config
        self._store = store
        self._peers = peers
        self._hub = hub
        self._tasks: set[asyncio.Task[None]] = set()

    def stored(self, message: Row) -> None:
        """Tell the listeners of a message and fetch its embedding."""
        self._hub.publish(message["conversation_id"], message)
        if message["contents"].strip():
            self._start(self._embed(message))

    def answer(self, message: Row) -> None:
        """Let the LLM answer to a message of the user."""
        self._start(self._answer(message["conversation_id"]))

    async def close(self, seconds: float) -> None:
        """Give what is under way, and what follows from it, ``seconds`` to end; then cancel the rest."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._tasks:
                    await asyncio.wait(self._tasks)
        late = tuple(self._tasks)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except (PeerError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            log.warning("in the background: %s", error)
        except Exception:
            log.exception("in the background")

    async def _embed(self, message: Row) -> None:
        vector = await self._peers.embed(message["contents"])
        await self._store.put_embedding(message["id"], self._config.embedding.model, vector)

    async def _answer(self, conversation: str) -> None:
        history = [
            {"role": message["role"], "content": message["contents"]}
            for message in await self._store.messages(conversation)
            if message["contents"]
        ]
        # Stored empty first: its place in the conversation is right behind the
        # question, and it stays there when the LLM fails.
        message = await self._store.add_message(conversation, "assistant", "")
        try:
            contents = await self._peers.chat_patiently(history[-HISTORY:])
        except PeerError as error:
            log.warning("no answer to conversation %s: %s", conversation, error)
        else:
            message = await self._store.set_contents(message["id"], contents)
        self.stored(message)
