"""Checks: what must hold before a service counts as up. End to end, from inside a guest.

tcp and http go through the guest's own resolver and network (`orchestrator.guest.tunnel`);
exec, file and unit go through the guest agent. An attempt never raises for a
service that is not there yet: it answers, and the answer says why.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from orchestrator.deadline import Deadline
from orchestrator.errors import GuestCommandError, MachineError, TimeLimit
from orchestrator.guest.agent import Agent
from orchestrator.guest.ssh import Ssh
from orchestrator.guest.tunnel import HttpAnswer, NoAnswerError, get, open_tcp, tls_context
from orchestrator.patterns import TEXT_LIMIT, PatternError, found
from orchestrator.threads import in_thread
from orchestrator.timescale import TimeScale
from orchestrator.topology.model import Check, CheckKind
from orchestrator.topology.urls import parse_endpoint, parse_url

ANSWER_LIMIT = 300
THREAD_GRACE = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one attempt saw, in one line."""

    ok: bool
    text: str


@dataclass(frozen=True, slots=True)
class Channels:
    """How a machine is reached; both are awaited, because a machine boots while others already work."""

    agent: Callable[[], Awaitable[Agent]]
    ssh: Callable[[], Awaitable[Ssh]]


async def run_check(check: Check, channels: Channels, *, scale: TimeScale, deadline: Deadline) -> CheckResult:
    """Make one attempt. ``scale`` scales its own limit, ``deadline`` bounds everything.

    The limit of the attempt begins when its machine can be reached.

    Raises:
        MachineError: the machine itself is lost (not: the service is not up).
    """
    match check.kind:
        case CheckKind.HTTP | CheckKind.TCP:
            ssh = await channels.ssh()
            make = _http if check.kind is CheckKind.HTTP else _tcp
            return await make(check, ssh, deadline.earlier(scale.limit(check.timeout)))
        case CheckKind.EXEC | CheckKind.FILE | CheckKind.UNIT:
            agent = await channels.agent()
            limit = deadline.earlier(scale.limit(check.timeout))
            try:
                return await _by_agent(check, agent, limit)
            except MachineError:
                if not limit.expired:
                    raise
                name = check.command[0] if check.command else check.target
                return _answer(False, f"{name}: no end within {limit}")


async def _by_agent(check: Check, agent: Agent, limit: Deadline) -> CheckResult:
    if check.kind is CheckKind.EXEC:
        return await _exec(check, agent, limit)
    if check.kind is CheckKind.FILE:
        result = await agent.exec(["test", "-e", check.target], deadline=limit)
        return CheckResult(result.code == 0, f"{check.target} {'exists' if result.code == 0 else 'does not exist'}")
    result = await agent.exec(["systemctl", "is-active", "--", check.target], deadline=limit)
    return CheckResult(result.code == 0, f"{check.target} is {result.text}")


async def _http(check: Check, ssh: Ssh, limit: Deadline) -> CheckResult:
    prefix = f"GET {check.target}"

    def request() -> HttpAnswer:
        url = parse_url(check.target)
        tls = tls_context(check.ca, verify=check.verify) if url.scheme == "https" else None
        return get(ssh, url, limit, lambda status: status != check.status or check.wants_body, tls)

    late = _answer(False, f"{prefix}: no answer within {limit}")
    try:
        async with _a_little_later(limit).enforce():
            answer = await in_thread(request)
    except TimeLimit:
        return late
    except NoAnswerError as error:
        return late if error.late else _lost_or(ssh, f"{prefix}: {error}")
    except OSError as error:  # of the file of certificates
        return _answer(False, f"{prefix}: {check.ca} cannot be used: {error}")
    return judge_response(check, answer)


def judge_response(check: Check, answer: HttpAnswer) -> CheckResult:
    """Whether an HTTP answer is what the check wants; pure."""
    prefix = f"GET {check.target}: HTTP {answer.status}"
    start = " ".join((answer.body or "")[:1000].split())[:120]
    if answer.status != check.status:
        return _answer(False, f"{prefix}, expected {check.status}; {start}")
    for name, wanted in check.headers.items():
        sent = answer.headers.get(name)
        if sent != wanted:
            return _answer(False, f"{prefix}, but header {name} is {sent!r}, expected {wanted!r}")
    if not check.wants_body:
        return _answer(True, prefix)
    if answer.fault:
        return _answer(False, f"{prefix}, but {answer.fault}; {start}")
    body = answer.body or ""
    if check.contains is not None and check.contains not in body:
        return _answer(False, f"{prefix}, but the body lacks {check.contains!r}; {start}")
    if check.json is not None:
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            return _answer(False, f"{prefix}, but the body is not JSON; {start}")
        missing = json_difference(check.json, data)
        if missing:
            return _answer(False, f"{prefix}, but {missing}; {start}")
    return _answer(True, prefix)


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


async def _tcp(check: Check, ssh: Ssh, limit: Deadline) -> CheckResult:
    host, port = parse_endpoint(check.target)
    try:
        async with _a_little_later(limit).enforce():
            await in_thread(open_tcp, ssh, host, port, limit.left)
    except ConnectionError as error:
        return _lost_or(ssh, f"TCP {check.target}: {error}")
    except TimeLimit:
        return _answer(False, f"TCP {check.target}: no answer within {limit}")
    return CheckResult(True, f"TCP {check.target}: connected")


async def _exec(check: Check, agent: Agent, limit: Deadline) -> CheckResult:
    name = check.command[0]
    try:
        result = await agent.exec(check.command, deadline=limit, user=check.user)
    except GuestCommandError as error:
        return _answer(False, f"{name}: {error.why or error.what}")
    except MachineError:
        if limit.expired:
            return _answer(False, f"{name}: no end within {limit}")
        raise
    if result.code != 0:
        return _answer(False, f"{name} exited with {result.code}: {result.complaint}")
    if check.stdout is None:
        return _answer(True, f"{name} exited with 0")
    text = result.text
    # Beside the event loop: the longest text takes the largest expression seconds.
    try:
        async with limit.enforce():
            matches = await in_thread(found, f"(?m){check.stdout}", text)
    except PatternError as error:  # of an environment that another version started
        return _answer(False, f"{name}: /{check.stdout}/ cannot be searched: {error}")
    except TimeLimit:
        return _answer(False, f"{name}: its output was not searched for /{check.stdout}/ within {limit}")
    if not matches:
        rest = f" in its first {TEXT_LIMIT >> 10} KiB" if len(result.stdout) > TEXT_LIMIT else ""
        return _answer(False, f"{name} printed {_start(text)!r}, expected /{check.stdout}/{rest}")
    return _answer(True, f"{name} printed {_start(text)!r}")


def _start(text: str) -> str:
    return text[:ANSWER_LIMIT]


def _a_little_later(limit: Deadline) -> Deadline:
    """A thread keeps its limit itself, and says more; this is for one that does not."""
    return Deadline.after(limit.left + THREAD_GRACE)


def _lost_or(ssh: Ssh, text: str) -> CheckResult:
    if not ssh.alive:
        raise ssh.lost(ConnectionError(text))
    return _answer(False, text)


def _answer(ok: bool, text: str) -> CheckResult:
    # JSON may hold halves of characters, which nothing can print.
    return CheckResult(ok, " ".join(text.encode("utf-8", "replace").decode().split())[:ANSWER_LIMIT])


def _brief(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except RecursionError:
        text = "[[[" if isinstance(value, list) else "{{{"
    return text if len(text) <= 60 else text[:57] + "..."
