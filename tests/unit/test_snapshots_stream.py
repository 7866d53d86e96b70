"""A migration stream sorted into memory and the rest, in pieces of any length."""

from __future__ import annotations

import io
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import SnapshotError
from orchestrator.snapshots.stream import PAGE, StreamSorter

HEAD = b"QEVM\0\0\0\x03\x07\0\0\0\x0epc-i440fx-10.0\x05\x1aconfiguration/capabilities"
SECTION = b"\0\0\0\x02"
START = b"\x01" + SECTION + b"\x03ram\0\0\0\0\0\0\0\x04"
FOOTER = b"\x7e" + SECTION
EOS = (0x10).to_bytes(8, "big")
TAIL = b"\x04\0\0\0\x03\x05timer" + bytes(range(256)) + b"\0\x06" + b'{"configuration": {}}'
PAGES = 64


def block(name: bytes, size: int, address: int = 0) -> bytes:
    return bytes([len(name)]) + name + size.to_bytes(8, "big") + address.to_bytes(8, "big")


def blocks(*parts: tuple[bytes, int]) -> bytes:
    total = sum(size for _, size in parts) | 0x04
    return total.to_bytes(8, "big") + b"".join(block(*part) for part in parts) + EOS


def record(page: int, content: bytes | None, name: bytes = b"") -> bytes:
    """A page, of zeros where there is no content; with the name of its block, or of the block of the one before."""
    flags = (0x08 if content is not None else 0x02) | (0 if name else 0x20)
    named = bytes([len(name)]) + name if name else b""
    return (page * PAGE | flags).to_bytes(8, "big") + named + (content if content is not None else b"\0")


def part(kind: int, *records: bytes) -> bytes:
    return bytes([kind]) + SECTION + b"".join(records) + EOS + FOOTER


SETUP = HEAD + START + blocks((b"orch-ram", PAGES * PAGE), (b"pc.bios", 2 * PAGE)) + FOOTER
ONE, TWO, BIOS = os.urandom(PAGE), os.urandom(PAGE), os.urandom(PAGE)
BIOS_RECORDS = record(0, BIOS, b"pc.bios") + record(1, None)
FIRST = [record(0, ONE, b"orch-ram"), *(record(n, None) for n in range(1, 40)), record(40, TWO), record(41, ONE)]
STREAM = (
    SETUP
    + part(0x02, *FIRST, BIOS_RECORDS, record(60, TWO, b"orch-ram"))
    + b"\x08\0\x01\0\x03abc"
    + part(0x03, record(0, None, b"orch-ram"), record(2, TWO), record(41, None))
    + TAIL
)
REST = (
    SETUP + part(0x02, BIOS_RECORDS) + b"\x08\0\x01\0\x03abc" + part(0x03) + TAIL
)  # what QEMU writes of a machine whose memory it leaves out


class Sorted:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = io.BytesIO()
        self.ram = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.sorter = StreamSorter(self.ram, self.state)

    def page(self, number: int) -> bytes:
        return os.pread(self.ram, PAGE, number * PAGE)


@pytest.fixture
def result(tmp_path: Path) -> Iterator[Sorted]:
    made = Sorted(tmp_path / "ram")
    yield made
    os.close(made.ram)


@pytest.mark.parametrize("length", [1, 7, 4096, 5000, 1 << 20, 0])
def test_the_memory_goes_into_its_file_and_the_rest_is_as_without_it(result: Sorted, length: int) -> None:
    chance, at = random.Random(4711), 0
    while at < len(STREAM):
        step = length or chance.randint(1, 9000)
        result.sorter.feed(STREAM[at : at + step])
        at += step
    result.sorter.finish()
    assert result.state.getvalue() == REST
    assert result.path.stat().st_size == PAGES * PAGE
    assert result.page(0) == bytes(PAGE), "the last word counts"
    assert (result.page(2), result.page(40), result.page(60)) == (TWO, TWO, TWO)
    assert result.page(41) == bytes(PAGE)
    assert result.path.stat().st_blocks * 512 < 20 * PAGE, "zeros that never were anything else are holes"
    assert result.sorter.passed == 61 * PAGE


def test_a_stream_that_ends_in_the_memory_is_none(result: Sorted) -> None:
    result.sorter.feed(STREAM[: len(SETUP) + 500])
    with pytest.raises(SnapshotError, match="is not understood") as caught:
        result.sorter.finish()
    assert caught.value.why == "it ends in the memory"


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (b"\x7fELF" + bytes(1 << 17), "it has no memory"),
        (HEAD + START + blocks((b"pc.ram", PAGE)), "it has no block orch-ram"),
        (HEAD + START + bytes(8), "does not contain the size of the memory"),
        (HEAD + START + blocks((b"orch-ram", PAGE))[:-8] + bytes(8), "another form"),
        (SETUP + b"\x02\0\0\0\x07", "a section of something else"),
        (SETUP + b"\x04\0\0\0\x07", "a section of kind 4"),
        (SETUP + b"\x02" + SECTION + (0x40).to_bytes(8, "big"), "has the flags 0x40"),
        (SETUP + b"\x02" + SECTION + record(PAGES, ONE, b"orch-ram"), "outside of the memory"),
    ],
)
def test_what_is_not_understood_is_refused(result: Sorted, stream: bytes, why: str) -> None:
    with pytest.raises(SnapshotError, match="is not understood") as caught:
        result.sorter.feed(stream)
    assert why in caught.value.why
