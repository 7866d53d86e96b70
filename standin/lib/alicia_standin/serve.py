"""``alicia serve``: connect, listen, answer, and stop in good order."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import socket
import sys

import asyncpg
from aiohttp import web

from alicia_standin import app, store
from alicia_standin.answers import Background
from alicia_standin.config import Config
from alicia_standin.hub import Hub
from alicia_standin.peers import Peers
from alicia_standin.state import State

STOP_SECONDS = 20
"""How long requests under way may take when the server is asked to stop."""
_BACKGROUND_SECONDS = 2

log = logging.getLogger("alicia")


class StartError(Exception):
    """Why the server cannot start."""


def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; the exit code.

    Raises:
        StartError: the database or the port is not to be had.
    """
    # The journal has its own time stamps.
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(message)s")
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    asyncio.run(_serve(config))
    return 0


async def _serve(config: Config) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    database = await _connect(config.postgres_url)
    try:
        await _warn_unmigrated(database)
        with listening_socket(config.host, config.port) as listener:
            peers = Peers(config)
            try:
                await _answer_until(stop, config, database, peers, listener)
            finally:
                await peers.close()
    finally:
        await database.close()
    log.info("stopped")


async def _answer_until(
    stop: asyncio.Event, config: Config, database: store.Store, peers: Peers, listener: socket.socket
) -> None:
    hub = Hub()
    background = Background(config, database, peers, hub)
    state = State(config, database, peers, hub, background)
    for server in config.mcp_servers:
        name = str(server["name"])
        state.mcp_servers[name] = {
            "name": name,
            "transport": server["transport"],
            "status": "disconnected",
            "tools": [],
        }
    runner = web.AppRunner(
        app.build(state),
        access_log=log,
        access_log_class=app.AccessLog,
        shutdown_timeout=STOP_SECONDS,
    )
    await runner.setup()
    try:
        try:
            await web.SockSite(runner, listener).start()
        except OSError as error:
            raise StartError(_listen_problem(config.host, config.port, error)) from None
        log.info("Alicia stand-in: listening on %s:%d", config.host, config.port)
        await stop.wait()
        log.info("stopping")
    finally:
        await runner.cleanup()
        await background.close(_BACKGROUND_SECONDS)


async def _connect(url: str) -> store.Store:
    try:
        return store.Store(await store.connect(url))
    except asyncpg.PostgresError as error:
        raise StartError(f"failed to connect to database: {error} (SQLSTATE {error.sqlstate})") from None
    except TimeoutError:
        raise StartError("failed to connect to database: no answer in time") from None
    except (OSError, asyncpg.InterfaceError, ValueError) as error:
        # A name with several addresses gives one error whose text lists theirs.
        refused = f"[Errno {errno.ECONNREFUSED}]" in str(error)
        raise StartError(f"failed to connect to database: {'connection refused' if refused else error}") from None


async def _warn_unmigrated(database: store.Store) -> None:
    try:
        log.info("%d tools registered", await database.count_tools())
    except asyncpg.PostgresError as error:
        log.warning("warning: failed to load tools: %s", error)


def listening_socket(host: str, port: int) -> socket.socket:
    """A bound IPv4 socket; it listens when the site is started.

    Raises:
        StartError: the name has no address, or the address is taken.
    """
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise StartError(_listen_problem(host, port, error)) from None
    return listener


def _listen_problem(host: str, port: int, error: OSError) -> str:
    reason = "address already in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
    return f"server error: listen tcp4 {host}:{port}: {reason}"
