"""The OpenAI-like interface: models, chat, embeddings, transcription, speech.

Every answer is a function of the request, so a test can name the exact text it
waits for. What is said in a chat is chosen in `alicia_mocks.chat`.
"""

from __future__ import annotations

import json
import struct
import time
from base64 import b64encode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256

from alicia_mocks import audio
from alicia_mocks.chat import Answer, Invalid, answer_of
from alicia_mocks.embedding import embed
from alicia_mocks.http import Request, Response, as_json

MODEL = "mock-llm"
CREATED = 1_700_000_000  # a fixed time: answers do not depend on when they are made
MAX_DIMENSIONS = 16_384


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
        if path in ("/", "/health") or path == "/v1/models" or path.startswith("/v1/models/"):
            if request.method not in ("GET", "HEAD"):
                return _error(405, "method not allowed")
            return _about(path)
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
        answer = answer_of(data)
        identity = "chatcmpl-" + sha256(request.body).hexdigest()[:24]
        model = data["model"] if isinstance(data.get("model"), str) else MODEL
        said = len((answer.text + "".join(call.arguments for call in answer.calls)).split())
        asked = len(json.dumps(data.get("messages")).split())
        usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
        if self.delay > 0:
            time.sleep(self.delay)
        if data.get("stream") is True:
            options = data.get("stream_options")
            told = usage if isinstance(options, dict) and options.get("include_usage") is True else None
            return Response(200, _stream(identity, model, answer, told), "text/event-stream")
        choice = {"index": 0, "message": answer.message(), "logprobs": None, "finish_reason": answer.reason}
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
        upload = fields["file"]
        text = f"Mock transcription of {len(upload)} bytes."
        form = fields.get("response_format", b"json").decode("latin-1")
        seconds = audio.seconds_of(upload)
        if form == "text":
            return Response(200, f"{text}\n".encode(), "text/plain; charset=utf-8")
        if form in ("srt", "vtt"):
            return Response(200, audio.subtitles(form, seconds, text).encode(), "text/plain; charset=utf-8")
        if form == "verbose_json":
            segment = {"id": 0, "start": 0.0, "end": seconds, "text": text}
            known = {"task": "transcribe", "language": "english", "duration": seconds}
            return as_json({**known, "text": text, "segments": [segment]})
        if form != "json":
            raise Invalid(f"response_format {form!r} is not one of json, text, srt, verbose_json, vtt")
        return as_json({"text": text})

    def speech(self, request: Request) -> Response:
        """``/v1/audio/speech``: a tone, as raw samples where ``pcm`` is asked for, else as WAV.

        There is no encoder here; players tell WAV by its first bytes, whatever they asked for.
        """
        data = _json_object(request.body)
        text = data.get("input")
        if not isinstance(text, str) or not text:
            raise Invalid("input must be a text")
        seconds = audio.speech_seconds(text)
        if data.get("response_format") == "pcm":
            return Response(200, audio.pcm_tone(seconds), "audio/pcm")
        return Response(200, audio.wav_tone(seconds), "audio/wav")


def _stream(identity: str, model: object, answer: Answer, usage: Mapping[str, int] | None) -> Iterator[bytes]:
    def event(choices: list[object], **more: object) -> bytes:
        chunk = {
            "id": identity,
            "object": "chat.completion.chunk",
            "created": CREATED,
            "model": model,
            "choices": choices,
            **more,
        }
        return b"data: " + json.dumps(chunk, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"

    for delta in answer.deltas():
        yield event([{"index": 0, "delta": delta, "finish_reason": None}])
    yield event([{"index": 0, "delta": {}, "finish_reason": answer.reason}])
    if usage is not None:
        yield event([], usage=usage)
    yield b"data: [DONE]\n\n"


def _about(path: str) -> Response:
    """What there is: the state, the models, one model."""
    if path in ("/", "/health"):
        return as_json({"status": "ok"})
    if path == "/v1/models":
        return as_json({"object": "list", "data": [_model(MODEL)]})
    return as_json(_model(path.removeprefix("/v1/models/")))  # any name is served, so any name is known


def _vector(text: str, dimensions: int, packed: bool) -> list[float] | str:
    vector = embed(text, dimensions)
    return b64encode(struct.pack(f"<{dimensions}f", *vector)).decode() if packed else vector


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": CREATED, "owned_by": "alicia-e2e"}


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
