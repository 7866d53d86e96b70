"""Single keys of the terminal, while a loop of asyncio runs."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import termios
import tty
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

SEQUENCES = re.compile(rb"\x1b(\[[0-9;?]*[ -/]*[@-~]|O.|)")  # arrows, and other keys of several bytes


@contextmanager
def keys_of(descriptor: int, pressed: Callable[[str], object]) -> Iterator[None]:
    """Call ``pressed`` with each key, for the block. Ctrl-C stays a signal; the terminal is as before afterwards."""
    loop, before = asyncio.get_running_loop(), termios.tcgetattr(descriptor)

    def ready() -> None:
        found = os.read(descriptor, 64)
        if not found:
            loop.remove_reader(descriptor)  # the terminal is gone
        for key in SEQUENCES.sub(b"", found).decode("ascii", "ignore"):
            pressed(key)

    tty.setcbreak(descriptor, termios.TCSADRAIN)
    loop.add_reader(descriptor, ready)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def choose_machine(names: Sequence[str], descriptor: int) -> str | None:
    """The machine whose number is pressed; the only one, if there is one. None for any other key."""
    if len(names) == 1:
        return names[0]
    sys.stderr.write("shell in " + "  ".join(f"{number} {name}" for number, name in enumerate(names, 1)) + " ? ")
    sys.stderr.flush()
    key = os.read(descriptor, 1).decode("ascii", "ignore")
    sys.stderr.write("\n")
    return names[int(key) - 1] if key.isdigit() and 0 < int(key) <= len(names) else None
