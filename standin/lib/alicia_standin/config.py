"""The configuration: ``ALICIA_*`` of the environment, validated as a whole.

An empty variable counts as unset. A number that cannot be read leaves the
default in place. Everything else that is wrong is reported at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_INTEGER = re.compile(r"[+-]?\d{1,18}")
_FLOAT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")


class ConfigError(Exception):
    """Every problem of the configuration, joined by ``; ``."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("configuration errors: " + "; ".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Peer:
    """Another server that is called.

    Attributes:
        url: base address without a trailing slash.
    """

    url: str
    api_key: str = field(default="", repr=False)
    model: str = ""


@dataclass(frozen=True, slots=True)
class Llm(Peer):
    max_tokens: int = 4096
    temperature: float = 0.7


@dataclass(frozen=True, slots=True)
class Tts(Peer):
    voice: str = "af_sarah"


@dataclass(frozen=True, slots=True)
class Embedding(Peer):
    dimensions: int = 1536


@dataclass(frozen=True, slots=True)
class LiveKit(Peer):
    api_secret: str = field(default="", repr=False)

    @property
    def http_url(self) -> str:
        """The address of the room service: ``ws`` becomes ``http``, ``wss`` becomes ``https``."""
        return re.sub(r"^ws", "http", self.url)


@dataclass(frozen=True, slots=True)
class Config:
    """All settings.

    Attributes:
        postgres_url: empty when not set; only ``serve`` needs it.
        static_dir: folder of the frontend, empty to serve none.
        mcp_servers: names and transports from ``ALICIA_MCP_SERVERS``.
    """

    host: str
    port: int
    postgres_url: str = field(repr=False)
    static_dir: str
    cors_origins: tuple[str, ...]
    llm: Llm
    asr: Peer
    tts: Tts
    embedding: Embedding
    livekit: LiveKit
    mcp_servers: tuple[Mapping[str, object], ...] = ()


def database_path(env: Mapping[str, str]) -> str:
    """The path of ``ALICIA_DB_PATH``; its folder is made at every start."""
    home = env.get("HOME", "")
    prefix = f"{home}/" if home else ""
    return env.get("ALICIA_DB_PATH") or f"{prefix}.alicia/alicia.db"


def load(env: Mapping[str, str]) -> Config:
    """The configuration of an environment.

    Raises:
        ConfigError: with every problem found.
    """
    problems: list[str] = []
    llm = Llm(
        url=_address(env, "ALICIA_LLM_URL", "http://localhost:8000/v1", "LLM", problems),
        api_key=env.get("ALICIA_LLM_API_KEY", ""),
        model=env.get("ALICIA_LLM_MODEL") or "Qwen/Qwen3-8B-AWQ",
        max_tokens=_integer(env, "ALICIA_LLM_MAX_TOKENS", 4096),
        temperature=_number(env, "ALICIA_LLM_TEMPERATURE", 0.7),
    )
    asr = Peer(
        url=_address(env, "ALICIA_ASR_URL", "http://localhost:8001/v1", "ASR", problems),
        api_key=env.get("ALICIA_ASR_API_KEY", ""),
        model=env.get("ALICIA_ASR_MODEL") or "whisper-large-v3",
    )
    tts = Tts(
        url=_address(env, "ALICIA_TTS_URL", "http://localhost:8001/v1", "TTS", problems),
        api_key=env.get("ALICIA_TTS_API_KEY", ""),
        model=env.get("ALICIA_TTS_MODEL") or "kokoro",
        voice=env.get("ALICIA_TTS_VOICE") or "af_sarah",
    )
    embedding = Embedding(
        url=_address(env, "ALICIA_EMBEDDING_URL", "http://localhost:11434/v1", "Embedding", problems),
        api_key=env.get("ALICIA_EMBEDDING_API_KEY", ""),
        model=env.get("ALICIA_EMBEDDING_MODEL") or "text-embedding-3-small",
        dimensions=_integer(env, "ALICIA_EMBEDDING_DIMENSIONS", 1536),
    )
    livekit = LiveKit(
        url=_address(env, "ALICIA_LIVEKIT_URL", "ws://localhost:7880", "LiveKit", problems),
        api_key=env.get("ALICIA_LIVEKIT_API_KEY", ""),
        api_secret=env.get("ALICIA_LIVEKIT_API_SECRET", ""),
    )
    postgres_url = env.get("ALICIA_POSTGRES_URL", "")
    config = Config(
        host=env.get("ALICIA_SERVER_HOST") or "0.0.0.0",
        port=_integer(env, "ALICIA_SERVER_PORT", 8080),
        postgres_url=postgres_url,
        static_dir=env.get("ALICIA_STATIC_DIR", ""),
        cors_origins=_list(env, "ALICIA_CORS_ORIGINS", ("http://localhost:3000",)),
        llm=llm,
        asr=asr,
        tts=tts,
        embedding=embedding,
        livekit=livekit,
        mcp_servers=_mcp_servers(env, problems),
    )
    if postgres_url and not is_address(postgres_url):
        problems.append("PostgreSQL URL must be a valid URL")
    if _integer(env, "ALICIA_LIVEKIT_WORKER_COUNT", 10) < 1:
        problems.append("LiveKit worker count must be at least 1")
    if _integer(env, "ALICIA_LIVEKIT_WORK_QUEUE_SIZE", 100) < 1:
        problems.append("LiveKit work queue size must be at least 1")
    problems.extend(_limits(config))
    if problems:
        raise ConfigError(problems)
    return config


def api_base(url: str) -> str:
    """A base address without its trailing ``/v1``, which the path of each call brings."""
    return url.removesuffix("/v1").rstrip("/")


def is_address(url: str) -> bool:
    """Whether a text is a URL with scheme and host, and a port that is a number."""
    try:
        parts = urlsplit(url)
        return bool(parts.scheme and parts.netloc and (parts.port is None or parts.port > 0))
    except ValueError:
        return False


def _limits(config: Config) -> list[str]:
    problems: list[str] = []
    if not 1 <= config.port <= 65535:
        problems.append("server port must be between 1 and 65535")
    if not 0 <= config.llm.temperature <= 2:
        problems.append("LLM temperature must be between 0 and 2")
    if config.llm.max_tokens < 1:
        problems.append("LLM max_tokens must be positive")
    if config.embedding.dimensions < 1:
        problems.append("Embedding dimensions must be positive when URL is set")
    if not (config.livekit.api_key and config.livekit.api_secret):
        problems.append("LiveKit API key and secret are required when URL is set")
    return problems


def _address(env: Mapping[str, str], name: str, default: str, title: str, problems: list[str]) -> str:
    url = env.get(name) or default
    if not is_address(url):
        problems.append(f"{title} URL must be a valid URL")
    return url.rstrip("/")


def _integer(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "")
    return int(text) if _INTEGER.fullmatch(text) else default


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "")
    return float(text) if _FLOAT.fullmatch(text) else default


def _list(env: Mapping[str, str], name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    items = tuple(item.strip() for item in env.get(name, "").split(",") if item.strip())
    return items or default


def _mcp_servers(env: Mapping[str, str], problems: list[str]) -> tuple[Mapping[str, object], ...]:
    try:
        data = json.loads(env.get("ALICIA_MCP_SERVERS") or "[]")
    except ValueError:
        return ()
    servers = [server for server in data if isinstance(server, dict)] if isinstance(data, list) else []
    for index, server in enumerate(servers):
        if not server.get("name"):
            problems.append(f"MCP server {index}: name is required")
        if server.get("transport") not in ("stdio", "http"):
            problems.append(f"MCP server {server.get('name', index)}: transport must be 'stdio' or 'http'")
    return tuple(servers)
