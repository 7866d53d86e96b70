"""The smaller endpoints: health, metrics, LiveKit token, MCP lists, search, status."""

from __future__ import annotations

import logging
import time

from aiohttp import web

from alicia_standin import VERSION, health, requests, tokens
from alicia_standin.peers import PeerError
from alicia_standin.requests import ApiError
from alicia_standin.state import STATE, as_json, body, conversation, user

log = logging.getLogger("alicia")


async def healthy(request: web.Request) -> web.Response:
    """Only that the process answers; what it depends on is not looked at."""
    return as_json({"status": "ok", "version": VERSION})


async def detailed(request: web.Request) -> web.Response:
    state = request.app[STATE]
    status, data = await health.report(state.config, state.store, state.peers)
    return as_json(data, status)


async def metrics(request: web.Request) -> web.Response:
    """Prometheus' text format."""
    counts = sorted(request.app[STATE].counts.items())
    lines = [
        "# HELP http_requests_total Answered HTTP requests.",
        "# TYPE http_requests_total counter",
        *(
            f'http_requests_total{{method="{method}",path="{route}",status="{status}"}} {count}'
            for (method, route, status), count in counts
        ),
        "# HELP process_cpu_seconds_total User and system CPU time.",
        "# TYPE process_cpu_seconds_total counter",
        f"process_cpu_seconds_total {time.process_time():.3f}",
    ]
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    return web.Response(body=("\n".join(lines) + "\n").encode(), headers=headers)


async def token(request: web.Request) -> web.Response:
    """Let a participant into the conversation's LiveKit room, which is made when there is none."""
    data = await body(request)
    identity = requests.required(data, "participant_id", "Participant ID is required")
    state, found = request.app[STATE], await conversation(request)
    livekit = state.config.livekit
    room = found.get("livekit_room_name")
    if room is None:
        try:
            room = await state.peers.create_room(f"conv_{found['id']}")
        except PeerError as error:
            log.warning("LiveKit: %s", error)
            raise ApiError(500, "livekit_error", "Failed to create or get LiveKit room") from None
        await state.store.set_room(found["id"], room)
    name = requests.text(data, "participant_name") or identity
    signed, expires = tokens.participant(livekit.api_key, livekit.api_secret, room, identity, name, int(time.time()))
    return as_json({"token": signed, "expires_at": expires, "room_name": room, "participant_id": identity})


async def mcp_servers(request: web.Request) -> web.Response:
    servers = list(request.app[STATE].mcp_servers.values())
    return as_json({"servers": servers, "total": len(servers)})


async def mcp_add(request: web.Request) -> web.Response:
    """Remember a server. The stand-in connects to none, so it stays disconnected and offers no tool."""
    data = await body(request)
    name = requests.required(data, "name", "Server name is required")
    transport = requests.text(data, "transport")
    if transport not in ("stdio", "http"):
        raise ApiError(400, "validation_error", "Transport must be stdio or http")
    server: dict[str, object] = {"name": name, "transport": transport, "status": "disconnected", "tools": []}
    request.app[STATE].mcp_servers[name] = server
    return as_json(server, 201)


async def mcp_remove(request: web.Request) -> web.Response:
    if request.app[STATE].mcp_servers.pop(request.match_info["name"], None) is None:
        raise ApiError(404, "not_found", "MCP server not found")
    return web.Response(status=204)


async def mcp_tools(request: web.Request) -> web.Response:
    return as_json({"tools": {}, "total": 0})


async def search(request: web.Request) -> web.Response:
    """The user's messages that are nearest in meaning to the words."""
    words, limit = requests.search(request.query)
    state, asker = request.app[STATE], user(request)
    try:
        vector = await state.peers.embed(words)
    except PeerError as error:
        log.warning("embedding: %s", error)
        raise ApiError(503, "embedding_error", "Failed to get the embedding of the query") from None
    results = await state.store.nearest(asker, vector, limit)
    return as_json({"results": results, "total": len(results)})


async def status(request: web.Request) -> web.Response:
    """What the database holds, so that a test can prove it through the API."""
    return as_json(await request.app[STATE].store.status())
