"""A user at a terminal: a command on a pseudo-terminal that is typed to and read from."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from collections.abc import Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self


class Terminal:
    """Runs a command as the leader of its own terminal; use it in a ``with`` block."""

    def __init__(self, argv: tuple[str, ...], environment: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        self.seen = ""
        self._read = 0  # how much of ``seen`` earlier expectations used up
        self.resize(80, 24)
        self.cooked = termios.tcgetattr(slave)
        self.slave = slave  # kept, to look at the terminal's modes
        self.process = subprocess.Popen(
            argv,
            env={**environment, "TERM": "xterm"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def resize(self, columns: int, rows: int) -> None:
        """Change the window; the kernel tells the command."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def keys(self, text: str) -> None:
        os.write(self._master, text.encode())

    @property
    def raw(self) -> bool:
        """Whether the terminal hands every key over as it is."""
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ISIG | termios.ECHO)

    def expect(self, pattern: str, limit: float = 90) -> str:
        """Read until the regular expression comes after what was expected before; the matching text."""
        end = time.monotonic() + limit
        while not (found := re.search(pattern, self.seen[self._read :])):
            left = end - time.monotonic()
            if left <= 0 or not self._more(left):
                raise AssertionError(f"/{pattern}/ did not come within {limit:g} s; the terminal shows:\n{self.seen}")
        self._read += found.end()
        return found[0]

    def end(self, limit: float = 15) -> int:
        """Read to the end of the command; its exit code."""
        stop = time.monotonic() + limit
        while self.process.poll() is None:
            if time.monotonic() > stop:
                raise AssertionError(f"it did not end within {limit:g} s; the terminal shows:\n{self.seen}")
            self._more(0.05)
        while self._more(0):
            pass
        return self.process.returncode

    def _more(self, limit: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], limit)
        if ready:
            with suppress(OSError):
                self.seen += os.read(self._master, 1 << 14).decode("utf-8", "replace")
                return True
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.slave)
        os.close(self._master)
