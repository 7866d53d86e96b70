"""Who listens to which conversation, inside this process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

QUEUE = 256
Message = Mapping[str, object]


class Listener:
    """One connection: what waits to be sent to it, and whether it must end.

    A listener that does not keep up is ended; it reconnects and reads the list
    of messages again, which is better than a gap it does not know of.
    """

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Message | None] = asyncio.Queue(QUEUE + 1)
        self.conversations: set[str] = set()
        self.ended = False

    def put(self, message: Message) -> None:
        """Queue a message, or end the listener when the queue is full."""
        if self.ended:
            return
        if self._queue.qsize() >= QUEUE:
            self.end()
        else:
            self._queue.put_nowait(message)

    def end(self) -> None:
        """Let `get` give None after what is already queued."""
        if not self.ended:
            self.ended = True
            self._queue.put_nowait(None)

    async def get(self) -> Message | None:
        """The next message; None means: close the connection."""
        return await self._queue.get()


class Hub:
    """All listeners. Messages of a conversation go to those that subscribed to it."""

    def __init__(self) -> None:
        self._listeners: set[Listener] = set()
        self._closed = False

    def add(self, listener: Listener) -> None:
        self._listeners.add(listener)
        if self._closed:
            listener.end()

    def remove(self, listener: Listener) -> None:
        self._listeners.discard(listener)

    def publish(self, conversation_id: str, message: Message) -> None:
        """Tell everyone who subscribed that ``message`` was stored."""
        event = {"type": "message", "message": message}
        for listener in tuple(self._listeners):
            if conversation_id in listener.conversations:
                listener.put(event)

    def close(self) -> None:
        """End every listener, and each that comes later."""
        self._closed = True
        for listener in tuple(self._listeners):
            listener.end()
