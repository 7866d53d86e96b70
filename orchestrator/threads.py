"""Blocking calls outside the event loop, each in its own thread.

asyncio's own pool has a few shared threads: a few slow calls there delay every
other one, whatever its limit, and one that never returns blocks the end of the
program. Here a call begins at once, however many others
there are, and a thread that is not done when the program ends is left behind.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


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
