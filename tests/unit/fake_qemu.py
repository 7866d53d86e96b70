"""Stand-ins for the other side of a machine: QMP and guest agent servers, small machines, golden files."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Self, TypeVar

from orchestrator.topology.model import Link, Machine, Network, NetworkKind, PortForward, Topology

T = TypeVar("T")
GOLDEN = Path(__file__).resolve().parents[1] / "golden"
GREETING = {"QMP": {"version": {"qemu": {"micro": 2, "minor": 0, "major": 10}, "package": ""}, "capabilities": []}}
SILENT = object()  # a handler's answer that is never sent
CLOSE = object()  # hang up instead of answering
GARBAGE = object()  # bytes that are no JSON


class Refused(Exception):
    """Makes a fake server answer with an error."""


Handler = Callable[[dict[str, Any]], object]


def run_async(work: Coroutine[Any, Any, T], limit: float = 20.0) -> T:
    """Run to the end; a test that hangs fails instead. Tasks that are left over fail it too."""

    async def bounded() -> T:
        async with asyncio.timeout(limit):
            result = await work
        await asyncio.sleep(0)
        return result

    return asyncio.run(bounded())


def golden(path: str, actual: str) -> None:
    """Compare with tests/golden/PATH; UPDATE_GOLDEN=1 writes it anew, to be reviewed."""
    file = GOLDEN / path
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(actual, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == actual


async def _messages(reader: asyncio.StreamReader) -> AsyncIterator[dict[str, Any]]:
    """JSON objects one after the other; clients of QMP send no newline between them."""
    text = ""
    while data := await reader.read(1 << 20):
        text += data.decode()
        while text := text.lstrip():
            try:
                message, end = json.JSONDecoder().raw_decode(text)
            except ValueError:
                break  # the rest is still to come
            text = text[end:]
            yield message


class FakeServer:
    """Speaks the protocol of QMP, or with ``greeting=False`` that of the guest agent.

    Attributes:
        handlers: command → function of its arguments; unknown commands are refused.
        log: every command received, in order.
        connections: how many there were.
    """

    def __init__(self, path: Path, handlers: dict[str, Handler], *, greeting: object = True) -> None:
        self.path = path
        self.handlers = handlers
        self.greeting = greeting
        self.log: list[str] = []
        self.connections = 0
        self._writers: list[asyncio.StreamWriter] = []

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Self]:
        server = await asyncio.start_unix_server(self._serve, str(self.path), limit=1 << 26)
        try:
            yield self
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            await asyncio.sleep(0)

    def event(self, name: str, **data: object) -> None:
        """Send an event to every client."""
        message = {"event": name, "data": data, "timestamp": {"seconds": 0, "microseconds": 0}}
        for writer in self._writers:
            writer.write(json.dumps(message).encode() + b"\r\n")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        with suppress(ConnectionError, asyncio.CancelledError):
            if self.greeting is GARBAGE:
                writer.write(b"220 mail ready\r\n")
            elif self.greeting is True:
                writer.write(json.dumps(GREETING).encode() + b"\r\n")
            async for message in _messages(reader):
                await self._answer(message, writer)
        writer.close()

    async def _answer(self, message: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        command = message["execute"]
        self.log.append(command)
        reply: dict[str, object] = {"id": message["id"]} if "id" in message else {}
        if command == "qmp_capabilities":
            answer: object = {}
        else:
            try:
                answer = self.handlers[command](message.get("arguments", {}))
                if asyncio.iscoroutine(answer):
                    answer = await answer
            except (Refused, KeyError) as error:
                reply["error"] = {"class": "GenericError", "desc": str(error)}
                answer = None
        if answer is SILENT:
            return
        if answer is CLOSE:
            writer.close()
            return
        if answer is GARBAGE:
            writer.write(b"\x00\xff{{{\r\n")
            return
        if "error" not in reply:
            reply["return"] = answer
        writer.write(json.dumps(reply).encode() + b"\r\n")
        await writer.drain()


class FakeGuest(FakeServer):
    """A guest agent that runs its commands on this host, as children of the test.

    Args:
        lost: how many syncs are swallowed before the first answer.

    Attributes:
        programs: by name, those that must not run on this host: words → code, stdout, stderr.
        commands: every command it was given, word by word.
    """

    def __init__(self, path: Path, *, lost: int = 0) -> None:
        super().__init__(
            path,
            {
                "guest-sync": self._sync,
                "guest-exec": self._exec,
                "guest-exec-status": self._status,
                "guest-ping": lambda _: {},
                "guest-file-open": self._open,
                "guest-file-read": lambda arguments: {
                    "buf-b64": base64.b64encode(self.files[arguments["handle"]]).decode(),
                    "count": len(self.files[arguments["handle"]]), "eof": False,
                },
                "guest-file-write": self._file_write,
                "guest-file-close": self._close,
            },
            greeting=False,
        )
        self._lost = lost
        self.root = Path("/")  # where the guest's files lie
        self.files: dict[int, bytes] = {}
        self.written: dict[int, Path] = {}
        self.running: dict[int, tuple[asyncio.subprocess.Process, asyncio.Task[tuple[bytes, bytes]]]] = {}
        self.programs: dict[str, Callable[[list[str]], tuple[int, bytes, bytes]]] = {}
        self.commands: list[list[str]] = []
        self._results: dict[int, tuple[int, bytes, bytes]] = {}

    def _sync(self, arguments: dict[str, Any]) -> object:
        self._lost -= 1
        return SILENT if self._lost >= 0 else arguments["id"]

    def _close(self, arguments: dict[str, Any]) -> object:
        del self.files[arguments["handle"]]
        return {}

    def _file_write(self, arguments: dict[str, Any]) -> object:
        content = base64.b64decode(arguments["buf-b64"])
        self.written[arguments["handle"]].write_bytes(content)
        return {"count": len(content), "eof": False}

    def _open(self, arguments: dict[str, Any]) -> object:
        handle = 1000 + len(self.files)
        path = self.root / arguments["path"].lstrip("/")
        try:
            if arguments["mode"] == "w":
                path.write_bytes(b"")
                self.written[handle] = path
            self.files[handle] = path.read_bytes()
        except OSError as error:
            raise Refused(str(error)) from error
        return handle

    async def _exec(self, arguments: dict[str, Any]) -> object:
        words = [arguments["path"], *arguments["arg"]]
        self.commands.append(words)
        if words[0] in self.programs:
            pid = -len(self.commands)  # of no process
            self._results[pid] = self.programs[words[0]](words)
            return {"pid": pid}
        try:
            process = await self._spawn(arguments)
        except OSError as error:
            raise Refused(f"Failed to execute child process: {error}") from error
        data = base64.b64decode(arguments["input-data"]) if "input-data" in arguments else None
        self.running[process.pid] = (process, asyncio.create_task(process.communicate(data)))
        return {"pid": process.pid}

    @staticmethod
    async def _spawn(arguments: dict[str, Any]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            arguments["path"],
            *arguments["arg"],
            env=dict(pair.split("=", 1) for pair in arguments["env"]) if "env" in arguments else None,
            stdin=asyncio.subprocess.PIPE if "input-data" in arguments else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    def _status(self, arguments: dict[str, Any]) -> object:
        if arguments["pid"] in self._results:
            code, out, err = self._results.pop(arguments["pid"])
            return self._ended(code, out, err)
        process, output = self.running[arguments["pid"]]
        if not output.done():
            return {"exited": False}
        assert process.returncode is not None
        return self._ended(process.returncode, *output.result())

    @staticmethod
    def _ended(code: int, out: bytes, err: bytes) -> dict[str, object]:
        answer: dict[str, object] = {"exited": True, **({"exitcode": code} if code >= 0 else {"signal": -code})}
        if out:
            answer["out-data"] = base64.b64encode(out).decode()
        if err:
            answer["err-data"] = base64.b64encode(err).decode()
        return answer


# ------------------------------------------------------------------ small topologies


def machine(
    name: str = "server",
    *,
    links: tuple[Link, ...] = (),
    egress: bool = False,
    ports: tuple[tuple[int, int], ...] = (),
    memory: int = 1024,
    cpus: int = 2,
) -> Machine:
    forwards = tuple(PortForward(host, guest) for host, guest in ports)
    return Machine(name, "image", cpus, memory, links, egress, forwards)


def link(network: str, last: int, subnet: int = 1) -> Link:
    return Link(network, IPv4Address(f"192.168.{subnet}.{last}"), 24, f"52:54:00:00:{subnet:02x}:{last:02x}")


def network(name: str, kind: NetworkKind = NetworkKind.VDE, subnet: int = 1) -> Network:
    return Network(name, kind, IPv4Network(f"192.168.{subnet}.0/24"))


def topology(path: Path, *machines: Machine, **parts: Any) -> Topology:
    """A topology of these machines; ``parts`` replaces fields."""
    fields: dict[str, Any] = {
        "name": "shop",
        "path": path / "orchestrator.toml",
        "variant": "",
        "variants": (),
        "app": None,
        "networks": {},
        "images": {},
        "machines": {m.name: m for m in machines},
        "services": {},
        "suite": None,
    }
    return Topology(**{**fields, **parts})
