"""The mock of the LLM, and what serves both mocks: answers as pure functions, and over real sockets in this process."""

# mypy: disable-error-code="import-not-found"
# The stand-in is a program of its own, outside the package that mypy is pointed at.
from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import wave
from base64 import b64decode
from http.client import HTTPConnection
from io import BytesIO
from typing import Any

import pytest
from mock_server import STANDIN, decoded, post, served  # puts the mocks on the path

# isort: split
from alicia_mocks import audio
from alicia_mocks.chat import chat_answer
from alicia_mocks.embedding import embed
from alicia_mocks.http import BadBody, Request, Response, read_body
from alicia_mocks.llm import MockLlm

QUESTION = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "What is “up”?"}]


def cosine(one: list[float], two: list[float]) -> float:
    return sum(a * b for a, b in zip(one, two, strict=True))


# ------------------------------------------------------------------ embeddings


def test_embeddings_have_length_one_and_repeat() -> None:
    vector = embed("The quick brown fox", 1536)
    assert len(vector) == 1536
    assert cosine(vector, vector) == pytest.approx(1)
    assert embed("The quick brown fox", 1536) == vector
    assert cosine(embed("", 8), embed("?!", 8)) == 1


def test_texts_that_share_words_are_near() -> None:
    text = embed("database migrations are applied", 1536)
    same_words = cosine(text, embed("Applied: the migrations of a database!", 1536))
    same_stem = cosine(text, embed("one migration", 1536))
    other = cosine(text, embed("cats sleep on sofas", 1536))
    assert same_words > 0.5 > same_stem > 0.1 > abs(other)


# ------------------------------------------------------------------ the LLM


def test_chat_answers_each_question_with_a_text_of_its_own() -> None:
    answer = MockLlm()(post("/v1/chat/completions", {"model": "m", "messages": QUESTION}))
    data = decoded(answer)
    assert data["model"] == "m"
    choices = data["choices"]
    assert isinstance(choices, list)
    assert choices[0]["message"] == {"role": "assistant", "content": chat_answer("What is “up”?")}
    assert chat_answer("What is “up”?") != chat_answer("What is up?")
    assert answer == MockLlm()(post("/v1/chat/completions", {"model": "m", "messages": QUESTION}))


def test_content_may_come_in_parts() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    data = decoded(MockLlm()(post("/v1/chat/completions", {"messages": [{"role": "user", "content": parts}]})))
    assert chat_answer("ab") in json.dumps(data)


@pytest.mark.parametrize("question", ["Hello, how are you?", "ping", "42", "Wie geht’s?", "conversation", "answer"])
def test_an_answer_holds_no_word_of_its_question(question: str) -> None:
    """A page that shows both would have two elements for one text."""
    said = set(re.findall(r"\w+", chat_answer(question).lower()))
    assert not said & set(re.findall(r"\w+", question.lower()))


WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string"},
                "days": {"type": "integer", "minimum": 2},
                "unit": {"enum": ["celsius", "kelvin"]},
                "places": {"type": "array", "items": {"type": "number"}},
            },
            "required": ["city", "days", "unit", "places"],
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}


def chosen_calls(question: str, **more: object) -> list[dict[str, Any]]:
    body = {"messages": [{"role": "user", "content": question}], "tools": [CLOCK, WEATHER], **more}
    answer = MockLlm()(post("/v1/chat/completions", body))
    assert answer.status == 200, answer.body
    choices: Any = decoded(answer)["choices"]
    calls: list[dict[str, Any]] = choices[0]["message"].get("tool_calls", [])
    assert choices[0]["finish_reason"] == ("tool_calls" if calls else "stop")
    assert (choices[0]["message"]["content"] is None) == bool(calls)
    return calls


def test_a_tool_is_called_when_it_is_demanded_or_named() -> None:
    assert chosen_calls("Hello") == []
    assert chosen_calls("use get_weather", tool_choice="none") == []
    (named,) = chosen_calls("please use get_weather for me")
    assert named["type"] == "function"
    assert named["function"]["name"] == "get_weather"
    assert json.loads(named["function"]["arguments"]) == {
        "city": "mock",
        "days": 2,
        "unit": "celsius",
        "places": [],
    }
    assert chosen_calls("Hello", tool_choice="required")[0]["function"] == {"name": "clock", "arguments": "{}"}
    wanted = {"type": "function", "function": {"name": "get_weather"}}
    assert chosen_calls("Hello", tool_choice=wanted)[0]["function"]["name"] == "get_weather"


def test_the_result_of_a_tool_is_followed_by_a_text() -> None:
    (call,) = chosen_calls("use clock")
    messages = [
        {"role": "user", "content": "use clock"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "12:00"},
    ]
    data = decoded(MockLlm()(post("/v1/chat/completions", {"messages": messages, "tools": [CLOCK]})))
    choices: Any = data["choices"]
    assert choices[0]["message"] == {"role": "assistant", "content": chat_answer("use clock")}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "nothing"}}, {"type": "x"}])
def test_a_tool_that_is_not_offered_cannot_be_demanded(choice: object) -> None:
    body = {"messages": QUESTION, "tools": [], "tool_choice": choice}
    assert MockLlm()(post("/v1/chat/completions", body)).status == 400


@pytest.mark.parametrize("data", [{}, {"messages": []}, {"messages": [{"role": "system", "content": "x"}]}, []])
def test_chat_without_a_question_is_refused(data: object) -> None:
    answer = MockLlm()(post("/v1/chat/completions", data))
    assert answer.status == 400
    assert "message" in str(decoded(answer)["error"])


def test_embeddings_of_a_list_and_as_base64() -> None:
    llm = MockLlm(dimensions=16)
    rows = decoded(llm(post("/v1/embeddings", {"input": ["a", "b"]})))["data"]
    assert isinstance(rows, list)
    assert [row["index"] for row in rows] == [0, 1]
    assert rows[0]["embedding"] == embed("a", 16)
    packed = decoded(llm(post("/v1/embeddings", {"input": "a", "dimensions": 4, "encoding_format": "base64"})))
    assert isinstance(packed["data"], list)
    assert struct.unpack("<4f", b64decode(packed["data"][0]["embedding"])) == pytest.approx(embed("a", 4))
    refused: list[object] = [{}, {"input": []}, {"input": [1]}, {"input": "a", "dimensions": 0}]
    for bad in refused:
        assert llm(post("/v1/embeddings", bad)).status == 400


def test_speech_is_a_wav_file() -> None:
    for path in ("/v1/audio/speech", "/v1/v1/audio/speech"):
        answer = MockLlm()(post(path, {"input": "hello", "voice": "x"}))
        assert answer.content_type == "audio/wav"
        assert isinstance(answer.body, bytes)
        with wave.open(BytesIO(answer.body)) as sound:
            assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate()) == (1, 2, audio.RATE)
            assert sound.getnframes() == int(audio.RATE * audio.speech_seconds("hello"))


def test_transcription_names_the_size_of_the_upload() -> None:
    body = (
        b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a;b.wav"\r\n'
        b"Content-Type: audio/wav\r\n\r\nRIFF\r\n--data\r\n"
        b'--xyz\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper\r\n--xyz--\r\n'
    )
    headers = {"content-type": "multipart/form-data; boundary=xyz"}
    llm = MockLlm()
    answer = llm(Request("POST", "/v1/audio/transcriptions", headers=headers, body=body))
    assert decoded(answer) == {"text": "Mock transcription of 12 bytes."}
    assert llm(Request("POST", "/v1/audio/transcriptions", body=body)).status == 400
    assert llm(Request("POST", "/v1/audio/transcriptions", headers=headers, body=b"--xyz--\r\n")).status == 400


@pytest.mark.parametrize(
    ("form", "start"),
    [
        ("text", "Mock"),
        ("srt", "1\n00:00:00,000 --> 00:00:00,200\nMock"),
        ("vtt", "WEBVTT\n\n00:00:00.000 --> 00:00:00.200\nMock"),
        ("verbose_json", '{"task":"transcribe"'),
    ],
)
def test_transcriptions_come_in_the_form_that_is_asked_for(form: str, start: str) -> None:
    sound = audio.wav_tone(0.2)
    parts = {"file": sound, "response_format": form.encode()}
    body = b"".join(
        b'--xyz\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value)
        for name, value in parts.items()
    )
    headers = {"content-type": "multipart/form-data; boundary=xyz"}
    answer = MockLlm()(Request("POST", "/v1/audio/transcriptions", headers=headers, body=body + b"--xyz--\r\n"))
    assert isinstance(answer.body, bytes)
    assert answer.body.decode().startswith(start)


def test_speech_as_raw_samples() -> None:
    answer = MockLlm()(post("/v1/audio/speech", {"input": "hello", "response_format": "pcm"}))
    assert isinstance(answer.body, bytes)
    assert len(answer.body) == 2 * int(audio.RATE * audio.speech_seconds("hello"))


def test_routes_of_the_llm() -> None:
    llm = MockLlm()
    assert decoded(llm(Request("GET", "/v1/models/any-name")))["id"] == "any-name"
    assert decoded(llm(Request("GET", "/v1/models")))["object"] == "list"
    assert llm(Request("POST", "/v1/models")).status == 405
    assert llm(Request("GET", "/v1/embeddings")).status == 405
    assert llm(Request("GET", "/nothing")).status == 404


# ------------------------------------------------------------------ over sockets


@pytest.mark.parametrize("program", ["mock-llm", "mock-livekit"])
def test_options_can_be_set_by_the_environment(program: str) -> None:
    """A drop-in of a unit then needs no command line."""
    prefix = program.upper().replace("-", "_")
    environment = {f"{prefix}_PORT": "0", "LIVEKIT_API_KEY": "k", "LIVEKIT_API_SECRET": "s"}
    command = [sys.executable, STANDIN / "mocks" / program]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.terminate()
        process.communicate()
    assert re.search(r"listening on 127\.0\.0\.1:(?!7880|8000)\d+$", line.strip()), line
    assert process.returncode == 0
    wrong = subprocess.run(command, env={**environment, f"{prefix}_DELAY": "soon"}, capture_output=True, text=True)
    assert (wrong.returncode, "argument --delay: invalid float value: 'soon'" in wrong.stderr) == (2, True)


def test_one_connection_carries_several_requests() -> None:
    with served(MockLlm(dimensions=4)) as address:
        connection = HTTPConnection(*address, timeout=5)
        for text in ("a", "b"):
            connection.request("POST", "/v1/embeddings", json.dumps({"input": text}))
            answer = connection.getresponse()
            assert (answer.status, answer.getheader("Content-Type")) == (200, "application/json")
            assert json.loads(answer.read())["data"][0]["embedding"] == embed(text, 4)
        connection.request("HEAD", "/v1/models")
        answer = connection.getresponse()
        assert answer.read() == b""
        assert int(answer.getheader("Content-Length") or 0) > 0
        connection.close()


def test_streamed_chat_adds_up_to_the_answer() -> None:
    with served(MockLlm()) as address:
        connection = HTTPConnection(*address, timeout=5)
        connection.request("POST", "/v1/chat/completions", json.dumps({"messages": QUESTION, "stream": True}))
        answer = connection.getresponse()
        assert answer.getheader("Content-Type") == "text/event-stream"
        events = [event.removeprefix("data: ") for event in answer.read().decode().strip().split("\n\n")]
        assert events.pop() == "[DONE]"
        pieces = [json.loads(event)["choices"][0]["delta"].get("content", "") for event in events]
        assert "".join(pieces) == chat_answer("What is “up”?")
        assert len(pieces) > 3
        connection.close()


def test_chunked_requests_are_understood() -> None:
    with served(MockLlm(dimensions=4)) as address:
        connection = HTTPConnection(*address, timeout=5)
        body = json.dumps({"input": "abc"}).encode()
        connection.request("POST", "/v1/embeddings", iter([body[:5], body[5:]]), encode_chunked=True)
        assert connection.getresponse().status == 200
        connection.close()


def test_bodies_that_are_too_long_are_refused_before_they_are_read() -> None:
    with pytest.raises(BadBody) as caught:
        read_body(BytesIO(), {"content-length": str(10**12)})
    assert caught.value.status == 413


def test_a_failing_application_answers_500() -> None:
    def broken(request: Request) -> Response:
        raise RuntimeError(request.path)

    with served(broken) as address:
        connection = HTTPConnection(*address, timeout=5)
        connection.request("GET", "/")
        assert connection.getresponse().status == 500
        connection.close()
