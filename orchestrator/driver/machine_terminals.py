"""What a machine shows as text: virtual terminals, the titles of windows, the serial console."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from orchestrator.deadline import pause
from orchestrator.driver.machine_answers import compiled
from orchestrator.driver.machine_keyboard import Keyboard
from orchestrator.driver.machine_units import WAIT
from orchestrator.driver.results import Seconds, WaitFailed
from orchestrator.driver.shell import tty_text
from orchestrator.errors import GuestCommandError

LIST_WINDOWS = "xwininfo -root -tree"


class Terminals(Keyboard):
    """Texts of terminals and titles of windows."""

    async def tty_text(self, tty: str | int = "1") -> str:
        """The text of a virtual terminal, exactly, line by line.

        Args:
            tty: its number.

        Raises:
            GuestCommandError: there is none.
        """
        live = await self._up()
        result = await self._call(live.agent.exec(tty_text(str(tty)), deadline=self._deadline(WAIT)))
        if result.code != 0:
            raise GuestCommandError(f"tty{tty} of {self.name} cannot be read", why=result.complaint)
        return result.text

    async def wait_until_tty_matches(self, tty: str | int, regex: str, timeout: Seconds | None = WAIT) -> str:
        """Wait until a virtual terminal shows a text.

        Args:
            regex: for `re.search`, without flags.

        Returns:
            What matched.

        Raises:
            WaitFailed: the limit passed; with the last text.
        """
        pattern = compiled(regex)
        last = ""

        async def look() -> str | None:
            nonlocal last
            last = await self.tty_text(tty)
            found = pattern.search(last)
            return found[0] if found else None

        await self._up()
        return await self._look_until(look, timeout, f"tty{tty} of {self.name} shows no /{regex}/", lambda: last, 0.2)

    async def window_names(self) -> list[str]:
        """The titles of all windows of the X server, as xwininfo tells them.

        Raises:
            CommandFailed: there is no X server, or no xwininfo.
        """
        return _titles(await self.succeed(LIST_WINDOWS))

    async def wait_for_window(self, regex: str, timeout: Seconds | None = WAIT) -> str:
        """Wait until there is a window.

        Args:
            regex: of its title, for `re.search`, without flags.

        Returns:
            The title.

        Raises:
            WaitFailed: the limit passed; with the titles there are.
        """
        pattern = compiled(regex)
        last: list[str] = []

        async def look() -> str | None:
            nonlocal last
            code, text = await self.execute(LIST_WINDOWS)
            last = _titles(text) if code == 0 else []
            return next((title for title in last if pattern.search(title)), None)

        what = f"no window of {self.name} is named /{regex}/"
        return await self._look_until(look, timeout, what, lambda: "\n".join(last), 0.2)

    async def wait_for_x(self, timeout: Seconds | None = WAIT) -> None:
        """Wait until the graphical session is up: its target is reached, and the X server listens.

        Raises:
            WaitFailed: the limit passed.
        """
        reached = "journalctl -b SYSTEMD_UNIT=graphical-session.target + UNIT=graphical.target + "
        reached += "USER_UNIT=graphical-session.target --grep='Reached target .*[Gg]raphical' -q -n 1 | grep -q ."
        await self.wait_until_succeeds(f"{reached} && [ -e /tmp/.X11-unix/X0 ]", timeout)

    async def expect_console(self, regex: str, timeout: Seconds | None = WAIT) -> str:
        """Wait for a text on the serial console; see `wait_for_console_text`."""
        return await self.wait_for_console_text(regex, timeout)

    async def _look_until(
        self,
        look: Callable[[], Awaitable[str | None]],
        timeout: Seconds | None,
        what: str,
        last: Callable[[], str],
        interval: float,
    ) -> str:
        deadline = self._deadline(timeout)

        def late() -> WaitFailed:
            lines = [line for line in last().splitlines() if line.strip()]
            return WaitFailed(f"{what} after {deadline}", evidence=lines[-30:], subject=self.name)

        async with deadline.enforce(late):
            while True:
                found = await look()
                if found is not None:
                    return found
                await pause(self._fleet.scale.reply(interval), deadline)


def _titles(text: str) -> list[str]:
    """The titles in the output of `LIST_WINDOWS`. Pure."""
    return re.findall(r'^\s*0x[0-9a-f]+ "(.*?)":', text, re.MULTILINE)
