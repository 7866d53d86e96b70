"""Screen, keyboard, virtual terminals and the serial console of a machine."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

from orchestrator.deadline import Deadline, pause
from orchestrator.driver.keys import BETWEEN, chord, keys_of, press
from orchestrator.driver.machine_power import PowerCommands
from orchestrator.driver.machine_waits import WAIT, _compiled
from orchestrator.driver.results import Seconds, WaitFailed
from orchestrator.driver.shell import tty_text
from orchestrator.errors import GuestCommandError, MachineError
from orchestrator.threads import in_thread
from orchestrator.vm.qmp import Monitor

LOOK_AT_SCREEN = 0.5  # seconds between pictures, before scaling


class Screen(PowerCommands):
    """What a person at the machine sees and types."""

    async def _monitor(self) -> Monitor:
        if self._starts_itself and not self._power.booted:
            await self._fleet.start(self.name)
        return await self._power.monitor()

    # ------------------------------------------------------------------ keyboard

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
        self._power.require_on()
        await press(await self._monitor(), keys)

    # ------------------------------------------------------------------ pictures

    async def screenshot(self, name: str | Path = "screen") -> Path:
        """A picture of the display, as PNG.

        Args:
            name: of the file; without a suffix it gets ``.png``; without a folder it goes to the run folder's
                ``artifacts``.

        Returns:
            Where it is.
        """
        path = Path(name)
        path = path if path.suffix else path.with_name(f"{path.name}.png")
        if path.parent == Path():
            path = self._fleet.session.run_folder / "artifacts" / path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._power.require_on()
        await self._call((await self._monitor()).screenshot(path))
        return path

    async def screen_text(self) -> str:
        """The text on the display, read by OCR. For text consoles `tty_text` is exact.

        Raises:
            HostError: no OCR engine is installed; the hint says how.
        """
        from orchestrator.driver.ocr import texts_of

        picture = await self._picture()
        return await in_thread(lambda: next(texts_of(picture)))

    async def wait_for_text(self, regex: str, timeout: Seconds | None = WAIT) -> str:
        """Wait until the display shows a text, read by OCR.

        Args:
            regex: for `re.search`, without flags.

        Returns:
            The text of the whole display.

        Raises:
            HostError: no OCR engine is installed.
            WaitFailed: the limit passed; with the last text.
        """
        from orchestrator.driver.ocr import texts_of

        pattern = _compiled(regex)
        seen = b""
        last = ""

        async def look() -> str | None:
            nonlocal seen, last
            picture = await self._picture()
            content = picture.read_bytes()
            if content == seen:
                return None
            seen = content

            def find() -> str | None:
                nonlocal last
                for text in texts_of(picture):
                    last = text
                    if pattern.search(text):
                        return text
                return None

            return await in_thread(find)

        await self._up()
        what = f"the display of {self.name} shows no /{regex}/"
        return await self._look_until(look, timeout, what, lambda: last, LOOK_AT_SCREEN)

    async def _picture(self) -> Path:
        folder = self._fleet.session.paths.folder / "screens"
        folder.mkdir(exist_ok=True)
        return await self.screenshot(folder / f"{self.name}.png")

    # ------------------------------------------------------------------ text consoles and windows

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
        pattern = _compiled(regex)
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
        text = await self.succeed("xwininfo -root -tree")
        return re.findall(r'^\s*0x[0-9a-f]+ "(.*?)":', text, re.MULTILINE)

    async def wait_for_window(self, regex: str, timeout: Seconds | None = WAIT) -> str:
        """Wait until there is a window.

        Args:
            regex: of its title, for `re.search`, without flags.

        Returns:
            The title.

        Raises:
            WaitFailed: the limit passed; with the titles there are.
        """
        pattern = _compiled(regex)
        last: list[str] = []

        async def look() -> str | None:
            nonlocal last
            code, text = await self.execute("xwininfo -root -tree")
            last = re.findall(r'^\s*0x[0-9a-f]+ "(.*?)":', text, re.MULTILINE) if code == 0 else []
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

    # ------------------------------------------------------------------ serial console

    async def send_console(self, text: str) -> None:
        """Type a text on the serial console, as on a terminal that is connected to it.

        Raises:
            MachineError: somebody else (`orchestrator console`) is connected.
        """
        self._power.require_on()
        await self._monitor()

        async def send() -> None:
            reader, writer = await asyncio.open_unix_connection(str(self._live.paths.console))
            del reader
            writer.write(text.encode())
            await writer.drain()
            writer.close()
            await writer.wait_closed()

        limit = Deadline.after(10)
        try:
            async with limit.enforce(lambda: MachineError(f"the console of {self.name} does not take input")):
                await send()
        except OSError as error:
            raise MachineError(f"the console of {self.name} cannot be reached", why=str(error)) from error

    async def expect_console(self, regex: str, timeout: Seconds | None = WAIT) -> str:
        """Wait for a text on the serial console; see `wait_for_console_text`."""
        return await self.wait_for_console_text(regex, timeout)

    # ------------------------------------------------------------------ inside

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
