"""Configuration and command line of the stand-in."""

# mypy: disable-error-code="import-not-found"
# The stand-in is a program of its own, outside the package that mypy is pointed at.
from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path

import pytest

STANDIN = Path(__file__).resolve().parents[2] / "standin"
sys.path.insert(0, str(STANDIN / "lib"))

from alicia_standin import cli, config  # noqa: E402

KEYS = {"ALICIA_LIVEKIT_API_KEY": "key", "ALICIA_LIVEKIT_API_SECRET": "secret"}


def test_defaults_and_empty_values() -> None:
    empty = dict.fromkeys(
        ["ALICIA_SERVER_PORT", "ALICIA_LIVEKIT_URL", "ALICIA_ASR_URL", "ALICIA_CORS_ORIGINS", "ALICIA_LLM_MODEL"], ""
    )
    loaded = config.load({**KEYS, **empty})
    assert loaded == config.load(KEYS)
    assert (loaded.host, loaded.port) == ("0.0.0.0", 8080)
    assert loaded.livekit.url == "ws://localhost:7880"
    assert loaded.asr.url == "http://localhost:8001/v1"
    assert loaded.embedding.dimensions == 1536
    assert loaded.cors_origins == ("http://localhost:3000",)


def test_unreadable_numbers_keep_the_default() -> None:
    loaded = config.load(
        {**KEYS, "ALICIA_SERVER_PORT": "80a", "ALICIA_LLM_TEMPERATURE": "nan", "ALICIA_LLM_MAX_TOKENS": "1.5"}
    )
    assert (loaded.port, loaded.llm.temperature, loaded.llm.max_tokens) == (8080, 0.7, 4096)


def test_every_problem_is_reported_at_once() -> None:
    env = {
        "ALICIA_SERVER_PORT": "65536",
        "ALICIA_LLM_TEMPERATURE": "2.1",
        "ALICIA_LLM_MAX_TOKENS": "0",
        "ALICIA_LLM_URL": "localhost",
        "ALICIA_TTS_URL": "http://host:port",
        "ALICIA_POSTGRES_URL": "alicia",
    }
    with pytest.raises(config.ConfigError) as caught:
        config.load(env)
    assert set(caught.value.problems) == {
        "LLM URL must be a valid URL",
        "TTS URL must be a valid URL",
        "PostgreSQL URL must be a valid URL",
        "server port must be between 1 and 65535",
        "LLM temperature must be between 0 and 2",
        "LLM max_tokens must be positive",
        "LiveKit API key and secret are required when URL is set",
    }
    assert str(caught.value) == "configuration errors: " + "; ".join(caught.value.problems)


def test_no_word_turns_a_service_off() -> None:
    """As in the real application: variant `minimal` has addresses that nobody serves."""
    names = ("ALICIA_ASR_URL", "ALICIA_TTS_URL", "ALICIA_LIVEKIT_URL")
    with pytest.raises(config.ConfigError) as caught:
        config.load({**KEYS, **dict.fromkeys(names, "disabled")})
    assert len(caught.value.problems) == 3
    stack = tomllib.loads((STANDIN.parent / "stack/stack.toml").read_text())
    loaded = config.load({**KEYS, **stack["environment"]["minimal"]})
    assert loaded.livekit.http_url == "http://127.0.0.1:9"


def test_secrets_do_not_show_in_the_representation() -> None:
    env = {
        "ALICIA_LIVEKIT_API_KEY": "hidden-1",
        "ALICIA_LIVEKIT_API_SECRET": "hidden-2",
        "ALICIA_LLM_API_KEY": "hidden-3",
        "ALICIA_POSTGRES_URL": "postgres://alicia:hidden-4@localhost/alicia",
    }
    assert "hidden" not in repr(config.load(env))


def test_mcp_servers_come_as_json() -> None:
    env = {**KEYS, "ALICIA_MCP_SERVERS": '[{"name":"files","transport":"stdio"}]'}
    assert config.load(env).mcp_servers == ({"name": "files", "transport": "stdio"},)
    assert config.load({**KEYS, "ALICIA_MCP_SERVERS": "not json"}).mcp_servers == ()
    with pytest.raises(config.ConfigError, match="MCP server 0: name is required"):
        config.load({**KEYS, "ALICIA_MCP_SERVERS": '[{"transport":"http"}]'})


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("http://h:1/v1", "http://h:1"),
        ("http://h:1", "http://h:1"),
        ("http://h/x/v1", "http://h/x"),
        ("http://h/v12", "http://h/v12"),
    ],
)
def test_the_version_is_stripped_from_a_base_address(url: str, base: str) -> None:
    assert config.api_base(url) == base


@pytest.mark.parametrize(
    ("url", "http"), [("ws://h:7880", "http://h:7880"), ("wss://h", "https://h"), ("http://h", "http://h")]
)
def test_the_room_service_is_spoken_to_over_http(url: str, http: str) -> None:
    assert config.LiveKit(url=url).http_url == http


def test_unknown_command_names_a_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["server"], {}) == 1
    error = capsys.readouterr().err
    assert error.startswith('Error: unknown command "server" for "alicia"\n')
    assert "Did you mean this? serve\n" in error
    assert cli.main(["zzz"], {}) == 1
    assert "Did you mean" not in capsys.readouterr().err


def test_help_needs_no_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["help"], ["--help"]):
        assert cli.main(arguments, {}) == 0
        assert "serve" in capsys.readouterr().out


def test_version_validates_the_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"], {"HOME": str(tmp_path)}) == 1
    assert "LiveKit API key and secret are required" in capsys.readouterr().err
    assert cli.main(["version"], {"HOME": str(tmp_path), **KEYS}) == 0
    assert "1.0.0" in capsys.readouterr().out
    assert (tmp_path / ".alicia").is_dir()


def test_serve_needs_a_database_and_a_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["serve"], {"HOME": str(tmp_path), **KEYS}) == 1
    assert "server mode requires PostgreSQL. Set ALICIA_POSTGRES_URL" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    assert cli.main(["serve"], {"HOME": str(tmp_path / "file"), **KEYS}) == 1
    assert "failed to load config: mkdir" in capsys.readouterr().err


def test_package_layout() -> None:
    for program in ("bin/alicia", "mocks/mock-llm", "mocks/mock-livekit"):
        assert os.access(STANDIN / program, os.X_OK)
    migrations = STANDIN / "share/alicia/migrations"
    ups = sorted(path.name for path in migrations.glob("*.up.sql"))
    assert ups[:2] == ["001_init.up.sql", "002_embeddings.up.sql"]
    assert all((migrations / name.replace(".up.", ".down.")).is_file() for name in ups)
