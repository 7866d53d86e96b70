"""What the handlers share, and how they answer."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from alicia_standin.answers import Background
from alicia_standin.config import Config
from alicia_standin.hub import Hub
from alicia_standin.peers import Peers
from alicia_standin.requests import conversation_missing, json_object
from alicia_standin.requests import user_id as validated_user
from alicia_standin.store import Row, Store


@dataclass(slots=True)
class State:
    """Everything a request may need.

    Attributes:
        counts: answered requests by (method, route, status).
        mcp_servers: by name.
    """

    config: Config
    store: Store
    peers: Peers
    hub: Hub
    background: Background
    counts: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    mcp_servers: dict[str, dict[str, object]] = field(default_factory=dict)


STATE = web.AppKey("STATE", State)


def as_json(data: object, status: int = 200) -> web.Response:
    """JSON as the API writes it: compact, with a newline at the end, the type without a charset."""
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n"
    return web.Response(body=body, status=status, content_type="application/json")


def as_text(text: str, status: int) -> web.Response:
    headers = {"X-Content-Type-Options": "nosniff"}
    return web.Response(text=text, status=status, headers=headers)


def user(request: web.Request) -> str:
    """The user from ``X-User-ID``; browsers cannot set it on a stream, so ``?user_id=`` counts too.

    Raises:
        BadUser: malformed.
    """
    return validated_user(request.headers.get("X-User-ID") or request.query.get("user_id"))


async def body(request: web.Request) -> dict[str, Any]:
    """The JSON object of the request.

    Raises:
        ApiError: 400, also when it is too long.
    """
    return json_object(await request.read())


async def conversation(request: web.Request) -> Row:
    """The conversation the path names.

    Raises:
        ApiError: 404 when the user has no such conversation.
    """
    state = request.app[STATE]
    found = await state.store.conversation(user(request), request.match_info["id"])
    if found is None:
        raise conversation_missing()
    return found
