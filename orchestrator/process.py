"""Host processes: the only module that starts any.

Three kinds, by who owns their end:

* `run`: a short command; its output is wanted, it ends by itself.
* `child`: lives as long as an ``async with`` block, then its whole group is ended.
* `launch`: outlives this program (QEMU, vde_switch of `up`); known again later
  by a `ProcessId`, which a reused pid cannot counterfeit.

Everything gets its own session, so that Ctrl-C reaches this program only and
we decide what ends when. Nothing is ever ended by name.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from orchestrator.deadline import FOREVER, Deadline, wait_until
from orchestrator.debug import shown_command, timed
from orchestrator.errors import HostError
from orchestrator.process_id import TERM_GRACE, ProcessId
from orchestrator.tasks import finish_despite_cancel
from orchestrator.text import duration_text
from orchestrator.threads import in_thread

OUTPUT_GRACE = 1.0  # seconds for the rest of a command's output after its end
KILL_AFTER = 2  # seconds that a short command has to end in order when its time is over


@dataclass(frozen=True, slots=True)
class Completed:
    """A finished short command. ``code`` is negative for a signal, as in `subprocess`."""

    argv: tuple[str, ...]
    code: int
    stdout: str
    stderr: str


def describe_exit(code: int) -> str:
    """``exited with 3`` or ``was ended by SIGKILL``."""
    if code < 0:
        known = -code in {number.value for number in signal.Signals}
        return f"was ended by {signal.Signals(-code).name if known else f'signal {-code}'}"
    return f"exited with {code}"


# The shell leads the session's only group; it outlives its own signal to tell the command's exit code.
_GUARD = f'timeout --foreground --kill-after={KILL_AFTER} "$@"; code=$?; trap "" TERM; kill -TERM 0; exit $code'


async def run(
    argv: Sequence[str],
    *,
    deadline: Deadline,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    hint: str = "",
) -> Completed:
    """Run a short command and return its output.

    subprocess-tee starts an event loop of its own and knows no limit, so it runs
    in a worker thread, under timeout(1), in a session of its own: what the command
    leaves behind is ended with it. What refuses to end, or has left the session, may
    hold the pipe; it is not waited for beyond the deadline.

    Raises:
        HostError: the program is missing, ran past the deadline, or (with ``check``) failed.
    """
    done = await _run(argv, {"quiet": True, "tee": False}, deadline, hint=hint, env=env, cwd=cwd)
    if check and done.code != 0:
        raise HostError(
            f"{argv[0]} {describe_exit(done.code)}",
            why=done.stderr.strip()[-2000:],
            evidence=[" ".join(argv)],
            hint=hint,
        )
    return done


async def run_shown(
    argv: Sequence[str],
    on_line: Callable[[str], object],
    *,
    deadline: Deadline,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Completed:
    """As `run` without ``check``; each line of both streams is also handed over as it comes, in a worker thread."""
    return await _run(argv, {"stdout": _Lines(on_line), "stderr": _Lines(on_line)}, deadline, env=env, cwd=cwd)


async def _run(
    argv: Sequence[str],
    output: Mapping[str, object],
    deadline: Deadline,
    *,
    hint: str = "",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Completed:
    import subprocess_tee  # only where a command is really run

    if shutil.which(argv[0], path=None if env is None else env.get("PATH")) is None:
        raise HostError(f"{argv[0]} is not installed", hint=hint or "orchestrator doctor")
    limit = max(deadline.left, 0.1)
    command = ["setsid", "sh", "-c", _GUARD, "sh", f"{limit + 0.001:.3f}", *argv]  # not before our own deadline
    place: dict[str, object] = {} if env is None else {"env": dict(env)}
    if cwd is not None:
        place["cwd"] = str(cwd)

    def too_late() -> HostError:
        what = f"{argv[0]} did not end within {duration_text(limit)}"
        return HostError(what, evidence=[" ".join(argv)], hint=hint)

    try:
        with timed("host", "", shown_command(argv)) as outcome:
            async with Deadline.after(limit + KILL_AFTER + OUTPUT_GRACE).enforce(too_late):
                # What comes in on our stdin is for a guest's command, not for this one.
                result = await in_thread(subprocess_tee.run, command, stdin=subprocess.DEVNULL, **output, **place)
            outcome.text = f"code {result.returncode}"
    except OSError as error:
        raise _not_started(command[0], error) from error
    done = Completed(tuple(argv), result.returncode, result.stdout or "", result.stderr or "")
    if done.code in (124, 137) and deadline.expired:
        raise too_late()
    return done


class _Lines:
    """What subprocess-tee prints a command's output to: hands over each line."""

    def __init__(self, on_line: Callable[[str], object]) -> None:
        self._on_line = on_line
        self._line = ""

    def write(self, text: str) -> None:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            with suppress(OSError):  # of a full disk, say: the command goes on
                self._on_line(line)


def _not_started(program: str, error: OSError) -> HostError:
    if isinstance(error, FileNotFoundError):
        return HostError(f"{program} is not installed", hint="orchestrator doctor")
    return HostError(f"{program} cannot be started", why=str(error))


@asynccontextmanager
async def child(  # noqa: PLR0913 - the keywords of subprocess, each by its own name
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int | IO[bytes] | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = subprocess.PIPE,
    stderr: int | IO[bytes] | None = subprocess.STDOUT,
    grace: float = TERM_GRACE,
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that lives as long as the block; its whole group is ended with it."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
            limit=1 << 20,
        )
    except OSError as error:
        raise _not_started(argv[0], error) from error
    _children.add(process.pid)
    try:
        yield process
    finally:
        await finish_despite_cancel(_ended(process, grace))


async def _ended(process: asyncio.subprocess.Process, grace: float) -> None:
    """End a child and its group. Until it is gone, `kill_children` finds it."""
    if process.returncode is None:
        identity = ProcessId.of(process.pid)
        if identity is not None:
            await identity.end(grace)
    # Grandchildren that outlived their parent still carry its group.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    _children.discard(process.pid)
    await reaped(process)
    # Its pipes may still be open: reading was cut short, or a grandchild of another session holds them. wait()
    # would wait for them; asyncio offers no public way to close them.
    process._transport.close()  # type: ignore[attr-defined]


_children: set[int] = set()  # leaders of the groups of all living children


def kill_children() -> None:
    """SIGKILL to every child of a block that is still open: what is left to do before leaving at once."""
    for pid in _children:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


async def reaped(process: asyncio.subprocess.Process) -> None:
    """Wait until the exit code of an ended process is known, and for nothing else."""
    # wait() would also wait for its pipes
    await wait_until(lambda: process.returncode is not None, Deadline.after(FOREVER), first=0.002)


def launch(
    argv: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    endless_stdin: bool = False,
    descriptors: Sequence[int] = (),
) -> ProcessId:
    """Start a process that outlives this program, output appended to ``log``.

    It must be called from the main thread of the event loop and never holds
    our terminal. The caller records the returned identity before anything else.

    Args:
        endless_stdin: its stdin neither gives anything nor ends, for programs that
            stop at its end: a pipe whose other side the process itself holds.
        descriptors: open files that it gets under the same numbers.
    """
    with ExitStack() as stack:
        stack.enter_context(timed("host", "", f"start {shown_command(argv)}"))
        sink = stack.enter_context(log.open("ab"))
        stdin: int = subprocess.DEVNULL
        held: tuple[int, ...] = ()
        if endless_stdin:
            stdin, other_side = os.pipe()
            held = (other_side,)
            for descriptor in (stdin, other_side):
                stack.callback(os.close, descriptor)
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=stdin,
                pass_fds=(*held, *descriptors),
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=None if env is None else dict(env),
                cwd=cwd,
                start_new_session=True,
                umask=0o077,  # sockets and files the child makes are the owner's only
            )
        except OSError as error:
            raise _not_started(argv[0], error) from error
    identity = ProcessId.of(process.pid)
    if identity is None:
        raise HostError(f"{argv[0]} ended at once", where=[str(log)], evidence=tail(log, 10))
    _launched[process.pid] = process
    return identity


# Kept so that a child of ours is reaped when it ends, and its exit code is known.
_launched: dict[int, subprocess.Popen[bytes]] = {}


def exit_code(identity: ProcessId) -> int | None:
    """The exit code of a launched process that ended, if it was our child; also reaps it."""
    process = _launched.get(identity.pid)
    return None if process is None else process.poll()


def tail(path: Path, lines: int, limit: int = 64 * 1024) -> list[str]:
    """The last lines of a text file; empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - limit))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return []
    return [line.rstrip("\r") for line in text.split("\n") if line.strip()][-lines:]
