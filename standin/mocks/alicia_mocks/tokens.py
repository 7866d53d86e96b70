"""Checking LiveKit access tokens: JWT, HS256, signed with the API secret."""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64decode
from binascii import Error as Base64Error
from hashlib import sha256

LEEWAY = 10  # seconds two clocks may differ


class BadToken(Exception):
    """Why a token is refused."""


def verify(token: str, key: str, secret: str, now: float) -> dict[str, object]:
    """The claims of a valid token.

    Args:
        key: the API key that must be the issuer.
        now: seconds since the epoch.

    Raises:
        BadToken: malformed, wrong algorithm, key or signature, expired or not yet valid.
    """
    parts = token.split(".")
    if len(parts) != 3:
        raise BadToken("a token has three parts")
    header, claims = _json(parts[0]), _json(parts[1])
    if header.get("alg") != "HS256":
        raise BadToken("the algorithm must be HS256")
    expected = hmac.digest(secret.encode(), f"{parts[0]}.{parts[1]}".encode(), sha256)
    if not hmac.compare_digest(expected, _decode(parts[2])):
        raise BadToken("the signature is wrong")
    if claims.get("iss") != key:
        raise BadToken("the API key is unknown")
    expires, begins = claims.get("exp"), claims.get("nbf", 0)
    if not isinstance(expires, int | float) or expires < now - LEEWAY:
        raise BadToken("the token has expired")
    if not isinstance(begins, int | float) or begins > now + LEEWAY:
        raise BadToken("the token is not valid yet")
    return claims


def _decode(part: str) -> bytes:
    try:
        return urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (Base64Error, ValueError):
        raise BadToken("a part is not base64url") from None


def _json(part: str) -> dict[str, object]:
    try:
        data = json.loads(_decode(part))
    except ValueError:
        raise BadToken("a part is not JSON") from None
    if not isinstance(data, dict):
        raise BadToken("a part is not an object")
    return data
