"""LiveKit access tokens: JWT, HS256, signed with the API secret."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256

ROOM_SERVICE_SECONDS = 600
PARTICIPANT_SECONDS = 6 * 3600


def sign(claims: Mapping[str, object], secret: str) -> str:
    """A compact token of the claims."""
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    return f"{signed}.{_base64(hmac.digest(secret.encode(), signed.encode(), sha256))}"


def room_service(key: str, secret: str, now: int) -> str:
    """A token for the room service: create, list and delete rooms.

    Args:
        now: seconds since the epoch.
    """
    grants = {"roomCreate": True, "roomList": True, "roomAdmin": True}
    return sign({"iss": key, "nbf": now, "exp": now + ROOM_SERVICE_SECONDS, "video": grants}, secret)


def participant(key: str, secret: str, room: str, identity: str, name: str, now: int) -> tuple[str, int]:
    """A token to join a room, and when it expires (seconds since the epoch)."""
    expires = now + PARTICIPANT_SECONDS
    grants = {
        "roomJoin": True,
        "room": room,
        "canPublish": True,
        "canSubscribe": True,
        "canPublishData": True,
    }
    claims = {"iss": key, "sub": identity, "name": name, "nbf": now, "exp": expires, "video": grants}
    return sign(claims, secret), expires


def _part(data: Mapping[str, object]) -> str:
    return _base64(json.dumps(data, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
