"""Stand-ins for the other side of a machine: QMP and guest agent servers, small machines, golden files."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Self, TypeVar

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
    """Compare with tests/golden/PATH; UPDATE_GOLDEN=1 writes it again, to be reviewed."""
    file = GOLDEN / path
    if os.environ.get("UPDATE_GOLDEN"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(actual, encoding="utf-8")
    assert file.read_text(encoding="utf-8") == actual


class Peer:
    """A connection to a fake server, which also takes file descriptors."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.descriptors: list[int] = []  # received, not yet taken

    async def messages(self) -> AsyncIterator[dict[str, Any]]:
        """JSON objects one after the other; clients of QMP send no newline between them."""
        text = ""
        while data := await self._receive():
            text += data.decode()
            while text := text.lstrip():
                try:
                    message, end = json.JSONDecoder().raw_decode(text)
                except ValueError:
                    break  # the rest is still to come
                text = text[end:]
                yield message

    async def _receive(self) -> bytes:
        loop = asyncio.get_running_loop()
        while self._sock.fileno() >= 0:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._sock, 1 << 20, 4)
            except BlockingIOError:
                readable = asyncio.Event()
                loop.add_reader(self._sock, readable.set)
                try:
                    await readable.wait()
                finally:
                    loop.remove_reader(self._sock)
                continue
            self.descriptors += descriptors
            return data
        return b""

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    def send_now(self, data: bytes) -> None:
        with suppress(OSError):
            self._sock.send(data)

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors.clear()
        if self._sock.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._sock)
            self._sock.close()


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
        self.passed: dict[int, int] = {}  # number of an fd set → descriptor
        self._peers: list[Peer] = []

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Self]:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.path))
            listener.listen()
            listener.setblocking(False)
            accepting = asyncio.create_task(self._accept(listener))
            try:
                yield self
            finally:
                accepting.cancel()
                with suppress(asyncio.CancelledError):
                    await accepting
                for descriptor in self.passed.values():
                    os.close(descriptor)
                self.passed.clear()

    def content_to(self, uri: str, content: bytes) -> None:
        """Write a file as QEMU would for a ``file:`` URI, also one that was passed."""
        name = uri.removeprefix("file:")
        if name.startswith("/dev/fdset/"):
            os.write(self.passed[int(name.rpartition("/")[2])], content)
        else:
            Path(name).write_bytes(content)

    def content_of(self, uri: str) -> bytes:
        """What a ``file:`` URI, also of a file that was passed, has for QEMU."""
        name = uri.removeprefix("file:")
        if name.startswith("/dev/fdset/"):
            return os.pread(self.passed[int(name.rpartition("/")[2])], 1 << 20, 0)
        return Path(name).read_bytes()

    async def _accept(self, listener: socket.socket) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    sock, _ = await asyncio.get_running_loop().sock_accept(listener)
                    sock.setblocking(False)
                    group.create_task(self._serve(Peer(sock)))
        finally:
            for peer in self._peers:
                peer.close()

    def event(self, name: str, **data: object) -> None:
        """Send an event to every client."""
        message = {"event": name, "data": data, "timestamp": {"seconds": 0, "microseconds": 0}}
        for peer in self._peers:
            peer.send_now(json.dumps(message).encode() + b"\r\n")

    async def _serve(self, peer: Peer) -> None:
        self.connections += 1
        self._peers.append(peer)
        try:
            if self.greeting is GARBAGE:
                await peer.send(b"220 mail ready\r\n")
            elif self.greeting is True:
                await peer.send(json.dumps(GREETING).encode() + b"\r\n")
            async for message in peer.messages():
                await self._answer(message, peer)
        except OSError:
            pass
        finally:
            peer.close()

    async def _answer(self, message: dict[str, Any], peer: Peer) -> None:
        command = message["execute"]
        self.log.append(command)
        reply: dict[str, object] = {"id": message["id"]} if "id" in message else {}
        if command == "qmp_capabilities":
            answer: object = {}
        elif command == "add-fd":
            number = len(self.passed)
            self.passed[number] = peer.descriptors.pop(0)
            answer = {"fdset-id": number, "fd": self.passed[number]}
        elif command == "remove-fd":
            answer = {}
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
            peer.close()
            return
        if answer is GARBAGE:
            await peer.send(b"\x00\xff{{{\r\n")
            return
        if "error" not in reply:
            reply["return"] = answer
        await peer.send(json.dumps(reply).encode() + b"\r\n")


class FakeGuest(FakeServer):
    """A guest agent that runs its commands on this host, as children of the test.

    Args:
        lost: how many syncs are swallowed before the first answer.

    Attributes:
        programs: by name, those that must not run on this host: words → code, stdout, stderr.
        commands: every command it was given, word by word.
        lines: those that run or ran, by pid.
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
                    "count": len(self.files[arguments["handle"]]),
                    "eof": False,
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
        self.lines: dict[int, str] = {}
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
        self.lines[process.pid] = " ".join(words)
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
