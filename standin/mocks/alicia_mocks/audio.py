"""Sound for the mock: a short tone as WAV, and the file part of a multipart upload."""

from __future__ import annotations

import struct
from math import pi, sin

RATE = 16_000
_TONE = 440.0
_AMPLITUDE = 8_000


def wav_tone(seconds: float) -> bytes:
    """A mono 16-bit WAV file of a 440 Hz tone."""
    count = int(RATE * seconds)
    samples = struct.pack(f"<{count}h", *(int(_AMPLITUDE * sin(2 * pi * _TONE * i / RATE)) for i in range(count)))
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, RATE * 2, 2, 16)
    data = struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(data), b"WAVE") + form + data


def speech_seconds(text: str) -> float:
    """How long the tone for a text is: 0.2 to 1 second."""
    return min(1.0, max(0.2, 0.02 * len(text)))


def multipart_fields(content_type: str, body: bytes) -> dict[str, bytes]:
    """The parts of a ``multipart/form-data`` body by their name.

    Raises:
        ValueError: not multipart, or without a boundary.
    """
    kind, _, parameters = content_type.partition(";")
    if kind.strip().lower() != "multipart/form-data":
        raise ValueError("the body must be multipart/form-data")
    boundary = _parameter(parameters, "boundary")
    if not boundary:
        raise ValueError("the content type has no boundary")
    fields: dict[str, bytes] = {}
    for part in (b"\r\n" + body).split(b"\r\n--" + boundary.encode("latin-1"))[1:]:
        head, found, content = part.partition(b"\r\n\r\n")
        if not found:
            continue  # the closing boundary
        for line in head.decode("latin-1").splitlines():
            name, _, value = line.partition(":")
            if name.strip().lower() == "content-disposition":
                fields[_parameter(value, "name")] = content
    return fields


def _parameter(text: str, name: str) -> str:
    for piece in text.split(";"):
        key, _, value = piece.partition("=")
        if key.strip().lower() == name:
            return value.strip().strip('"')
    return ""
