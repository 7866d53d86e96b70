"""``orchestrator view``: the page of the run, live; or a machine's display for a VNC viewer, on a socket."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
from contextlib import suppress
from pathlib import Path

from orchestrator.cli.runtime import say
from orchestrator.cli.visit import visit
from orchestrator.environment.attach import while_it_runs
from orchestrator.errors import HostError, UsageError
from orchestrator.tasks import run_all
from orchestrator.vm.vnc import open_display

FIRST_PORT, PORTS = 5900, 100  # where viewers look by themselves
CHUNK = 1 << 16


def run(arguments: argparse.Namespace) -> int:
    if arguments.machine is None:
        if arguments.tcp is not None:
            raise UsageError("--tcp is for the display of a machine", hint="orchestrator view MACHINE --tcp")
        from orchestrator.cli.serve import view_page

        return view_page(arguments)
    if arguments.port is not None:
        raise UsageError("--port is for the page", hint=f"orchestrator view {arguments.machine} --tcp PORT")
    return asyncio.run(_view(arguments))


async def _view(arguments: argparse.Namespace) -> int:
    async with visit(arguments) as visited:
        path = visited.paths.vnc
        await open_display(visited.monitor, path)
    if arguments.tcp is not None:
        server, port = await _listen(path, arguments.tcp)
        _show(arguments, path, port)
        say(f"127.0.0.1:{port} shows {visited.name} to every user of this host until Ctrl-C")
        async with server:
            await while_it_runs(visited.name, visited.known.process, server.serve_forever())
        return 0
    _show(arguments, path, None)
    return 0


def _show(arguments: argparse.Namespace, path: Path, port: int | None) -> None:
    """The lines to type."""
    if arguments.json:
        sys.stdout.write(json.dumps({"machine": arguments.machine, "socket": str(path), "port": port}) + "\n")
    elif port is not None:
        sys.stdout.write(f"vncviewer 127.0.0.1::{port}\n")
    else:
        quoted = shlex.quote(str(path))
        say("a viewer that opens UNIX sockets (TigerVNC), or a tunnel for any other:")
        sys.stdout.write(f"vncviewer {quoted}\n")
        sys.stdout.write(f"socat TCP-LISTEN:{FIRST_PORT},bind=127.0.0.1,fork UNIX-CONNECT:{quoted}\n")
        say(f"`orchestrator view {arguments.machine} --tcp` is such a tunnel until Ctrl-C")
    sys.stdout.flush()


async def _listen(path: Path, wanted: int) -> tuple[asyncio.Server, int]:
    """A port of 127.0.0.1 that leads to the socket.

    Args:
        wanted: 0: the first free one from 5900 on.

    Raises:
        HostError: it is in use.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # the machine, or the viewer, is gone
            inner = await asyncio.open_unix_connection(str(path))
            await run_all(_copy(reader, inner[1]), _copy(inner[0], writer))
        writer.close()

    why: OSError | None = None
    for port in [wanted] if wanted else range(FIRST_PORT, FIRST_PORT + PORTS):
        try:
            return await asyncio.start_server(serve, "127.0.0.1", port), port
        except OSError as error:
            why = error
    hint = "another port, or --tcp alone for a free one"
    raise HostError(f"port {wanted or FIRST_PORT} of this host is in use", why=str(why), hint=hint) from why


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    try:
        while data := await source.read(CHUNK):
            target.write(data)
            await target.drain()
    finally:
        target.close()
