"""Sound for the mock: a short tone, the length of an upload, and the parts of a multipart body."""

from __future__ import annotations

import struct
import wave
from io import BytesIO
from math import pi, sin

RATE = 16_000
_TONE = 440.0
_AMPLITUDE = 8_000


def wav_tone(seconds: float) -> bytes:
    """A mono 16-bit WAV file of a 440 Hz tone."""
    samples = pcm_tone(seconds)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, RATE, RATE * 2, 2, 16)
    data = struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI4s", b"RIFF", 4 + len(form) + len(data), b"WAVE") + form + data


def pcm_tone(seconds: float) -> bytes:
    """The samples alone: 16 bits, little-endian, one channel, `RATE` a second."""
    count = int(RATE * seconds)
    return struct.pack(f"<{count}h", *(int(_AMPLITUDE * sin(2 * pi * _TONE * i / RATE)) for i in range(count)))


def seconds_of(upload: bytes) -> float:
    """How long a WAV file is; for anything else, as if its bytes were samples of ours."""
    try:
        with wave.open(BytesIO(upload)) as sound:
            return float(sound.getnframes() / (sound.getframerate() or RATE))
    except (wave.Error, EOFError, struct.error):
        return max(0.0, (len(upload) - 44) / (2 * RATE))


def subtitles(form: str, seconds: float, text: str) -> str:
    """One line of subtitles, as ``srt`` or ``vtt``."""
    whole, milliseconds = divmod(int(seconds * 1000), 1000)
    end = f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}.{milliseconds:03}"
    line = f"00:00:00.000 --> {end}"
    if form == "vtt":
        return f"WEBVTT\n\n{line}\n{text}\n"
    return f"1\n{line.replace('.', ',')}\n{text}\n"


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
