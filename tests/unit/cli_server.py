"""Commands as processes of their own, without the third of a second that Python and its imports take.

One helper process has everything imported. For each command it forks: the child gets the descriptors, the folder and
the environment that a program started from a shell would get, calls what ``python -m orchestrator`` calls, and ends as
Python ends. What happens before the first line of `orchestrator.__main__.run` is not tested by it: for that, for what
is told by environment variables to Python itself, and for signals, tests start a Python of their own.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import pkgutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

LIMIT = 120.0  # seconds for one command
CLOSED = -1
STARTED, ENDED = "started", "ended"


@dataclass(frozen=True)
class Done:
    """What a command gave: ``code`` as in `subprocess.CompletedProcess`."""

    code: int
    out: bytes
    err: bytes


class CommandServer:
    """The helper process, started at its first use; it ends with us."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: socket.socket | None = None

    def run(
        self,
        words: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        *,
        streams: Mapping[int, int] | None = None,
        closed: Collection[int] = (),
    ) -> Done:
        """Run one command to its end.

        Args:
            streams: 0, 1 or 2 → the descriptor it gets; without it, nothing for 0, and what is returned for 1 and 2.
            closed: those of 0, 1 and 2 that it does not have at all.

        Raises:
            TimeoutError: it did not end; it is killed.
        """
        with self._lock:
            connection = self._connection or self._start()
            own: list[int] = []
            outputs: dict[int, IO[bytes]] = {}
            given = {**(streams or {})}
            try:
                if 0 not in given:
                    given[0] = os.open(os.devnull, os.O_RDONLY)
                    own.append(given[0])
                for number in (1, 2):
                    if number not in given:
                        reading, given[number] = os.pipe()
                        own.append(given[number])
                        outputs[number] = os.fdopen(reading, "rb")
                request = {
                    "words": list(words),
                    "folder": str(folder),
                    "environment": dict(environment),
                    "closed": sorted(closed),
                }
                socket.send_fds(connection, [b"\0"], [given[0], given[1], given[2]])
                _send(connection, request)
            finally:
                for descriptor in own:
                    os.close(descriptor)
            return self._result(connection, outputs)

    def _result(self, connection: socket.socket, outputs: Mapping[int, IO[bytes]]) -> Done:
        pid = _receive(connection)[STARTED]
        texts = {1: b"", 2: b""}

        def read(number: int, file: IO[bytes]) -> None:
            with file:
                texts[number] = file.read()

        readers = [threading.Thread(target=read, args=item) for item in outputs.items()]
        for reader in readers:
            reader.start()
        try:
            code = _receive(connection)[ENDED]
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            _receive(connection)
            raise
        finally:
            for reader in readers:
                reader.join(LIMIT)
        return Done(code, texts[1], texts[2])

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("ORCH_")}
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**environment, "PYTHONPATH": str(Path(__file__).parents[2])},
        )
        theirs.close()
        ours.settimeout(LIMIT)
        self._connection = ours

        def end() -> None:
            ours.close()
            process.wait()

        atexit.register(end)
        return ours


def _send(connection: socket.socket, message: Mapping[str, Any]) -> None:
    data = json.dumps(message).encode()
    connection.sendall(len(data).to_bytes(4, "big") + data)


def _receive(connection: socket.socket) -> dict[str, Any]:
    """The next message; empty when the other side has ended."""
    data = b""
    wanted = 4
    while len(data) < wanted:
        more = connection.recv(wanted - len(data))
        if not more:
            return {}
        data += more
        if wanted == 4 == len(data):
            wanted += int.from_bytes(data, "big")
    message: dict[str, Any] = json.loads(data[4:])
    return message


# ------------------------------------------------------------------ the helper process


def serve(connection: socket.socket) -> None:
    """Fork for every request. Returns in the child, ready to run its command; never in the helper itself."""
    while True:
        mark, descriptors, _, _ = socket.recv_fds(connection, 1, 3)
        request = _receive(connection) if mark else {}
        if not request:
            sys.exit(0)
        pid = os.fork()
        if pid == 0:
            connection.close()
            _become(request, descriptors)
            return
        for descriptor in descriptors:
            os.close(descriptor)
        _send(connection, {STARTED: pid})
        _, status = os.waitpid(pid, 0)
        _send(connection, {ENDED: os.waitstatus_to_exitcode(status)})


def _become(request: Mapping[str, Any], descriptors: Sequence[int]) -> None:
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    os.chdir(request["folder"])
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    for number in request["closed"]:
        os.close(number)
    files = [None if number in request["closed"] else number for number in range(3)]
    sys.stdin, sys.stdout, sys.stderr = (
        None if number is None else open(number, mode, encoding="utf-8", closefd=False)  # noqa: SIM115
        for number, mode in zip(files, ("r", "w", "w"), strict=True)
    )
    sys.argv = ["orchestrator", *request["words"]]


def preload() -> None:
    """The whole package, and what it imports late."""
    import orchestrator

    for module in pkgutil.walk_packages(orchestrator.__path__, "orchestrator."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("httpx", "paramiko", "re2", "rich.console", "rich.table", "rich.live", "subprocess_tee"):
        importlib.import_module(name)


if __name__ == "__main__":
    import gc

    import orchestrator.__main__ as program

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    preload()
    gc.freeze()
    serve(socket.socket(fileno=int(sys.argv[1])))
    sys.exit(program.run())
