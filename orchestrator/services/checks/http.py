"""The check ``http``: a server answers the guest as expected. The answer is judged by a pure function."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from typing import Annotated, ClassVar

from orchestrator.topology import values
from orchestrator.topology.check_kind import CheckKind, CheckResult, Guest, HttpResponse
from orchestrator.topology.document import Node, quote
from orchestrator.topology.keys import Key
from orchestrator.topology.tables import Table
from orchestrator.topology.urls import parse_url
from orchestrator.topology.value_types import Entries, HostPath, InvalidValue, value


@value("table", type="object")
def json_table(node: Node) -> Mapping[str, object]:
    """A table as the JSON object it stands for."""
    if node.fields is None:
        raise InvalidValue(f"expected a table of fields the body must have, found {node.describe()}")
    return {name: _json(entry) for name, entry in node.fields.items()}


def _json(node: Node) -> object:
    if node.fields is not None:
        return {name: _json(entry) for name, entry in node.fields.items()}
    if node.items is not None:
        return [_json(item) for item in node.items]
    endless = isinstance(node.value, float) and not math.isfinite(node.value)
    if endless or isinstance(node.value, (date, time)):
        raise InvalidValue(f"JSON knows no {node.describe().removeprefix('the ')}; write it as a string")
    return node.value


@dataclass(frozen=True, slots=True)
class HttpCheck(CheckKind):
    kind: ClassVar[str] = "http"
    examples: ClassVar[tuple[str, ...]] = (
        """
http = "http://server/health"
from = "client"
status = 200
json = { status = "ok", database = { connected = true } }
contains = "ok"
headers = { Content-Type = "application/json" }
timeout = "10s"
""",
        'http = "https://server:8443/"\nca = "ca.pem"',
        'http = "https://127.0.0.1:9443/metrics"\nverify = false',
    )
    interval: ClassVar[float] = 0.05

    http: Annotated[
        str,
        Key(
            values.url,
            "the address answers as the http keys below demand; `http://` or `https://`, at most 2000 characters, "
            "no user or password in it",
        ),
    ]
    status: Annotated[int, Key(values.status, "http: the status")] = 200
    json: Annotated[
        Mapping[str, object] | None,
        Key(json_table, "http: the body is JSON and has these fields with these values, and perhaps others"),
    ] = None
    contains: Annotated[str | None, Key(values.nonempty, "http: the body holds this text")] = None
    headers: Annotated[
        Mapping[str, str], Key(Entries(values.string), "http: headers of the answer with the value they must have")
    ] = field(default_factory=dict)
    ca: Annotated[
        Path | None,
        Key(
            HostPath(),
            "https: a file of certificates (PEM) that are trusted, instead of those the host trusts",
            "the host's",
        ),
    ] = None
    verify: Annotated[bool, Key(values.flag, "https: `false` accepts any certificate")] = True

    @property
    def label(self) -> str:
        return f"GET {self.http}"

    @property
    def wants_body(self) -> bool:
        """Whether it looks at more than status and headers."""
        return self.json is not None or self.contains is not None

    def verify_keys(self, table: Table) -> None:
        for name in self.headers:
            if not values.TOKEN.fullmatch(name):
                table.complain("headers", f"{quote(name)} is no name of a header")
        if not self.http.lower().startswith("https:"):
            for key in ("ca", "verify"):
                if table.has(key):
                    table.complain(key, "it is about https://, and the URL is not")
        elif table.has("ca") and table.has("verify"):
            table.complain("verify", 'either "ca" says whom to trust, or nobody is asked; not both')
        elif self.ca is not None and (why := _unusable(self.ca)):
            table.complain("ca", why)

    async def run(self, guest: Guest) -> CheckResult:
        def wanted(status: int) -> bool:
            return status != self.status or self.wants_body

        response = await guest.get(parse_url(self.http), wanted, ca=self.ca, verify=self.verify)
        return judge_response(self, response)


def _unusable(ca: Path) -> str:
    """Why a file of certificates cannot be used; empty when it can."""
    import ssl  # only where a check speaks TLS

    try:
        ssl.create_default_context(cafile=str(ca))
    except FileNotFoundError:
        return f"there is no file {quote(str(ca))}"
    except OSError as error:  # ssl.SSLError is one
        return f"{quote(str(ca))} is no readable file of certificates (PEM): {error}"
    return ""


def judge_response(check: HttpCheck, response: HttpResponse) -> CheckResult:
    """Whether a response is what the check wants; pure."""
    prefix = f"{check.label}: HTTP {response.status}"
    start = " ".join((response.body or "")[:1000].split())[:120]

    def wrong(what: str) -> CheckResult:
        return CheckResult.of(False, f"{prefix}, {what}")

    if response.status != check.status:
        return wrong(f"expected {check.status}; {start}")
    for name, wanted in check.headers.items():
        sent = response.headers.get(name)
        if sent != wanted:
            return wrong(f"but header {name} is {sent!r}, expected {wanted!r}")
    if not check.wants_body:
        return CheckResult.of(True, prefix)
    if response.fault:
        return wrong(f"but {response.fault}; {start}")
    body = response.body or ""
    if check.contains is not None and check.contains not in body:
        return wrong(f"but the body lacks {check.contains!r}; {start}")
    if check.json is not None:
        try:
            data = json.loads(body)
        except (ValueError, RecursionError):
            return wrong(f"but the body is not JSON; {start}")
        if missing := json_difference(check.json, data):
            return wrong(f"but {missing}; {start}")
    return CheckResult.of(True, prefix)


def json_difference(wanted: object, found: object, where: str = "$") -> str:
    """Why ``wanted`` is not contained in ``found``; empty when it is. Tables may hold more keys."""
    if isinstance(wanted, Mapping):
        if not isinstance(found, Mapping):
            return f"{where} is {_brief(found)}, expected a table"
        for key, inner in wanted.items():
            if key not in found:
                return f"{where}.{key} is missing"
            difference = json_difference(inner, found[key], f"{where}.{key}")
            if difference:
                return difference
        return ""
    if type(wanted) is type(found) and wanted == found:
        return ""
    return f"{where} is {_brief(found)}, expected {_brief(wanted)}"


def _brief(data: object) -> str:
    try:
        text = json.dumps(data, ensure_ascii=False, default=str)
    except RecursionError:
        text = "[[[" if isinstance(data, list) else "{{{"
    return text if len(text) <= 60 else text[:57] + "..."


KIND = HttpCheck
