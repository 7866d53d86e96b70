"""A pipe between two threads: what one connection gives, another takes, never more than a little in between."""

from __future__ import annotations

import threading
from collections import deque

ROOM = 4 << 20  # bytes on their way


class AbandonedError(Exception):
    """The reader went away; there is nobody to write for."""


class Pipe:
    """Bytes in chunks. `put` waits while the pipe is full, `take` while it is empty."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._error: BaseException | None = None
        self._abandoned = False
        self._changed = threading.Condition()

    def put(self, chunk: bytes) -> None:
        """Write.

        Raises:
            AbandonedError: the reader went away.
        """
        if not chunk:
            return
        with self._changed:
            self._changed.wait_for(lambda: self._held < self._room or self._abandoned)
            if self._abandoned:
                raise AbandonedError("nobody reads any more")
            self._chunks.append(chunk)
            self._held += len(chunk)
            self._changed.notify_all()

    def finish(self, error: BaseException | None = None) -> None:
        """The end; with an error, that is what the reader gets instead of it. The first call counts."""
        with self._changed:
            if not self._ended:
                self._ended, self._error = True, error
            self._changed.notify_all()

    def take(self) -> bytes:
        """Read the next chunk; an empty one at the end.

        Raises:
            BaseException: what the writer ended with.
        """
        with self._changed:
            self._changed.wait_for(lambda: bool(self._chunks) or self._ended)
            if not self._chunks:
                if self._error is not None:
                    raise self._error
                return b""
            chunk = self._chunks.popleft()
            self._held -= len(chunk)
            self._changed.notify_all()
            return chunk

    def cancel(self) -> None:
        """Nothing more is read."""
        with self._changed:
            self._abandoned = True
            self._chunks.clear()
            self._held = 0
            self._changed.notify_all()
