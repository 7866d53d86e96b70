"""QEMU's migration stream, sorted as it comes: a machine's memory into a RAM file, everything else into a state file.

What is left of the stream is what QEMU writes of a machine whose memory is a
shared file (``x-ignore-shared``): so all states look alike, however they were
saved, and are restored alike. The stream is::

    "QEVM" version, configuration        copied
    01 id "ram" …  all blocks, EOS       copied; names and lengths are read
    02/03 id  records …  EOS, footer     sorted: those of our block into the RAM file
    devices, description                 copied
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from struct import Struct, iter_unpack
from typing import BinaryIO

from orchestrator.errors import SnapshotError
from orchestrator.vm.arguments import RAM_BLOCK

PAGE = 4096
HEAD_LIMIT = 1 << 16  # bytes before the section of the memory; it comes after some hundred
VECTOR = 512  # pages written at once

ZERO, MEM_SIZE, WHOLE, EOS, CONTINUE = 0x02, 0x04, 0x08, 0x10, 0x20
FLAGS = PAGE - 1
START, PART, END, COMMAND, FOOTER = 0x01, 0x02, 0x03, 0x08, 0x7E

_START = re.compile(rb"\x01(.{4})\x03ram\0\0\0\0\0\0\0\x04", re.DOTALL)
# Pages of zeros of the block that the record before was of: most of a memory, so they are taken in runs.
_ZEROS = re.compile(rb"(?:.{7}\x22\0)+", re.DOTALL)
_WORD = Struct(">Q")


class StreamSorter:
    """Takes a stream in pieces of any length.

    Attributes:
        passed: the end of the highest page of the memory that came, as an offset in it.

    Args:
        ram: the RAM file, empty and open for writing.
        state: what gets the rest.
    """

    def __init__(self, ram: int, state: BinaryIO) -> None:
        self.passed = 0
        self._ram = ram
        self._state = state
        self._rest = b""
        self._section = b""  # the number of the memory's section
        self._block = ""
        self._last = False
        self._written = bytearray()
        self._pages: list[memoryview] = []  # to be written, one behind the other
        self._first = 0
        self._step: Callable[[bytes, int], int] = self._head

    def feed(self, data: bytes) -> None:
        """The next piece.

        Raises:
            SnapshotError: this is no stream as QEMU 10 writes it.
            OSError: a file cannot be written.
        """
        data = self._rest + data
        position = -1
        after = 0
        try:
            while after != position:  # until nothing more can be told
                position = after
                after = self._step(data, position)
        except IndexError as error:
            raise _strange("a record is outside of the memory") from error
        self._flush()
        self._rest = data[after:]

    def finish(self) -> None:
        """It has ended.

        Raises:
            SnapshotError: too early.
        """
        if self._step != self._tail:
            raise _strange("it ends in the memory")

    # ------------------------------------------------------------------ the parts of a stream, in their order

    def _head(self, data: bytes, at: int) -> int:
        found = _START.search(data)
        if found is None:
            if len(data) > HEAD_LIMIT:
                raise _strange("it has no memory")
            return at
        end = self._blocks(data, found.end())
        if end is None:
            return at
        self._section = found[1]
        self._state.write(data[:end])
        self._step = self._between
        return end

    def _blocks(self, data: bytes, at: int) -> int | None:
        """Read the list of blocks; where it ends, None while it is not there as a whole."""
        if len(data) < at + 8:
            return None
        (total,) = _WORD.unpack_from(data, at)
        if not total & MEM_SIZE:
            raise _strange("it does not contain the size of the memory")
        left, at, length = total & ~FLAGS, at + 8, 0
        while left > 0:
            end = at + 1 + data[at] if at < len(data) else len(data)
            if len(data) < end + 16:
                return None
            (size,) = _WORD.unpack_from(data, end)
            if data[at + 1 : end] == RAM_BLOCK.encode():
                length = size
            left, at = left - size, end + 16  # behind the length stands the address
        if len(data) < at + 8:
            return None
        if left != 0 or _WORD.unpack_from(data, at)[0] != EOS:
            raise _strange("its list of memory blocks has another form")
        if length == 0:
            raise _strange(f"it has no block {RAM_BLOCK}")
        os.ftruncate(self._ram, length)
        self._written = bytearray(length // PAGE)
        return at + 8

    def _between(self, data: bytes, at: int) -> int:
        """What stands between the parts of the memory's section."""
        if len(data) < at + 5:
            return at
        kind, end = data[at], at + 5
        if kind == COMMAND:
            end += int.from_bytes(data[at + 3 : at + 5], "big")
            if len(data) < end:
                return at
        elif kind in (PART, END, FOOTER):
            if data[at + 1 : at + 5] != self._section:
                raise _strange("a section of something else is in the memory's")
            if kind == FOOTER:
                self._step = self._tail if self._last else self._between
            else:
                self._last, self._step = kind == END, self._records
        else:
            raise _strange(f"a section of kind {kind} is in the memory's")
        self._state.write(data[at:end])
        return end

    def _records(self, data: bytes, at: int) -> int:
        """As many records as there are, whole."""
        view, size, mine = memoryview(data), len(data), self._block == RAM_BLOCK
        while at + 8 <= size:
            (word,) = _WORD.unpack_from(data, at)
            flags = word & FLAGS
            if flags == EOS:
                self._state.write(view[at : at + 8])
                self._step = self._between
                return at + 8
            if flags & ~CONTINUE not in (ZERO, WHOLE):
                raise _strange(f"a record of its memory has the flags {flags:#x}")
            body = at + 8
            if not flags & CONTINUE:
                body += 1 + data[body] if body < size else size
            end = body + (1 if flags & ZERO else PAGE)
            if end > size:
                return at
            if not flags & CONTINUE:
                self._block = data[at + 9 : body].decode("utf-8", "replace")
                mine = self._block == RAM_BLOCK
            if not mine:
                self._state.write(view[at:end])
            elif flags & ZERO:
                self._zero(word // PAGE)
                run = _ZEROS.match(data, end)
                if run is not None:
                    for (more,) in iter_unpack(">Qx", run[0]):
                        self._zero(more // PAGE)
                    end = run.end()
            else:
                self._keep(word // PAGE, view[body:end])
            at = end
        return at

    def _tail(self, data: bytes, at: int) -> int:
        self._state.write(data[at:])
        return len(data)

    # ------------------------------------------------------------------ the RAM file

    def _keep(self, page: int, content: memoryview) -> None:
        if page != self._first + len(self._pages) or len(self._pages) == VECTOR:
            self._flush()
            self._first = page
        self._pages.append(content)
        self._written[page] = 1
        self.passed = max(self.passed, (page + 1) * PAGE)

    def _zero(self, page: int) -> None:
        if self._written[page]:  # it came with another content before
            self._keep(page, memoryview(bytes(PAGE)))
        self.passed = max(self.passed, (page + 1) * PAGE)

    def _flush(self) -> None:
        data, offset, self._pages = memoryview(b"".join(self._pages)), self._first * PAGE, []
        while len(data):
            done = os.pwrite(self._ram, data, offset)
            offset, data = offset + done, data[done:]


def _strange(why: str) -> SnapshotError:
    return SnapshotError(
        "the stream of QEMU's migration is not understood", why=why, hint="orchestrator down, then up --fresh"
    )
