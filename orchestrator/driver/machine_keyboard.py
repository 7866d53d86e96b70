"""What is typed at a machine: keys, and the serial console."""

from __future__ import annotations

import asyncio
import fcntl
import sys
import termios

from orchestrator.deadline import pause
from orchestrator.driver.keys import BETWEEN, chord, keys_of, press
from orchestrator.driver.machine_power import PowerCommands
from orchestrator.errors import MachineError

TAKEN = 0.01  # seconds between looks whether the guest has taken what was typed


class Keyboard(PowerCommands):
    """Keys, and the serial console."""

    async def send_key(self, key: str, delay: float = BETWEEN) -> None:
        """Press a key or a chord, and release it.

        Args:
            key: QEMU's names, joined by ``-``: ``ret``, ``ctrl-alt-f2``; a single character; a scan code ``0x1c``.
            delay: seconds to wait afterwards.

        Raises:
            UsageError, MachineError: there is no such key.
        """
        await self._press(chord(key))
        await asyncio.sleep(delay)

    async def send_chars(self, text: str, delay: float = BETWEEN) -> None:
        """Type a text on a keyboard with the US layout. The guest must use this layout.

        Args:
            delay: seconds between keys.

        Raises:
            UsageError: a character that the layout does not have; nothing is typed then.
        """
        for keys in [keys_of(character) for character in text]:
            await self._press(keys)
            await asyncio.sleep(delay)

    async def _press(self, keys: list[str]) -> None:
        await press(await self._monitor(), keys)

    async def send_console(self, text: str) -> None:
        """Type a text on the serial console, as on a terminal that is connected to it.

        Raises:
            MachineError: somebody else is connected to it.
        """
        await self._monitor()

        async def send() -> None:
            _, writer = await asyncio.open_unix_connection(str(self._live.paths.console))
            writer.write(text.encode())
            await writer.drain()
            # QEMU takes it as the guest's serial port does, and forgets the rest when we go.
            while _unread(writer.get_extra_info("socket").fileno()):
                await pause(TAKEN, limit)
            writer.close()
            await writer.wait_closed()

        limit = self._deadline(10)
        try:
            async with limit.enforce(lambda: MachineError(f"the console of {self.name} does not take input")):
                await send()
        except OSError as error:
            raise MachineError(f"the console of {self.name} cannot be reached", why=str(error)) from error


def _unread(descriptor: int) -> int:
    """Whether the other end of a socket has still to read what was sent; in bytes, with the kernel's own."""
    found = fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(found, sys.byteorder)
