"""Messages as they are stored: server-sent events of one conversation, and the WebSocket."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime

from aiohttp import WSCloseCode, WSMsgType, web

from alicia_standin.hub import Listener
from alicia_standin.requests import conversation_missing
from alicia_standin.state import STATE, conversation, user
from alicia_standin.store import timestamp

HEARTBEAT = 30
"""Seconds between pings of the server, and between comments on an idle event stream."""
MAX_FRAME = 64 * 1024


async def events(request: web.Request) -> web.StreamResponse:
    """``text/event-stream``: ``connected``, then each message of the conversation."""
    found = await conversation(request)
    hub = request.app[STATE].hub
    listener = Listener()
    listener.conversations.add(found["id"])
    # nginx would keep the events back until its buffer is full.
    headers = {"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    response = web.StreamResponse(headers=headers)
    hub.add(listener)
    try:
        await response.prepare(request)
        await response.write(_event({"type": "connected", "conversation_id": found["id"]}))
        while True:
            try:
                async with asyncio.timeout(HEARTBEAT):
                    message = await listener.get()
            except TimeoutError:
                await response.write(b": keepalive\n\n")
                continue
            if message is None:
                break
            await response.write(_event(message))
    except ConnectionError:
        pass  # the client left
    finally:
        hub.remove(listener)
    return response


def _event(data: Mapping[str, object]) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


async def socket(request: web.Request) -> web.WebSocketResponse:
    """``/ws``: one connection may listen to any of the user's conversations."""
    asker = user(request)
    hub = request.app[STATE].hub
    response = web.WebSocketResponse(heartbeat=HEARTBEAT, max_msg_size=MAX_FRAME)
    await response.prepare(request)
    listener = Listener()
    listener.put({"type": "connected", "server_time": timestamp(datetime.now(UTC))})
    hub.add(listener)
    writer = asyncio.create_task(_write(response, listener))
    try:
        async for frame in response:
            if frame.type is WSMsgType.TEXT:
                await _react(request, asker, listener, frame.data)
            elif frame.type is WSMsgType.BINARY:
                listener.put(_error("frames must be text"))
    finally:
        hub.remove(listener)
        writer.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await writer
    return response


async def _write(response: web.WebSocketResponse, listener: Listener) -> None:
    """Everything a listener is sent goes through its queue, so that answers and messages keep their order."""
    with contextlib.suppress(ConnectionError):
        while (message := await listener.get()) is not None:
            await response.send_str(json.dumps(message, ensure_ascii=False, separators=(",", ":")))
        await response.close(code=WSCloseCode.GOING_AWAY, message=b"server is stopping")


async def _react(request: web.Request, asker: str, listener: Listener, text: str) -> None:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        listener.put(_error("not JSON"))
        return
    kind = data.get("type") if isinstance(data, dict) else None
    if kind == "ping":
        listener.put({"type": "pong"})
        return
    if kind not in ("subscribe", "unsubscribe"):
        listener.put(_error("unknown type"))
        return
    identity = data.get("conversation_id")
    if not isinstance(identity, str) or not identity:
        listener.put(_error("conversation_id is required"))
        return
    if kind == "unsubscribe":
        listener.conversations.discard(identity)
        listener.put({"type": "unsubscribed", "conversation_id": identity})
        return
    try:
        found = await request.app[STATE].store.conversation(asker, identity)
    except Exception:
        listener.put(_error("Failed to retrieve conversation"))
        return
    if found is None:
        listener.put(_error(str(conversation_missing())))
        return
    listener.conversations.add(identity)
    listener.put({"type": "subscribed", "conversation_id": identity})


def _error(message: str) -> dict[str, object]:
    return {"type": "error", "message": message}
