"""``orchestrator screen``: the display of a machine as a picture, in the terminal, a file or a pipe, or as text."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from orchestrator.cli.pictures import png_size, protocol_of
from orchestrator.cli.runtime import say
from orchestrator.cli.visit import visit
from orchestrator.errors import HostError
from orchestrator.scratch import scratch
from orchestrator.streams import STDOUT, give
from orchestrator.threads import in_thread

STREAM = Path("-")


def run(arguments: argparse.Namespace) -> int:
    return asyncio.run(_screen(arguments))


async def _screen(arguments: argparse.Namespace) -> int:
    with scratch("screen") as folder:
        picture = folder / "screen.png"
        async with visit(arguments) as visited:
            await visited.monitor.screenshot(picture)
        png = picture.read_bytes()
        width, height = png_size(png)
        path = _file(arguments)
        if path is not None:
            _write(path, png)
        text = await in_thread(_text, picture) if arguments.text else None
    if arguments.json:
        found = {"machine": arguments.machine, "path": str(path.absolute()) if path else None}
        found |= {"width": width, "height": height} | ({} if text is None else {"text": text})
        sys.stdout.write(json.dumps(found) + "\n")
    elif text is not None:
        sys.stdout.write(text.rstrip() + "\n")
    elif path is not None:
        say(f"{width}×{height} pixels")
        sys.stdout.write(f"{path}\n")
    else:
        shown = protocol_of(os.environ) if sys.stdout.isatty() else None
        give(STDOUT, shown(png) if shown is not None else png)
    return 0


def _file(arguments: argparse.Namespace) -> Path | None:
    """The file that the picture goes to; None where it goes to stdout, or only its text is wanted."""
    if arguments.output is not None:
        return None if arguments.output == STREAM else Path(arguments.output)
    if arguments.text:
        return None
    on_terminal = sys.stdout.isatty()
    if arguments.json or (on_terminal and protocol_of(os.environ) is None):
        return Path(f"{arguments.machine}-screen.png")
    return None


def _write(path: Path, png: bytes) -> None:
    try:
        path.write_bytes(png)
    except OSError as error:
        raise HostError(f"the picture cannot be written to {path}", why=str(error), hint="-o FILE") from error


def _text(picture: Path) -> str:
    from orchestrator.driver.ocr import texts_of  # only with an engine

    return next(texts_of(picture))
