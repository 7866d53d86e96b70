"""The mocks as tests use them: on the path, served by this process, and requests to them."""

# mypy: disable-error-code="import-not-found"
# The stand-in is a program of its own, outside the package that mypy is pointed at.
from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STANDIN = Path(__file__).resolve().parents[2] / "standin"
sys.path[:0] = [str(STANDIN / "lib"), str(STANDIN / "mocks")]

from alicia_mocks.http import Application, Request, Response, Server  # noqa: E402

NOW = 1_800_000_000


def post(path: str, data: object, **headers: str) -> Request:
    return Request("POST", path, headers=headers, body=json.dumps(data).encode())


def decoded(response: Response) -> dict[str, object]:
    assert isinstance(response.body, bytes)
    data = json.loads(response.body)
    assert isinstance(data, dict)
    return data


@contextmanager
def served(application: Application) -> Iterator[tuple[str, int]]:
    with Server("127.0.0.1", 0, application) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            host, port = server.server_address[:2]
            yield str(host), int(port)
        finally:
            server.shutdown()
            thread.join(5)
