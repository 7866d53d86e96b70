"""Tells people and programs how a night ended. Nothing here fails a night: what could not be told is a warning."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import httpx

from orchestrator.deadline import Deadline, pause
from orchestrator.errors import OrchestratorError
from orchestrator.nightly.message import GOOD
from orchestrator.process import child
from orchestrator.topology.nightly import Notify

TRIES = 3
ONE_TRY = 10.0  # seconds
BETWEEN = 2.0  # seconds; each pause is twice as long as the one before
COMMAND_LIMIT = 120.0  # seconds
BODY = 10_000  # characters of a ping


def address_of(text: str) -> str:
    """An address, or what the file holds that is named in its place.

    Raises:
        OSError: it cannot be read.
    """
    if not text.startswith("file:"):
        return text
    return Path(text.removeprefix("file:")).expanduser().read_text(encoding="utf-8").strip()


async def send(notify: Notify, subject: str, text: str, data: Mapping[str, object]) -> list[str]:
    """Send a message every way there is; a line for each that failed."""
    ways: list[tuple[str, Callable[[], Awaitable[None]]]] = []
    if notify.command:
        ways.append((notify.command[0], lambda: _by_command(notify.command, text)))
    if notify.webhook:
        ways.append(("the webhook", lambda: _post(address_of(notify.webhook), json={"text": text, **data})))
    if notify.apprise:
        ways.append(("apprise", lambda: _by_apprise(notify.apprise, subject, text)))
    return [f"{name}: {why}" for name, way in ways if (why := await _why_not(way))]


async def ping(address: str, state: str, *, code: int | None = None, outcome: str = "", body: str = "") -> list[str]:
    """Tell a dead man's switch; ``state`` is ``start`` or ``end``. A line if that failed."""
    if not address:
        return []

    async def way() -> None:
        url = address_of(address)
        if "{state}" in url:
            if state == "start":
                return  # such a service knows only how it ended
            await _get(url.replace("{state}", "up" if outcome in GOOD else "down"))
        elif state == "start":
            await _get(f"{url.rstrip('/')}/start")
        else:
            await _post(f"{url.rstrip('/')}/{(code or 0) & 0xFF}", content=body[-BODY:])

    why = await _why_not(way)
    return [f"the ping: {why}"] if why else []


async def _why_not(way: Callable[[], Awaitable[None]]) -> str:
    try:
        await way()
    except OrchestratorError as error:
        return error.brief
    except httpx.HTTPStatusError as error:
        return f"it answered {error.response.status_code}"  # the address, which may be a secret, is told nowhere
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return type(error).__name__
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


async def _by_command(argv: Sequence[str], text: str) -> None:
    """The message on stdin; its own output is not ours."""
    deadline = Deadline.after(COMMAND_LIMIT)
    async with deadline.enforce(), child(list(argv), stdin=asyncio.subprocess.PIPE) as process:
        output, _ = await process.communicate(text.encode())
        if process.returncode:
            last = output.decode("utf-8", "replace").strip().rpartition("\n")[2]
            raise OrchestratorError(f"it ended with {process.returncode}", why=last)


async def _by_apprise(addresses: Sequence[str], subject: str, text: str) -> None:
    try:
        import apprise  # an extra
    except ImportError as error:
        raise OrchestratorError("it is not installed", hint="pip install 'orchestrator[apprise]'") from error
    sender = apprise.Apprise()
    for address in addresses:
        if not sender.add(address_of(address)):
            raise OrchestratorError("an address is none that apprise knows")
    async with Deadline.after(COMMAND_LIMIT).enforce():
        if not await sender.async_notify(title=subject, body=text):
            raise OrchestratorError("a message was not delivered")


async def _get(url: str) -> None:
    await _request("GET", url)


async def _post(url: str, *, json: object = None, content: str | None = None) -> None:
    await _request("POST", url, json=json, content=content)


async def _request(method: str, url: str, *, json: object = None, content: str | None = None) -> None:
    deadline = Deadline.after(TRIES * (ONE_TRY + BETWEEN * TRIES))
    wait = BETWEEN
    async with httpx.AsyncClient(timeout=ONE_TRY, follow_redirects=True) as client:
        for number in range(1, TRIES + 1):
            try:
                answer = await client.request(method, url, json=json, content=content)
                if answer.status_code < 500:
                    answer.raise_for_status()
                    return
                why: Exception = httpx.HTTPStatusError(f"{answer.status_code}", request=answer.request, response=answer)
            except httpx.TransportError as error:
                why = error
            if number == TRIES:
                raise why
            await pause(wait, deadline)
            wait *= 2
