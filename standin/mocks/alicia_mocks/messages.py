"""LiveKit's published messages, read and written in protobuf.

The classes are those of the package ``livekit-protocol``. They are loaded at the
first protobuf request: that takes an emulated machine seconds, and a client that
speaks JSON needs none of them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

PACKAGES = Path(__file__).resolve().parents[1] / "python"  # where the image puts them; elsewhere they are installed


class Unavailable(Exception):
    """The packages are not there."""


class Malformed(Exception):
    """The bytes are no such message."""


@cache
def _rooms() -> tuple[Any, Any, Any]:
    """The modules ``room`` and ``models``, and protobuf's ``json_format``."""
    if PACKAGES.is_dir() and str(PACKAGES) not in sys.path:
        sys.path.append(str(PACKAGES))
    try:
        from google.protobuf import json_format
        from livekit.protocol import models, room
    except ImportError as error:
        raise Unavailable(f"protobuf needs the Python package livekit-protocol: {error}") from None
    return room, models, json_format


def _new(name: str) -> Any:
    room, models, _ = _rooms()
    return getattr(room if hasattr(room, name) else models, name)()


def decode(name: str, data: bytes) -> dict[str, Any]:
    """A message of type ``name`` as a table, fields named as in the .proto file.

    Raises:
        Malformed: it is no such message.
        Unavailable: the packages are missing.
    """
    message = _new(name)
    try:
        message.ParseFromString(data)
    except Exception as error:  # protobuf's DecodeError, which only the library can name
        raise Malformed(str(error)) from None
    table: dict[str, Any] = _rooms()[2].MessageToDict(message, preserving_proto_field_name=True)
    return table


def encode(name: str, table: Mapping[str, Any]) -> bytes:
    """The bytes of a message of type ``name``."""
    data: bytes = _rooms()[2].ParseDict(dict(table), _new(name), ignore_unknown_fields=True).SerializeToString()
    return data
