"""SSH to a guest: one paramiko transport per machine, the host key pinned.

paramiko blocks and its time-outs are not to be relied on; every call here runs
in a worker thread, is bounded by a `Deadline` on our side, and a command that
passes it is ended in the guest as well (`orchestrator.guest.command`).
"""

from __future__ import annotations

import shlex
import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.deadline import Deadline, pause
from orchestrator.debug import shown_command, timed
from orchestrator.errors import GuestCommandError, MachineError
from orchestrator.guest.agent import GuestResult
from orchestrator.guest.command import Running, Sink, Source, command_line, run_to_end, shell_line
from orchestrator.guest.transport import Transport, paramiko
from orchestrator.tasks import finish_despite_cancel
from orchestrator.text import duration_text
from orchestrator.threads import in_thread

# Key exchange is the cost of a connection under emulation: the cheapest safe algorithms, nothing else. GCM needs no
# second pass for a MAC, which costs an emulated guest more than the cipher does.
KEX = ("curve25519-sha256@libssh.org",)
CIPHERS = ("aes128-gcm@openssh.com", "aes128-ctr", "aes256-ctr")
HOST_KEYS = ("ssh-ed25519",)
KEEP_ALIVE = 10.0  # seconds between questions to an idle guest
PATIENCE = 45.0  # seconds until one that does not answer is left; an emulated guest on a busy host takes a few


@dataclass(frozen=True, slots=True)
class SshTarget:
    """Where and as whom: all of it is known before the first packet.

    Attributes:
        port: on 127.0.0.1.
        host_key: the pinned ed25519 key, wire format.
        key_file: our private key.
    """

    machine: str
    port: int
    host_key: bytes
    key_file: Path
    user: str = "root"


class Ssh:
    """An open connection. Make it with `connect`, end it with `close`."""

    def __init__(self, target: SshTarget, transport: Transport) -> None:
        self.target = target
        self.machine = target.machine
        self._transport = transport
        self._silence = ""  # why we left

    @property
    def alive(self) -> bool:
        return self._transport.is_active()

    async def exec(  # noqa: PLR0913 - the keywords of subprocess, each by its own name
        self,
        command: Sequence[str],
        *,
        deadline: Deadline,
        user: str = "root",
        environment: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: Source | None = None,
        on_stdout: Sink | None = None,
        on_stderr: Sink | None = None,
    ) -> GuestResult:
        """Run a command; with sinks, output is handed over as it comes instead of collected.

        Args:
            stdin: all of it, or its pieces, which a thread of its own asks for as the guest takes them.

        Raises:
            MachineError: the connection is lost, or the command passed the deadline.
            BaseException: whatever a sink, or the making of stdin, raises; the command is ended then.
        """
        line = command_line(command, user=user, environment=environment, cwd=cwd)
        return await self._run(line, shown_command(command), shlex.join(command), deadline, stdin, on_stdout, on_stderr)

    async def shell(
        self,
        script: str,
        *,
        deadline: Deadline,
        stdin: Source | None = None,
        on_stdout: Sink | None = None,
        on_stderr: Sink | None = None,
    ) -> GuestResult:
        """Run a text for bash as root; arguments and errors as of `exec`. It ends when all have closed its output."""
        line = shell_line(script)
        return await self._run(line, "bash script", script, deadline, stdin, on_stdout, on_stderr)

    async def _run(  # noqa: PLR0913 - what both ways to run have in common
        self,
        line: str,
        shown: str,
        text: str,
        deadline: Deadline,
        stdin: Source | None,
        on_stdout: Sink | None,
        on_stderr: Sink | None,
    ) -> GuestResult:
        running = Running(self, line)

        def run() -> GuestResult:
            try:
                return run_to_end(running, stdin, on_stdout, on_stderr)
            except (paramiko.SSHException, EOFError, OSError) as error:
                raise self.lost(error) from error

        try:
            with timed("ssh", self.machine, shown) as outcome:
                async with deadline.enforce(lambda: self._too_late(text, deadline)):
                    result = await in_thread(run)
                outcome.text = f"code {result.code}, {len(result.stdout)} + {len(result.stderr)} bytes"
                return result
        except BaseException:
            # At the deadline, or when we are cancelled: nothing may go on in the guest.
            await finish_despite_cancel(in_thread(running.end))
            raise

    def _too_late(self, text: str, deadline: Deadline) -> MachineError:
        return MachineError(
            f"a command in machine {self.machine} did not end within {deadline}",
            evidence=[text],
            hint=f"orchestrator shell {self.machine}",
        )

    def open_session(self, timeout: float = 30.0) -> paramiko.Channel:
        """A new session channel (blocking)."""
        try:
            return self._transport.open_session(timeout=timeout)
        except (paramiko.SSHException, EOFError, OSError) as error:
            raise self.lost(error) from error

    def open_direct(self, host: str, port: int, timeout: float) -> paramiko.Channel:
        """A TCP connection made *by the guest* (blocking): it resolves ``host`` and connects.

        Raises:
            ConnectionError: the guest could not connect; the text is its reason.
        """
        try:
            return self._transport.open_channel(
                "direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=max(timeout, 0.1)
            )
        except paramiko.ChannelException as error:
            raise ConnectionError(error.text) from error
        except (paramiko.SSHException, EOFError, OSError) as error:
            # Of two that are refused at once, paramiko tells one thread the reason and the other nothing.
            if str(error) == "Unable to open channel.":
                raise ConnectionError("Connect failed") from error
            raise ConnectionError(str(error) or "the SSH connection is lost") from error

    def signal_of(self, channel: paramiko.Channel) -> str:
        """The signal that the guest said ended a channel's process; empty where it said none."""
        return self._transport.signals.get(channel, "")

    def lost(self, error: BaseException) -> MachineError:
        return MachineError(
            f"the SSH connection to machine {self.machine} is lost",
            why=self._silence or str(error),
            hint=f"orchestrator console {self.machine}",
        )

    def keep_alive(self, seconds: float = KEEP_ALIVE, patience: float = PATIENCE) -> None:
        """Ask the guest every so many seconds; one that does not answer is left, and what waits for it ends.

        A machine that is paused or hangs keeps its connections: QEMU takes what is sent, and nothing ever comes back.
        """

        def cut() -> None:
            self._silence = f"the machine did not answer for {duration_text(patience)}"
            self.cut()

        def ask() -> None:
            while self._transport.is_active():
                cutting = threading.Timer(patience, cut)
                cutting.daemon = True
                cutting.start()
                with suppress(paramiko.SSHException, EOFError, OSError):
                    self._transport.global_request("keepalive@openssh.com", wait=True)
                cutting.cancel()
                threading.Event().wait(seconds)

        threading.Thread(target=ask, daemon=True, name="keep-alive").start()

    def cut(self) -> None:
        """Leave at once (blocking); what waits for an answer ends."""
        self._transport.close()

    async def close(self) -> None:
        await in_thread(self.cut)


async def connect(target: SshTarget, deadline: Deadline) -> Ssh:
    """Connect as soon as sshd answers.

    Raises:
        MachineError: no banner before the deadline, a host key that is not the
            pinned one, or the user key refused.
    """
    last = "nothing answered"
    while True:
        if deadline.expired:
            raise MachineError(
                f"machine {target.machine} does not accept SSH within {deadline}",
                why=last,
                hint=f"orchestrator console {target.machine}",
            )
        try:
            connection = await in_thread(_greet, target.port, min(deadline.left, 10.0))
        except OSError as error:
            last = str(error) or type(error).__name__
            await pause(0.1, deadline)
            continue
        try:
            with timed("ssh", target.machine, "login"):
                return await in_thread(_authenticate, target, connection, deadline)
        except (paramiko.SSHException, EOFError, OSError) as error:
            last = str(error) or type(error).__name__
            await pause(0.2, deadline)


def _greet(port: int, timeout: float) -> socket.socket:
    """A TCP connection on which the guest's sshd has begun to speak.

    QEMU accepts the connection whether or not anybody listens in the guest, so
    only the first bytes of the banner prove anything; they are left in the socket.
    """
    connection = socket.create_connection(("127.0.0.1", port), timeout=timeout)
    try:
        if connection.recv(4, socket.MSG_PEEK) != b"SSH-":
            raise ConnectionError("connection closed before the SSH banner")
    except BaseException:
        connection.close()
        raise
    return connection


def _authenticate(target: SshTarget, connection: socket.socket, deadline: Deadline) -> Ssh:
    transport = Transport(connection)
    transport.banner_timeout = transport.handshake_timeout = transport.auth_timeout = max(deadline.left, 1.0)
    options = transport.get_security_options()
    options.kex, options.ciphers, options.key_types = KEX, CIPHERS, HOST_KEYS
    try:
        transport.start_client(timeout=max(deadline.left, 1.0))
        offered = transport.get_remote_server_key()
        if offered.asbytes() != target.host_key:
            raise MachineError(
                f"machine {target.machine} has another host key than the one pinned at its start",
                why="something else answers on its port, or the guest replaced its key",
                hint=f"orchestrator restart {target.machine}",
            )
        try:
            transport.auth_publickey(target.user, paramiko.Ed25519Key.from_private_key_file(str(target.key_file)))
        except paramiko.AuthenticationException as error:
            if not transport.is_active():  # paramiko says so too of a connection that was lost meanwhile
                raise EOFError("the connection was lost during the login") from error
            raise GuestCommandError(
                f"machine {target.machine} refuses this environment's key",
                why=str(error),
                hint=f"orchestrator console {target.machine}",
            ) from error
    except BaseException:
        transport.close()
        raise
    return Ssh(target, transport)
