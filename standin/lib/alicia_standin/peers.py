"""Calls to the other servers: LLM, embeddings, speech in both directions, LiveKit."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

import aiohttp

from alicia_standin import tokens
from alicia_standin.config import Config, Peer, api_base

CALL_SECONDS = 10
"""Limit of one call."""
RETRIES = 3
_FIRST_PAUSE = 0.2
_RETRYABLE = frozenset({429, 500, 502, 503, 504})


class PeerError(Exception):
    """A peer could not be reached, refused, or said something unexpected.

    Attributes:
        retryable: whether trying again may help.
    """

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


class Peers:
    """One HTTP client for all peers. Every method raises `PeerError`."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=CALL_SECONDS))

    async def close(self) -> None:
        await self._session.close()

    async def chat(self, messages: Sequence[Mapping[str, str]], *, max_tokens: int | None = None) -> str:
        """The answer of the LLM, in one call."""
        llm = self._config.llm
        data = await self._json(
            f"{api_base(llm.url)}/v1/chat/completions",
            llm,
            {
                "model": llm.model,
                "messages": list(messages),
                "max_tokens": max_tokens or llm.max_tokens,
                "temperature": llm.temperature,
            },
        )
        try:
            content = data["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            raise PeerError("the answer of the LLM holds no message") from None
        if not isinstance(content, str):
            raise PeerError("the answer of the LLM holds no text")
        return content

    async def chat_patiently(self, messages: Sequence[Mapping[str, str]]) -> str:
        """Like `chat`, with up to three more tries when that may help."""
        for attempt in range(RETRIES):
            try:
                return await self.chat(messages)
            except PeerError as error:
                if not error.retryable:
                    raise
                await asyncio.sleep(_FIRST_PAUSE * 2**attempt)
        return await self.chat(messages)

    async def embed(self, text: str) -> list[float]:
        """The embedding of a text, of the configured length."""
        peer = self._config.embedding
        data = await self._json(
            f"{api_base(peer.url)}/v1/embeddings",
            peer,
            {"model": peer.model, "input": text, "dimensions": peer.dimensions},
        )
        try:
            vector = [float(value) for value in data["data"][0]["embedding"]]
        except (KeyError, IndexError, TypeError, ValueError):
            raise PeerError("the answer holds no embedding") from None
        if len(vector) != peer.dimensions:
            raise PeerError(f"the embedding has {len(vector)} dimensions instead of {peer.dimensions}")
        return vector

    async def transcribe(self, wav: bytes) -> str:
        """The words of a recording. The base address keeps its ``/v1``, as in the real application."""
        asr = self._config.asr
        form = aiohttp.FormData()
        form.add_field("file", wav, filename="audio.wav", content_type="audio/wav")
        form.add_field("model", asr.model)
        body = await self._call(f"{asr.url}/v1/audio/transcriptions", {}, data=form)
        return str(_object(body).get("text", ""))

    async def synthesize(self, text: str) -> bytes:
        """A text as sound. The base address keeps its ``/v1``, as in the real application."""
        tts = self._config.tts
        request = {"model": tts.model, "voice": tts.voice, "input": text}
        return await self._call(f"{tts.url}/v1/audio/speech", {}, json=request)

    async def create_room(self, name: str) -> str:
        """Make sure a LiveKit room exists; its name."""
        room = await self._room_service("CreateRoom", {"name": name, "empty_timeout": 300})
        return str(room.get("name") or name)

    async def delete_room(self, name: str) -> None:
        await self._room_service("DeleteRoom", {"room": name})

    async def _room_service(self, method: str, request: Mapping[str, object]) -> dict[str, Any]:
        livekit = self._config.livekit
        token = tokens.room_service(livekit.api_key, livekit.api_secret, int(time.time()))
        url = f"{livekit.http_url}/twirp/livekit.RoomService/{method}"
        return _object(await self._call(url, {"Authorization": f"Bearer {token}"}, json=request))

    async def _json(self, url: str, peer: Peer, request: Mapping[str, object]) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {peer.api_key}"} if peer.api_key else {}
        return _object(await self._call(url, headers, json=request))

    async def _call(self, url: str, headers: Mapping[str, str], **body: Any) -> bytes:
        try:
            async with self._session.post(url, headers=dict(headers), **body) as response:
                content = await response.read()
        except TimeoutError:
            raise PeerError(f"{url} did not answer within {CALL_SECONDS} s", retryable=True) from None
        except (aiohttp.ClientError, OSError) as error:
            raise PeerError(f"{url} cannot be reached: {error}", retryable=True) from None
        if response.status != 200:
            raise PeerError(f"{url} answered {response.status}", retryable=response.status in _RETRYABLE)
        return content


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except ValueError:
        raise PeerError("the answer is not JSON") from None
    if not isinstance(data, dict):
        raise PeerError("the answer is not a JSON object")
    return data
