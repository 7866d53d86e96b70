"""The OpenAI-like interface: models, chat, embeddings, transcription, speech.

Every answer is a function of the request, so a test can name the exact text it
waits for. Tools that are offered are never called.
"""

from __future__ import annotations

import json
import struct
import time
from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from alicia_mocks import audio
from alicia_mocks.embedding import embed
from alicia_mocks.http import Request, Response, as_json

MODEL = "mock-llm"
CREATED = 1_700_000_000  # a fixed time: answers do not depend on when they are made
MAX_DIMENSIONS = 16_384


class Invalid(Exception):
    """The request is not understood; answered as 400."""


@dataclass(frozen=True)
class MockLlm:
    """The application.

    Attributes:
        dimensions: length of an embedding when the request names none.
        delay: seconds before each chat answer.
    """

    dimensions: int = 1536
    delay: float = 0.0

    def __call__(self, request: Request) -> Response:
        path = request.path.rstrip("/") or "/"
        # Alicia keeps the /v1 of the speech services' addresses and adds its own.
        while path.startswith("/v1/v1/"):
            path = path.removeprefix("/v1")
        routes = {
            "/v1/chat/completions": self.chat,
            "/v1/embeddings": self.embeddings,
            "/v1/audio/transcriptions": self.transcription,
            "/v1/audio/speech": self.speech,
        }
        if path in ("/", "/health", "/v1/models"):
            if request.method not in ("GET", "HEAD"):
                return _error(405, "method not allowed")
            models = {"object": "list", "data": [_model()]}
            return as_json(models if path == "/v1/models" else {"status": "ok"})
        if path not in routes:
            return _error(404, f"there is no {request.path}")
        if request.method != "POST":
            return _error(405, "method not allowed")
        try:
            return routes[path](request)
        except Invalid as error:
            return _error(400, str(error))

    def chat(self, request: Request) -> Response:
        """``/v1/chat/completions``, whole or as server-sent events."""
        data = _json_object(request.body)
        text = chat_answer(last_user_text(data.get("messages")))
        identity = "chatcmpl-" + sha256(request.body).hexdigest()[:24]
        model = data.get("model") if isinstance(data.get("model"), str) else MODEL
        if self.delay > 0:
            time.sleep(self.delay)
        if data.get("stream") is True:
            return Response(200, _stream(identity, model, text), "text/event-stream")
        words = len(text.split())
        asked = len(json.dumps(data.get("messages")).split())
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text},
            "finish_reason": "stop",
        }
        usage = {"prompt_tokens": asked, "completion_tokens": words, "total_tokens": asked + words}
        return as_json(
            {
                "id": identity,
                "object": "chat.completion",
                "created": CREATED,
                "model": model,
                "choices": [choice],
                "usage": usage,
            }
        )

    def embeddings(self, request: Request) -> Response:
        """``/v1/embeddings`` for one text or a list; numbers, or base64 of 32-bit floats."""
        data = _json_object(request.body)
        given = data.get("input")
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise Invalid("input must be a text or a list of texts")
        dimensions = data.get("dimensions", self.dimensions)
        if not isinstance(dimensions, int) or not 1 <= dimensions <= MAX_DIMENSIONS:
            raise Invalid(f"dimensions must be a number from 1 to {MAX_DIMENSIONS}")
        packed = data.get("encoding_format") == "base64"
        rows = [
            {"object": "embedding", "index": index, "embedding": _vector(text, dimensions, packed)}
            for index, text in enumerate(texts)
        ]
        tokens = sum(len(text.split()) for text in texts)
        return as_json(
            {
                "object": "list",
                "data": rows,
                "model": data.get("model", MODEL),
                "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            }
        )

    def transcription(self, request: Request) -> Response:
        """``/v1/audio/transcriptions``: a text that names the size of the upload."""
        try:
            fields = audio.multipart_fields(request.headers.get("content-type", ""), request.body)
        except ValueError as error:
            raise Invalid(str(error)) from None
        if "file" not in fields:
            raise Invalid("the field `file` is missing")
        text = f"Mock transcription of {len(fields['file'])} bytes."
        form = fields.get("response_format", b"json").decode("latin-1")
        if form == "text":
            return Response(200, text.encode(), "text/plain; charset=utf-8")
        if form == "verbose_json":
            seconds = max(0.0, (len(fields["file"]) - 44) / (2 * audio.RATE))
            segment = {"id": 0, "start": 0.0, "end": seconds, "text": text}
            known = {"task": "transcribe", "language": "en", "duration": seconds}
            return as_json({**known, "text": text, "segments": [segment]})
        return as_json({"text": text})

    def speech(self, request: Request) -> Response:
        """``/v1/audio/speech``: a tone as WAV, whatever format was asked for."""
        text = _json_object(request.body).get("input")
        if not isinstance(text, str) or not text:
            raise Invalid("input must be a text")
        return Response(200, audio.wav_tone(audio.speech_seconds(text)), "audio/wav")


def chat_answer(text: str) -> str:
    """What the mock says to a message."""
    return f'Mock answer to: "{text}"'


def last_user_text(messages: object) -> str:
    """The text of the last message of the user; content may be a text or a list of parts.

    Raises:
        Invalid: ``messages`` is not a list with a user message.
    """
    if not isinstance(messages, list) or not messages:
        raise Invalid("messages must be a list that is not empty")
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            if isinstance(content, list):
                return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    raise Invalid("messages hold no message of the user")


def _stream(identity: str, model: object, text: str) -> Iterator[bytes]:
    def event(delta: Mapping[str, str], reason: str | None = None) -> bytes:
        chunk = {
            "id": identity,
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": model,
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        }
        return b"data: " + json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"

    yield event({"role": "assistant", "content": ""})
    for piece in _words(text):
        yield event({"content": piece})
    yield event({}, "stop")
    yield b"data: [DONE]\n\n"


def _words(text: str) -> Iterable[str]:
    first, *rest = text.split(" ")
    yield first
    yield from (f" {word}" for word in rest)


def _vector(text: str, dimensions: int, packed: bool) -> list[float] | str:
    vector = embed(text, dimensions)
    return b64encode(struct.pack(f"<{dimensions}f", *vector)).decode() if packed else vector


def _model() -> dict[str, object]:
    return {"id": MODEL, "object": "model", "created": CREATED, "owned_by": "alicia-e2e"}


def _json_object(body: bytes) -> dict[str, object]:
    try:
        data = json.loads(body)
    except ValueError:
        raise Invalid("the body is not JSON") from None
    if not isinstance(data, dict):
        raise Invalid("the body must be a JSON object")
    return data


def _error(status: int, message: str) -> Response:
    kind = "invalid_request_error" if status < 500 else "server_error"
    return as_json({"error": {"message": message, "type": kind, "param": None, "code": None}}, status)
