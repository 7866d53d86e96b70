"""What a request may say: pure validation of headers, queries and bodies."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

MAX_BODY = 1024 * 1024
"""Bytes of a request's body."""
MAX_TITLE = 500
"""Bytes of a title."""
MAX_SEARCH = 100

DEFAULT_USER = "default_user"
_USER = re.compile(r"[A-Za-z0-9._@-]{1,255}")
_INTEGER = re.compile(r"[+-]?\d{1,9}")


class ApiError(Exception):
    """An answer of the API that is not a success.

    Args:
        status: HTTP status.
        kind: the word in ``error``.
        message: one sentence for people.
    """

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind

    def body(self) -> dict[str, object]:
        return {"error": self.kind, "message": str(self), "code": self.status}


class BadUser(Exception):
    """The user id is malformed; answered in plain text."""


def invalid_body() -> ApiError:
    return ApiError(400, "invalid_request", "Invalid request body")


def conversation_missing() -> ApiError:
    return ApiError(404, "not_found", "Conversation not found or access denied")


def user_id(given: str | None) -> str:
    """The user a request acts for.

    Raises:
        BadUser: letters other than ``[A-Za-z0-9._@-]``, or more than 255.
    """
    if not given:
        return DEFAULT_USER
    if not _USER.fullmatch(given):
        raise BadUser(given)
    return given


def integer(query: Mapping[str, str], name: str, default: int) -> int:
    """A number from the query that is not negative; anything else means the default."""
    text = query.get(name, "")
    value = int(text) if _INTEGER.fullmatch(text) else default
    return value if value >= 0 else default


def json_object(body: bytes) -> dict[str, object]:
    """The object a body holds; ``null`` counts as an empty one.

    Raises:
        ApiError: 400 ``invalid_request``.
    """
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        raise invalid_body() from None
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise invalid_body()
    return data


def text(data: Mapping[str, object], name: str) -> str:
    """A text field, empty when absent or null; half surrogate pairs become U+FFFD.

    Raises:
        ApiError: 400 ``invalid_request`` for another type.
    """
    value = data.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise invalid_body()
    return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def title(data: Mapping[str, object]) -> str:
    """The title of a new conversation, without blanks around it.

    Raises:
        ApiError: 400 ``validation_error`` when blank or too long.
    """
    value = text(data, "title").strip()
    if not value:
        raise ApiError(400, "validation_error", "Title is required")
    if len(value.encode()) > MAX_TITLE:
        raise ApiError(400, "validation_error", f"Title must not be longer than {MAX_TITLE} bytes")
    return value


def preferences(data: Mapping[str, object]) -> dict[str, object]:
    """The preferences of a new conversation: as given, else memory is on."""
    value = data.get("preferences")
    if value is None:
        return {"enable_memory": True}
    if not isinstance(value, dict):
        raise invalid_body()
    return value


def required(data: Mapping[str, object], name: str, message: str) -> str:
    """A text field that must not be empty.

    Raises:
        ApiError: 400 ``validation_error`` with the message.
    """
    value = text(data, name)
    if not value:
        raise ApiError(400, "validation_error", message)
    return value


def sync_messages(data: Mapping[str, object]) -> list[dict[str, object]]:
    """The list ``messages`` of a sync request.

    Raises:
        ApiError: 400 ``invalid_request`` when it is no list of objects.
    """
    value = data.get("messages")
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise invalid_body()
    return value


def search(query: Mapping[str, str]) -> tuple[str, int]:
    """The words and the number of results of a search.

    Raises:
        ApiError: 400 ``validation_error`` without words.
    """
    words = query.get("q", "").strip()
    if not words:
        raise ApiError(400, "validation_error", "Query parameter q is required")
    limit = integer(query, "limit", 10)
    return words, max(1, min(limit, MAX_SEARCH))
