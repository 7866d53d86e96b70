"""``orchestrator keys``: keys of a machine's keyboard, pressed by QEMU."""

from __future__ import annotations

import argparse
import asyncio

from orchestrator.cli.runtime import say
from orchestrator.cli.visit import visit
from orchestrator.driver.keys import BETWEEN, chord, keys_of, press
from orchestrator.errors import UsageError


def run(arguments: argparse.Namespace) -> int:
    if arguments.text is None and not arguments.keys:
        raise UsageError("no key is given", hint=f"orchestrator keys {arguments.machine} --text root ret")
    # All of them are known before the first one is pressed.
    strokes = [keys_of(character) for character in arguments.text or ""]
    strokes += [chord(key) for key in arguments.keys]
    asyncio.run(_press(arguments, strokes))
    return 0


async def _press(arguments: argparse.Namespace, strokes: list[list[str]]) -> None:
    async with visit(arguments) as visited:
        for keys in strokes:
            await press(visited.monitor, keys)
            await asyncio.sleep(BETWEEN)
        if await visited.monitor.run_state() == "paused":
            say(f"{arguments.machine} is paused: it gets the keys when it goes on")
