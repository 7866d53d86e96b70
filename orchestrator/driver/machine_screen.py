"""What a machine shows as a picture."""

from __future__ import annotations

from pathlib import Path

from orchestrator.driver.machine_answers import compiled
from orchestrator.driver.machine_terminals import Terminals
from orchestrator.driver.machine_units import WAIT
from orchestrator.driver.results import Seconds
from orchestrator.threads import in_thread

LOOK_AT_SCREEN = 0.5  # seconds between pictures, before scaling


class Screen(Terminals):
    """Pictures of the display, and the text in them."""

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

        pattern = compiled(regex)
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
