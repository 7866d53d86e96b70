"""The HTTP application: routes, and what every answer has in common."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
from aiohttp import hdrs, web
from aiohttp.abc import AbstractAccessLogger

from alicia_standin import conversations, extras, live, static
from alicia_standin.requests import MAX_BODY, ApiError, BadUser, invalid_body
from alicia_standin.state import STATE, State, as_json, as_text, user

log = logging.getLogger("alicia")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

API = "/api/v1"
_ONE = f"{API}/conversations/{{id}}"

# method, path, handler, what the error says when the database fails
_ROUTES: tuple[tuple[str, str, Handler, str], ...] = (
    ("GET", "/health", extras.healthy, ""),
    ("GET", "/health/detailed", extras.detailed, ""),
    ("GET", "/metrics", extras.metrics, ""),
    ("GET", "/ws", live.socket, ""),
    ("GET", f"{API}/conversations", conversations.listing, "Failed to list conversations"),
    ("POST", f"{API}/conversations", conversations.create, "Failed to create conversation"),
    ("GET", _ONE, conversations.get, "Failed to retrieve conversation"),
    ("DELETE", _ONE, conversations.delete, "Failed to delete conversation"),
    ("GET", f"{_ONE}/messages", conversations.messages, "Failed to list messages"),
    ("POST", f"{_ONE}/messages", conversations.send, "Failed to create message"),
    ("POST", f"{_ONE}/sync", conversations.sync, "Failed to store messages"),
    ("GET", f"{_ONE}/sync/status", conversations.sync_status, "Failed to retrieve messages"),
    ("GET", f"{_ONE}/events", live.events, "Failed to retrieve conversation"),
    ("POST", f"{_ONE}/token", extras.token, "Failed to update conversation"),
    ("GET", f"{API}/mcp/servers", extras.mcp_servers, ""),
    ("POST", f"{API}/mcp/servers", extras.mcp_add, ""),
    ("DELETE", f"{API}/mcp/servers/{{name}}", extras.mcp_remove, ""),
    ("GET", f"{API}/mcp/tools", extras.mcp_tools, ""),
    ("GET", f"{API}/search", extras.search, "Failed to search messages"),
    ("GET", f"{API}/status", extras.status, "Failed to read the status of the database"),
)
_FAILURES = {handler: text for _, _, handler, text in _ROUTES}


def build(state: State) -> web.Application:
    """The application. Who made the state closes what is in it."""
    app = web.Application(middlewares=[_answer], client_max_size=MAX_BODY + 1)
    app[STATE] = state
    for method, path, handler, _ in _ROUTES:
        app.router.add_route(method, path, handler)
    app.on_response_prepare.append(_cors_headers)

    async def end_streams(_: web.Application) -> None:
        state.hub.close()

    app.on_shutdown.append(end_streams)
    return app


@web.middleware
async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever a handler does into an answer of the API, and count it."""
    response = await _response(request, handler)
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "other"
    method = request.method if request.method in hdrs.METH_ALL else "other"
    request.app[STATE].counts[method, route, response.status] += 1
    return response


async def _response(request: web.Request, handler: Handler) -> web.StreamResponse:
    if request.method == "OPTIONS":
        return web.Response(status=204 if _allowed_origin(request) else 403)
    try:
        if request.path.startswith(f"{API}/"):
            user(request)  # a malformed one is refused before anything else
        return await handler(request)
    except ApiError as error:
        return as_json(error.body(), error.status)
    except BadUser:
        return as_text("Invalid user ID format\n", 400)
    except web.HTTPNotFound:
        return _frontend(request)
    except web.HTTPMethodNotAllowed:
        return web.Response(status=405)
    except web.HTTPRequestEntityTooLarge:
        refusal = invalid_body()
        return as_json(refusal.body(), refusal.status)
    except web.HTTPException:
        raise
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as problem:
        # Expected when the database is away: one line, no traceback.
        path = request.rel_url.raw_path
        log.warning("%s %s: %s: %s", request.method, path, type(problem).__name__, problem)
    except Exception:
        log.exception("%s %s", request.method, request.rel_url.raw_path)
    text = _FAILURES.get(request.match_info.handler) or "Internal server error"
    return as_json(ApiError(500, "internal_error", text).body(), 500)


def _frontend(request: web.Request) -> web.StreamResponse:
    """Paths without a route: files of the frontend, when there is one."""
    folder = request.app[STATE].config.static_dir
    if folder and not request.path.startswith(f"{API}/"):
        if request.method != "GET":
            return web.Response(status=405)
        try:
            file = static.find(Path(folder), request.path)
            return web.FileResponse(file, headers={"Content-Type": static.content_type(file)})
        except static.Moved as moved:
            return web.Response(status=301, headers={"Location": str(moved)})
        except static.Missing:
            pass
    return as_text("404 page not found\n", 404)


def _allowed_origin(request: web.Request) -> str | None:
    """The request's origin when the configuration allows it."""
    origins = request.app[STATE].config.cors_origins
    origin = request.headers.get("Origin")
    return origin if origin and (origin in origins or "*" in origins) else None


async def _cors_headers(request: web.Request, response: web.StreamResponse) -> None:
    headers = response.headers
    headers["Access-Control-Allow-Methods"] = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
    headers["Access-Control-Allow-Headers"] = "Accept, Authorization, Content-Type, X-User-ID"
    headers["Access-Control-Expose-Headers"] = "Link"
    headers["Access-Control-Max-Age"] = "300"
    origin = _allowed_origin(request)
    if origin is not None:
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Allow-Credentials"] = "true"


class AccessLog(AbstractAccessLogger):
    """``METHOD path status N bytes in d`` for each answer, when it has been sent."""

    def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
        # The encoded path: no control characters, and the query (words that are searched) stays out.
        path = request.rel_url.raw_path
        known = response.content_length if isinstance(response, web.Response | web.FileResponse) else None
        # A stream's length is not known beforehand; what was sent of it includes the head.
        size = response.body_length if known is None else known
        spent = duration(time)
        self.logger.info("%s %s %d %d bytes in %s", request.method, path, response.status, size, spent)


def duration(seconds: float) -> str:
    """``1.234ms`` or ``2.500s``."""
    return f"{seconds * 1000:.3f}ms" if seconds < 1 else f"{seconds:.3f}s"
