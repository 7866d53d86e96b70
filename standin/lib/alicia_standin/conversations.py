"""Conversations, messages, and synchronisation."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from aiohttp import web

from alicia_standin import requests
from alicia_standin.state import STATE, State, as_json, body, conversation, user
from alicia_standin.store import Row, timestamp

_ROLES = ("user", "assistant", "system")


async def create(request: web.Request) -> web.Response:
    data = await body(request)
    made = await request.app[STATE].store.create_conversation(
        user(request), requests.title(data), requests.preferences(data)
    )
    return as_json(made, 201)


async def listing(request: web.Request) -> web.Response:
    limit = requests.integer(request.query, "limit", 50)
    offset = requests.integer(request.query, "offset", 0)
    active = request.query.get("active") == "true"
    found = await request.app[STATE].store.conversations(user(request), limit, offset, active=active)
    return as_json({"conversations": found, "total": len(found), "limit": limit, "offset": offset})


async def get(request: web.Request) -> web.Response:
    return as_json(await conversation(request))


async def delete(request: web.Request) -> web.Response:
    await request.app[STATE].store.delete_conversation(user(request), request.match_info["id"])
    return web.Response(status=204)


async def messages(request: web.Request) -> web.Response:
    found = await request.app[STATE].store.messages((await conversation(request))["id"])
    return as_json({"messages": found, "total": len(found)})


async def send(request: web.Request) -> web.Response:
    """Store the user's message and answer at once; the assistant's comes later."""
    contents = requests.required(await body(request), "contents", "Message contents is required")
    state = request.app[STATE]
    message = await state.store.add_message((await conversation(request))["id"], "user", contents)
    state.background.stored(message)
    state.background.answer(message)
    return as_json(message, 201)


async def sync(request: web.Request) -> web.Response:
    """Store messages a client wrote on its own. Each gets a verdict; none makes the others fail."""
    identity = (await conversation(request))["id"]
    items = requests.sync_messages(await body(request))
    state = request.app[STATE]
    results = [await _sync_one(state, identity, item) for item in items]
    return as_json({"synced_messages": results, "synced_at": timestamp(datetime.now(UTC))})


async def _sync_one(state: State, identity: str, item: Mapping[str, object]) -> Row:
    local_id, role = requests.text(item, "local_id"), requests.text(item, "role")
    contents = requests.text(item, "contents")
    if not local_id:
        return _conflict(local_id, "Local ID is required")
    if role not in _ROLES:
        return _conflict(local_id, "Message role is required" if not role else "Message role is unknown")
    known = await state.store.synced(identity, local_id)
    if known is None:
        message = await state.store.add_message(identity, role, contents, local_id=local_id)
        state.background.stored(message)
        return _synced(local_id, message)
    if known["contents"] == contents:
        return _synced(local_id, known)
    await state.store.mark_conflict(known["id"])
    return _conflict(local_id, "The server has other contents under this local ID", known)


def _synced(local_id: str, message: Row) -> Row:
    return {"local_id": local_id, "server_id": message["id"], "status": "synced", "message": message}


def _conflict(local_id: str, reason: str, message: Row | None = None) -> Row:
    conflict: Row = {"reason": reason, "resolution": "manual"}
    if message is not None:
        conflict["server_message"] = message
    return {"local_id": local_id, "server_id": "", "status": "conflict", "conflict": conflict}


async def sync_status(request: web.Request) -> web.Response:
    identity = (await conversation(request))["id"]
    counts, last = await request.app[STATE].store.sync_counts(identity)
    status: Row = {
        "conversation_id": identity,
        "pending_count": counts.get("pending", 0),
        "synced_count": counts.get("synced", 0),
        "conflict_count": counts.get("conflict", 0),
    }
    if last is not None:
        status["last_synced_at"] = timestamp(last)
    return as_json(status)
