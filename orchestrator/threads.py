"""Blocking calls outside the event loop, each in its own thread.

asyncio's own pool has a few shared threads: a few slow calls there delay every
other one, whatever its limit, and one that never returns blocks the end of the
program. Here a call begins at once, however many others
there are, and a thread that is not done when the program ends is left behind.

The waits of the main thread are here too. Python looks for signals between two steps and when a blocking call is
interrupted. One that comes as a blocking call begins waits for that call's end, which may be never: so no wait is
longer than `LOOK`.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

from orchestrator.deadline import FOREVER, Deadline

P = ParamSpec("P")
T = TypeVar("T")

LOOK = 0.2
"""Seconds after which a signal is seen at the latest."""


def next_of(source: queue.SimpleQueue[T], limit: Deadline | None = None) -> T:
    """The next of a queue. Signals interrupt it, and what they raise leaves the queue whole.

    Raises:
        queue.Empty: nothing came within the limit.
    """
    limit = limit or Deadline.after(FOREVER)
    while True:
        left = limit.left
        try:
            return source.get(timeout=min(LOOK, left))
        except queue.Empty:
            if left <= LOOK:
                raise


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the call returns or raises. After a cancellation nobody waits for it, and it runs to its end."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    context = contextvars.copy_context()

    def tell(result: T | None, error: BaseException | None) -> None:
        if done.done():  # nobody waits any more
            return
        if error is None:
            done.set_result(result)  # type: ignore[arg-type]
        else:
            done.set_exception(error)

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = context.run(function, *args, **kwargs)
        except StopIteration as stopped:  # a future does not take it
            error = RuntimeError("a blocking call raised StopIteration")
            error.__cause__ = stopped
        except BaseException as raised:  # noqa: BLE001 - it is the caller's
            error = raised
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell, result, error)

    threading.Thread(target=run, daemon=True, name=getattr(function, "__qualname__", "call")).start()
    return await done
