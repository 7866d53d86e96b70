"""The stand-in's pure parts between the wire and the database: validation, tokens, listeners, files."""

# mypy: disable-error-code="import-not-found"
# The stand-in is a program of its own, outside the package that mypy is pointed at.
from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

STANDIN = Path(__file__).resolve().parents[2] / "standin"
sys.path[:0] = [str(STANDIN / "lib"), str(STANDIN / "mocks")]

from alicia_mocks import tokens as checking  # noqa: E402
from alicia_standin import requests, static, tokens  # noqa: E402
from alicia_standin.hub import QUEUE, Hub, Listener  # noqa: E402
from alicia_standin.requests import ApiError, BadUser  # noqa: E402

NOW = 1_800_000_000


@pytest.mark.parametrize("given", ["a", "A.b_c@d-9", "x" * 255])
def test_user_ids_that_are_taken(given: str) -> None:
    assert requests.user_id(given) == given


@pytest.mark.parametrize("given", ["a b", "a/b", "é", "a\n", "x" * 256])
def test_user_ids_that_are_refused(given: str) -> None:
    with pytest.raises(BadUser):
        requests.user_id(given)


def test_no_user_id_means_the_default_user() -> None:
    assert requests.user_id(None) == requests.user_id("") == "default_user"


@pytest.mark.parametrize(
    ("text", "value"), [("7", 7), ("0", 0), ("-1", 50), ("x", 50), ("", 50), ("99999999999", 50), ("1.5", 50)]
)
def test_numbers_of_the_query(text: str, value: int) -> None:
    assert requests.integer({"limit": text}, "limit", 50) == value


@pytest.mark.parametrize("body", [b"", b"[]", b"1", b'"x"', b"{", b"\xff", b"[" * 100_000])
def test_bodies_that_are_no_object(body: bytes) -> None:
    with pytest.raises(ApiError) as caught:
        requests.json_object(body)
    assert caught.value.body() == {"error": "invalid_request", "message": "Invalid request body", "code": 400}


def test_title() -> None:
    assert requests.title({"title": "  Hello "}) == "Hello"
    assert requests.title({"title": "x" * 500}) == "x" * 500
    for data in ({}, {"title": None}, {"title": " \t"}):
        with pytest.raises(ApiError, match="Title is required") as caught:
            requests.title(data)
        assert caught.value.kind == "validation_error"
    with pytest.raises(ApiError, match="longer than 500"):
        requests.title({"title": "é" * 251})
    with pytest.raises(ApiError, match="Invalid request body"):
        requests.title({"title": 1})


def test_preferences() -> None:
    assert requests.preferences({}) == {"enable_memory": True}
    assert requests.preferences({"preferences": {"a": 1}}) == {"a": 1}
    with pytest.raises(ApiError):
        requests.preferences({"preferences": []})


def test_half_surrogate_pairs_are_replaced() -> None:
    data = requests.json_object(b'{"contents":"a\\ud800b \\ud83d\\ude00"}')
    assert requests.text(data, "contents") == "a\ufffdb \U0001f600"


def test_search_has_words_and_a_bounded_limit() -> None:
    assert requests.search({"q": " near "}) == ("near", 10)
    assert requests.search({"q": "near", "limit": "0"}) == ("near", 1)
    assert requests.search({"q": "near", "limit": "5000"}) == ("near", requests.MAX_SEARCH)
    with pytest.raises(ApiError, match="q is required"):
        requests.search({"q": " "})


def test_sync_messages_must_be_a_list_of_objects() -> None:
    assert requests.sync_messages({}) == []
    assert requests.sync_messages({"messages": [{"local_id": "1"}]}) == [{"local_id": "1"}]
    refused: list[object] = [{}, [1], "x"]
    for bad in refused:
        with pytest.raises(ApiError):
            requests.sync_messages({"messages": bad})


def test_participant_token_is_accepted_by_the_mock() -> None:
    token, expires = tokens.participant("key", "secret", "conv_1", "p1", "Paula", NOW)
    claims = checking.verify(token, "key", "secret", NOW)
    assert claims["sub"] == "p1"
    assert claims["name"] == "Paula"
    assert claims["exp"] == expires == NOW + tokens.PARTICIPANT_SECONDS
    assert claims["video"] == {
        "roomJoin": True,
        "room": "conv_1",
        "canPublish": True,
        "canSubscribe": True,
        "canPublishData": True,
    }


def test_token_has_the_form_that_the_standard_shows() -> None:
    """HS256 of a fixed header and claims, computed with OpenSSL."""
    token = tokens.sign({"iss": "key"}, "secret")
    assert token.split(".")[:2] == ["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9", "eyJpc3MiOiJrZXkifQ"]
    assert token.split(".")[2] == "XLpe7XoNQ_cxAaKWZmfv5JypkfFh82RTx4leaxQ5qCo"


@pytest.mark.parametrize(
    ("key", "secret", "now", "why"),
    [
        ("other", "secret", NOW, "unknown"),
        ("key", "other", NOW, "signature"),
        ("key", "secret", NOW + tokens.ROOM_SERVICE_SECONDS + 60, "expired"),
        ("key", "secret", NOW - 60, "not valid yet"),
    ],
)
def test_tokens_that_are_refused(key: str, secret: str, now: int, why: str) -> None:
    token = tokens.room_service("key", "secret", NOW)
    with pytest.raises(checking.BadToken, match=why):
        checking.verify(token, key, secret, now)


def test_tokens_without_a_signature_are_refused() -> None:
    header, claims, _ = tokens.room_service("key", "secret", NOW).split(".")
    for token in ("", "a.b", f"{header}.{claims}.", "%%.%%.%%", f"eyJhbGciOiJub25lIn0.{claims}."):
        with pytest.raises(checking.BadToken):
            checking.verify(token, "key", "secret", NOW)


async def _drain(listener: Listener) -> list[object]:
    listener.end()
    received: list[object] = []
    while (message := await listener.get()) is not None:
        received.append(message)
    return received


def test_messages_reach_those_who_subscribed() -> None:
    hub, one, two = Hub(), Listener(), Listener()
    hub.add(one)
    hub.add(two)
    one.conversations.add("a")
    hub.publish("a", {"id": "1"})
    hub.publish("b", {"id": "2"})
    assert asyncio.run(_drain(one)) == [{"type": "message", "message": {"id": "1"}}]
    assert asyncio.run(_drain(two)) == []


def test_a_listener_that_does_not_read_is_ended() -> None:
    listener = Listener()
    for number in range(QUEUE + 5):
        listener.put({"number": number})
    assert listener.ended
    assert len(asyncio.run(_drain(listener))) == QUEUE


def test_closing_ends_listeners_now_and_later() -> None:
    hub, before, after = Hub(), Listener(), Listener()
    hub.add(before)
    hub.close()
    hub.add(after)
    assert before.ended
    assert after.ended


@pytest.fixture
def frontend(tmp_path: Path) -> Path:
    root = tmp_path / "frontend"
    (root / "assets").mkdir(parents=True)
    (root / "index.html").write_text("<p>")
    (root / "assets" / "a b.js").write_text("1")
    (tmp_path / "secret").write_text("no")
    (root / "out").symlink_to(tmp_path / "secret")
    return root


def test_files_of_the_frontend(frontend: Path) -> None:
    assert static.find(frontend, "/") == frontend / "index.html"
    assert static.find(frontend, "/assets/a b.js") == frontend / "assets" / "a b.js"


def test_types_of_files() -> None:
    assert static.content_type(Path("index.html")) == "text/html; charset=utf-8"
    assert static.content_type(Path("a.js")) == "text/javascript; charset=utf-8"
    assert static.content_type(Path("a.svg")) == "image/svg+xml"
    assert static.content_type(Path("a.unknown-kind")) == "application/octet-stream"


@pytest.mark.parametrize(("path", "location"), [("/index.html", "./"), ("/assets", "assets/")])
def test_paths_that_have_another_name(frontend: Path, path: str, location: str) -> None:
    with pytest.raises(static.Moved) as caught:
        static.find(frontend, path)
    assert str(caught.value) == location


@pytest.mark.parametrize("path", ["/chat/1", "/assets/", "/../secret", "/assets/../../secret", "/out", "/a\0b"])
def test_paths_that_lead_nowhere(frontend: Path, path: str) -> None:
    with pytest.raises(static.Missing):
        static.find(frontend, path)
