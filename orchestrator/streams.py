"""Standard input, output and error as we inherit them: closed, non-blocking, full, or abandoned by their reader.

A descriptor that we inherit is shared with other processes: its flags are never changed. Where it does not block, we
wait until it is ready; EAGAIN is neither an end nor an error.
"""

from __future__ import annotations

import codecs
import io
import os
import select
import stat
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, TextIO

from orchestrator.errors import HostError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

STDIN, STDOUT, STDERR = 0, 1, 2
CHUNK = 1 << 16
_ERRORS = "orchestrator.streams"  # the name of our codec error handler


class ReaderGoneError(BrokenPipeError):
    """The reader of our stdout or stderr is gone; not a broken pipe of something else."""


def read(descriptor: int, size: int = CHUNK) -> bytes:
    """Wait for some bytes, without a limit; empty only at the end.

    Raises:
        OSError: it cannot be read.
    """
    while True:
        try:
            return os.read(descriptor, size)
        except BlockingIOError:
            _wait(descriptor, select.POLLIN)


def write_all(descriptor: int, data: ReadableBuffer) -> None:
    """Write all of it, waiting as long as it takes.

    Raises:
        OSError: it cannot be written, or its reader is gone.
    """
    view = memoryview(data).cast("B")
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            _wait(descriptor, select.POLLOUT)


def take(size: int = CHUNK) -> bytes:
    """Some bytes of our stdin, empty only at its end.

    Raises:
        HostError: it cannot be read.
    """
    try:
        return read(STDIN, size)
    except OSError as error:
        raise HostError("standard input could not be read", why=str(error)) from error


def give(descriptor: int, data: ReadableBuffer) -> None:
    """Write all of it to our stdout or stderr.

    Raises:
        ReaderGoneError: its reader is gone.
        HostError: it cannot be written.
    """
    try:
        write_all(descriptor, data)
    except BrokenPipeError as error:
        raise ReaderGoneError(*error.args) from error
    except OSError as error:
        name = "output" if descriptor == STDOUT else "error"
        raise HostError(f"standard {name} could not be written", why=str(error)) from error


def _wait(descriptor: int, events: int) -> None:
    poll = select.poll()
    poll.register(descriptor, events)
    poll.poll()  # also returns at an error or a hang-up, which the next attempt then reports


async def left_by_its_reader(descriptor: int) -> None:
    """Return when the reader of a pipe is gone; never for anything but a pipe."""
    import asyncio  # not for commands that print and end

    gone = asyncio.Event()
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        loop = asyncio.get_running_loop()
        # A pipe's writing end is never readable; what wakes us is the error that the kernel sets on it.
        loop.add_reader(descriptor, gone.set)
        try:
            await gone.wait()
        finally:
            loop.remove_reader(descriptor)
    else:
        await gone.wait()


def adopt() -> None:
    """Make the three streams usable, whatever they are; to be called before anything else is opened.

    A closed one becomes /dev/null, or the next file we open would get its number and what is meant for the stream.
    Python's own stdout and stderr are replaced: they lose data where a write would block, and cannot write a word of
    the command line that is no UTF-8.
    """
    for descriptor, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, flags)  # the lowest number that is free: this one
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
    codecs.register_error(_ERRORS, _unencodable)
    if sys.stdin is None:
        sys.stdin = open(0, closefd=False)  # noqa: SIM115 - for as long as we live
    sys.stdout = _text(_Patient(1, "w", closefd=False), sys.stdout)
    sys.stderr = _text(_Forgiving(2, "w", closefd=False), sys.stderr, each_line=True)


def abandon_stdout() -> None:
    """Discard the rest of stdout: writing failed, and would fail again when Python ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.close(nowhere)
        sys.stdout.flush()


class _Patient(io.FileIO):
    """Waits where a write would block, instead of writing a part; a failure is explained."""

    def write(self, data: ReadableBuffer, /) -> int:
        size = memoryview(data).nbytes
        give(self.fileno(), data)
        return size


class _Forgiving(_Patient):
    """For stderr: its text is for people. If nobody can read it, the work continues."""

    def write(self, data: ReadableBuffer, /) -> int:
        with suppress(OSError, HostError):
            return super().write(data)
        return memoryview(data).nbytes


def _text(raw: io.FileIO, before: TextIO | None, *, each_line: bool = False) -> io.TextIOWrapper:
    encoding = getattr(before, "encoding", None) or "utf-8"
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=encoding, errors=_ERRORS, line_buffering=each_line or raw.isatty()
    )


def _unencodable(error: UnicodeError) -> tuple[str | bytes, int]:
    """A byte that was no UTF-8 becomes that byte again; a character that the terminal lacks becomes ``?``."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    code = ord(error.object[error.start])
    return (bytes([code - 0xDC00]) if 0xDC80 <= code <= 0xDCFF else "?"), error.start + 1
