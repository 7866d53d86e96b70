"""Checks: what must hold before a service counts as up. End to end, from inside a guest.

tcp and http go through the guest's own resolver and network (`orchestrator.guest.tunnel`);
exec, file and unit go through the guest agent. An attempt never raises for a
service that is not there yet: it answers, and the answer says why.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import httpx

from orchestrator.deadline import Deadline
from orchestrator.errors import GuestCommandError, MachineError
from orchestrator.guest.agent import Agent
from orchestrator.guest.ssh import Ssh
from orchestrator.guest.tunnel import GuestClient, open_tcp
from orchestrator.threads import in_thread
from orchestrator.topology.model import Check, CheckKind

ANSWER_LIMIT = 300


@dataclass(frozen=True, slots=True)
class Answer:
    """What one attempt saw, in one line."""

    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Channels:
    """How a machine is reached; both are awaited, because a machine boots while others already work."""

    agent: Callable[[], Awaitable[Agent]]
    ssh: Callable[[], Awaitable[Ssh]]


async def attempt(check: Check, channels: Channels, *, factor: float, deadline: Deadline) -> Answer:
    """Make one attempt. ``factor`` scales its own limit, ``deadline`` bounds everything.

    Raises:
        MachineError: the machine itself is lost (not: the service is not up).
    """
    limit = deadline.earlier(check.timeout * factor)
    match check.kind:
        case CheckKind.HTTP:
            return await _http(check, await channels.ssh(), limit)
        case CheckKind.TCP:
            return await _tcp(check, await channels.ssh(), limit)
        case CheckKind.EXEC | CheckKind.FILE | CheckKind.UNIT:
            agent = await channels.agent()
            try:
                return await _by_agent(check, agent, limit)
            except MachineError:
                if not limit.expired:
                    raise
                name = check.command[0] if check.command else check.target
                return _answer(False, f"{name}: no end within {limit.limit:.0f} s")


async def _by_agent(check: Check, agent: Agent, limit: Deadline) -> Answer:
    if check.kind is CheckKind.EXEC:
        return await _exec(check, agent, limit)
    if check.kind is CheckKind.FILE:
        result = await agent.exec(["test", "-e", check.target], deadline=limit)
        return Answer(result.code == 0, f"{check.target} {'exists' if result.code == 0 else 'does not exist'}")
    result = await agent.exec(["systemctl", "is-active", check.target], deadline=limit)
    return Answer(result.code == 0, f"{check.target} is {result.text}")


async def _http(check: Check, ssh: Ssh, limit: Deadline) -> Answer:
    def get() -> httpx.Response:
        with GuestClient(ssh, max(limit.left, 0.1)) as http:
            return http.get(check.target)

    try:
        response = await in_thread(get)
    except httpx.TimeoutException:
        return Answer(False, f"GET {check.target}: no answer within {limit.limit:.0f} s")
    except httpx.RequestError as error:
        return _lost_or(ssh, f"GET {check.target}: {error}")
    return judge_response(check, response.status_code, response.headers, response.text)


def judge_response(check: Check, status: int, headers: Mapping[str, str], body: str) -> Answer:
    """Whether an HTTP answer is what the check wants; pure."""
    prefix = f"GET {check.target}: HTTP {status}"
    start = " ".join(body.split())[:120]
    if status != check.status:
        return _answer(False, f"{prefix}, expected {check.status}; {start}")
    if check.contains is not None and check.contains not in body:
        return _answer(False, f"{prefix}, but the body lacks {check.contains!r}; {start}")
    for name, wanted in check.headers.items():
        found = headers.get(name)
        if found != wanted:
            return _answer(False, f"{prefix}, but header {name} is {found!r}, expected {wanted!r}")
    if check.json is not None:
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            return _answer(False, f"{prefix}, but the body is not JSON; {start}")
        missing = json_difference(check.json, data)
        if missing:
            return _answer(False, f"{prefix}, but {missing}; {start}")
    return _answer(True, f"{prefix}")


def json_difference(wanted: object, found: object, where: str = "$") -> str:
    """Why ``wanted`` is not contained in ``found``; empty when it is. Tables may hold more keys."""
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            return f"{where} is {_brief(found)}, expected a table"
        for key, value in wanted.items():
            if key not in found:
                return f"{where}.{key} is missing"
            difference = json_difference(value, found[key], f"{where}.{key}")
            if difference:
                return difference
        return ""
    if type(wanted) is type(found) and wanted == found:
        return ""
    return f"{where} is {_brief(found)}, expected {_brief(wanted)}"


async def _tcp(check: Check, ssh: Ssh, limit: Deadline) -> Answer:
    host, _, port = check.target.rpartition(":")
    try:
        await in_thread(open_tcp, ssh, host.strip("[]"), int(port), limit.left)
    except ConnectionError as error:
        return _lost_or(ssh, f"TCP {check.target}: {error}")
    return Answer(True, f"TCP {check.target}: connected")


async def _exec(check: Check, agent: Agent, limit: Deadline) -> Answer:
    name = check.command[0]
    try:
        result = await agent.exec(check.command, deadline=limit, user=check.user)
    except GuestCommandError as error:
        return _answer(False, f"{name}: {error.why or error.what}")
    except MachineError:
        if limit.expired:
            return _answer(False, f"{name}: no end within {limit.limit:.0f} s")
        raise
    if result.code != 0:
        return _answer(False, f"{name} exited with {result.code}: {result.complaint}")
    if check.stdout is not None and not re.search(check.stdout, result.text, re.MULTILINE):
        return _answer(False, f"{name} printed {result.text!r}, expected /{check.stdout}/")
    return _answer(True, f"{name} printed {result.text!r}" if check.stdout is not None else f"{name} exited with 0")


def _lost_or(ssh: Ssh, text: str) -> Answer:
    if not ssh.alive:
        raise ssh.lost(ConnectionError(text))
    return _answer(False, text)


def _answer(ok: bool, text: str) -> Answer:
    return Answer(ok, " ".join(text.split())[:ANSWER_LIMIT])


def _brief(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else text[:57] + "..."
