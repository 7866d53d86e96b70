"""The command line: ``serve``, ``version``, ``help``.

The server's modules are imported only by ``serve``, after the configuration
was found good: a wrong setting is reported at once, also on a slow machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from alicia_standin import VERSION

COMMANDS = {
    "serve": "Start the API server",
    "version": "Print the version",
    "help": "Show this help",
}


def main(arguments: Sequence[str], env: Mapping[str, str] = os.environ) -> int:
    """Run one command; the exit code."""
    command, *rest = arguments or ["help"]
    if command in ("help", "-h", "--help"):
        sys.stdout.write(help_text())
        return 0
    if command not in COMMANDS:
        return _fail(unknown_command(command))
    if rest in (["-h"], ["--help"]):
        sys.stdout.write(f"{COMMANDS[command]}\n\nUsage:\n  alicia {command}\n")
        return 0
    if rest:
        return _fail(f'unknown argument "{rest[0]}" for "alicia {command}"')
    return _run(command, env)


def _run(command: str, env: Mapping[str, str]) -> int:
    from alicia_standin import config

    folder = Path(config.database_path(env)).parent
    try:
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        settings = config.load(env)
    except OSError as error:
        return _fail(f"failed to load config: mkdir {folder}: {(error.strerror or str(error)).lower()}")
    except config.ConfigError as error:
        return _fail(f"failed to load config: {error}")
    if command == "version":
        sys.stdout.write(f"alicia {VERSION} (stand-in)\n")
        return 0
    if not settings.postgres_url:
        return _fail("server mode requires PostgreSQL. Set ALICIA_POSTGRES_URL")

    from alicia_standin import serve

    try:
        return serve.run(settings)
    except serve.StartError as error:
        return _fail(str(error))


def help_text() -> str:
    lines = [f"  {name:<10} {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        [
            "Alicia (stand-in): a small server with the contract of the real application",
            "",
            "Usage:",
            "  alicia [command]",
            "",
            "Commands:",
            *lines,
            "",
            "Settings come from the environment: ALICIA_POSTGRES_URL, ALICIA_SERVER_HOST, …",
            "",
        ]
    )


def unknown_command(command: str) -> str:
    """What is said about a command that does not exist, with a near one when there is one."""
    import difflib

    near = difflib.get_close_matches(command, COMMANDS, n=1, cutoff=0.6)
    hint = f"\n\nDid you mean this? {near[0]}\n" if near else ""
    return f'unknown command "{command}" for "alicia"{hint}'


def _fail(message: str) -> int:
    sys.stderr.write(f"Error: {message}\n")
    return 1
