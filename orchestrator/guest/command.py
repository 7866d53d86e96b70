"""One command on one SSH channel: its line, its pid, its end.

A command's shell prints its pid as the first line of its output, which is how we
know what to end. It may have to be ended before that line came. Then the channel is
closed first and the guest is searched for the line's own mark afterwards. sshd takes
what we send in order, so a shell that is there by then is found, and a later one ends
by itself: nobody reads its first line any more.
"""

from __future__ import annotations

import secrets
import shlex
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Protocol

from orchestrator.guest.agent import GUEST_PATH, GuestResult, as_user, become
from orchestrator.guest.transport import paramiko

CHUNK = 1 << 21  # all that paramiko holds at most: taking a part of it moves the rest
PACKET = 1 << 15  # bytes of stdin handed to paramiko at once: what it cannot send at once it would copy again
END_GRACE = 5.0  # seconds the guest has to end a command before we stop waiting for that
STATUS_GRACE = 30.0  # seconds between the last output of a command and its status
# Of root's login, and of no use to another user.
OF_ROOT = "unset MAIL XDG_RUNTIME_DIR XDG_SESSION_ID DBUS_SESSION_BUS_ADDRESS"

Sink = Callable[[bytes], object]
Source = bytes | Iterable[bytes]


def command_line(
    command: Sequence[str],
    *,
    user: str = "root",
    environment: Mapping[str, str] | None = None,
    cwd: str | None = None,
) -> str:
    """The line for the guest's login shell: pid first, then our PATH, then the command itself.

    The shell stays (no ``exec``, and ``exit`` comes last): a command that a signal ends
    then has the code 128+n. What the shell can do itself (``true``, ``test``) starts no
    program. Another user's command begins in that user's folder, as after a login.
    """
    assignments = [f"{name}={value}" for name, value in (environment or {}).items()]
    words = as_user([*(["env", *assignments] if assignments else []), *command], user)
    parts = ["echo $$ || exit", f"export PATH={GUEST_PATH}"]
    if user != "root":
        parts += [become(user), OF_ROOT, 'cd "$HOME" 2>/dev/null || cd /']
    if cwd is not None:
        parts.append(f"cd {shlex.quote(cwd)} || exit 126")
    # Quoted, the first word is never a keyword of the shell (`time`, `if`).
    line = " ".join([f"'{words[0]}'" if words[0].isalnum() else shlex.quote(words[0]), *map(shlex.quote, words[1:])])
    return "; ".join([*parts, line, "exit $?"])


def shell_line(script: str) -> str:
    """A text for bash as the line for the guest's login shell, which runs it itself where it is bash.

    One program less to start than ``bash -c``. The shell stays, so that a command which a signal ends has the code
    128+n.
    """
    text = f"{script}\nexit $?"
    run = '[ -n "${BASH_VERSION-}" ] || exec bash -c "$_orch"; eval "$_orch"'
    return f"echo $$ || exit; export PATH={GUEST_PATH}; _orch={shlex.quote(text)}; {run}"


class Connection(Protocol):
    """What a command needs of the connection to its guest (`orchestrator.guest.ssh.Ssh`)."""

    def open_session(self, timeout: float = ...) -> paramiko.Channel:
        """A new session channel."""
        ...

    def signal_of(self, channel: paramiko.Channel) -> str:
        """The signal that ended a channel's process; empty where the guest named none."""
        ...


class Running:
    """A command in a guest. Everything here blocks; `end` may be called from another thread, and more than once."""

    def __init__(self, ssh: Connection, line: str) -> None:
        self._ssh = ssh
        self._mark = f"orch-{secrets.token_hex(8)}"
        # Words of the host's command line may be any bytes; Python keeps those that are no UTF-8 as surrogates.
        self._line = f": {self._mark}; {line}".encode("utf-8", "surrogateescape")
        self._lock = threading.Lock()
        self._channel: paramiko.Channel | None = None
        self._asked = threading.Event()  # the request was sent and answered, or failed: nothing of it follows any more
        self._pid: int | None = None
        self._given_up = False

    def begin(self) -> paramiko.Channel:
        """Open the channel and start the command.

        Raises:
            MachineError: the connection is lost.
            EOFError: `end` was called before.
        """
        channel = self._ssh.open_session()
        with self._lock:
            if self._given_up:  # a guest that hung answers only now: it must not begin what nobody waits for
                channel.close()
                raise EOFError("given up")
            self._channel = channel
        try:
            channel.exec_command(self._line)
        finally:
            self._asked.set()
        return channel

    def first_output(self) -> bytes:
        """Read up to the pid; what came with it and belongs to the command."""
        assert self._channel is not None
        head = bytearray()
        while b"\n" not in head:
            chunk = self._channel.recv(CHUNK)
            if not chunk:
                return bytes(head)
            head += chunk
        first, _, rest = bytes(head).partition(b"\n")
        if not first.isdigit():
            return bytes(head)
        self._pid = int(first)
        return rest

    def exit_code(self) -> int:
        """The exit code, 128+n for a signal n; the command's output has ended.

        Raises:
            EOFError: the guest told none.
        """
        assert self._channel is not None
        # The status follows the last data; paramiko's own wait for it knows no limit.
        self._channel.status_event.wait(STATUS_GRACE)
        if self._channel.exit_status < 0:
            raise EOFError("the channel closed without an exit status")
        return int(self._channel.exit_status)

    @property
    def ended_by(self) -> str:
        """The signal that ended the command's own shell (``SIGKILL``), empty where none did."""
        return "" if self._channel is None else self._ssh.signal_of(self._channel)

    def end(self, taker: threading.Thread | None = None) -> None:
        """End the command's whole session in the guest, and what waits for its output here.

        A guest that does not answer is not waited for; it ends the command when it does,
        as long as the connection lives.

        Args:
            taker: takes the command's output; it has a moment for what was printed before the end.
        """
        with self._lock:
            self._given_up = True
            channel = self._channel
        if channel is None:
            return
        ending = threading.Thread(target=self._end, args=(channel,), daemon=True, name="end-command")
        ending.start()
        ending.join(END_GRACE)
        if taker is not None:
            taker.join(END_GRACE)
        channel.close()

    def _end(self, channel: paramiko.Channel) -> None:
        # A request that overtakes the end of its own channel would cost the whole connection.
        self._asked.wait()
        pid = self._pid
        if pid is None:
            channel.close()
        with suppress(Exception), self._ssh.open_session(timeout=3600) as other:
            # sshd makes every session a process group of its own, led by this pid.
            other.exec_command(f"kill -KILL -- -{pid}" if pid is not None else search_and_kill(self._mark))
            other.status_event.wait(STATUS_GRACE)


def search_and_kill(mark: str) -> str:
    """A line for the guest's shell that ends the sessions whose shell has the mark in its command line. Pure."""
    # In brackets, a part of the mark does not match this line itself.
    pattern = f"{mark[:-1]}[{mark[-1]}]"
    return (
        f"export PATH={GUEST_PATH}; for found in $(grep -ls '{pattern}' /proc/[0-9]*/cmdline); do "
        "found=${found#/proc/}; kill -KILL -- -${found%/cmdline} 2>/dev/null; done; exit 0"
    )


def run_to_end(running: Running, stdin: Source | None, on_stdout: Sink | None, on_stderr: Sink | None) -> GuestResult:
    """Start it, feed it, take its output, wait for it (blocking); with sinks, output is handed over as it comes.

    Raises:
        paramiko.SSHException, EOFError, OSError: the connection is lost, or the command was ended from here.
        BaseException: whatever a sink, or the making of stdin, raises.
    """
    out, err = bytearray(), bytearray()
    channel = running.begin()
    feeder = None if stdin is None else _Feeder(channel, stdin)
    try:
        errors = _Drain(channel.recv_stderr, on_stderr or err.extend)
        errors.start()
        if feeder is None:
            channel.shutdown_write()
        else:
            feeder.start()
        sink = on_stdout or out.extend
        rest = running.first_output()
        if rest:
            sink(rest)
        while chunk := channel.recv(CHUNK):
            sink(chunk)
        errors.finish()
        code = running.exit_code()
    except (paramiko.SSHException, EOFError, OSError):
        if feeder is not None and feeder.failure is not None:
            raise feeder.failure from None
        raise
    finally:
        channel.close()
    if feeder is not None and feeder.failure is not None:
        raise feeder.failure
    return GuestResult(code, bytes(out), bytes(err))


class _Drain(threading.Thread):
    """Reads one stream of a channel to its end, so that the guest can go on, also where the sink fails."""

    def __init__(self, read: Callable[[int], bytes], sink: Sink) -> None:
        super().__init__(daemon=True, name="stderr")
        self._read = read
        self._sink = sink
        self._failure: Exception | None = None

    def run(self) -> None:
        while chunk := self._read(CHUNK):
            if self._failure is None:
                try:
                    self._sink(chunk)
                except Exception as error:  # noqa: BLE001 - it is raised in the command's own thread
                    self._failure = error

    def finish(self) -> None:
        """Wait for the end; raises what the sink raised."""
        self.join()
        if self._failure is not None:
            raise self._failure


class _Feeder(threading.Thread):
    """Sends stdin at the speed at which the guest takes it.

    Attributes:
        failure: what hindered its making; the command is ended then.
    """

    def __init__(self, channel: paramiko.Channel, source: Source) -> None:
        super().__init__(daemon=True, name="stdin")
        self._channel = channel
        self._pieces = iter((source,) if isinstance(source, bytes) else source)
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while True:
                try:
                    piece = next(self._pieces, None)
                except BaseException as error:  # noqa: BLE001 - it is raised in the command's own thread
                    self.failure = error
                    self._channel.close()
                    return
                if piece is None or not _send(self._channel, piece):
                    break
            self._channel.shutdown_write()
        except (OSError, EOFError, paramiko.SSHException):
            pass  # the command may end without reading it
        finally:
            close = getattr(self._pieces, "close", None)
            if close is not None:
                with suppress(Exception):
                    close()


def _send(channel: paramiko.Channel, data: bytes) -> bool:
    """Send all of it; whether the command still reads. `sendall` would copy what is left for each packet."""
    at, view = 0, memoryview(data)
    while at < len(view):
        sent = channel.send(bytes(view[at : at + PACKET]))
        if sent == 0:
            return False
        at += sent
    return True
