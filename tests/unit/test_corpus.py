"""Wrong input of every kind, hundreds of each: one clear error, the right exit code, never a traceback.

The corpus is made by dice with fixed seeds from what is right: lines and bytes lost, doubled and swapped, values of
every other kind in every place.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_environment_state import a_state

from orchestrator.cli.main import main
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.state import read_state, to_json
from orchestrator.errors import HostError, SnapshotError
from orchestrator.snapshots.manifest import FORMAT, MANIFEST, read_manifest

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/topology"
TOPOLOGIES, COMMANDS, STATES, MANIFESTS = 320, 240, 160, 120
ODD: tuple[Any, ...] = (
    0,
    -1,
    1e308,
    10**40,
    True,
    None,
    "",
    "\0",
    "\x1b]0;t\x07",
    "../../etc/passwd",
    "ä" * 300,
    "x" * 70_000,
    [],
    {},
    [[]],
    {"a": {"b": []}},
    "127.0.0.1",
    "1/2",
    "nan",
    "server",
    "-rf",
)


def broken_text(text: str, dice: random.Random) -> bytes:
    """A text with one to three things wrong, as bytes."""
    lines = text.splitlines(keepends=True)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(lines))
        match dice.randrange(8):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, lines[at])
            case 2:
                lines[at] = lines[dice.randrange(len(lines))]
            case 3:
                lines[at] = re.sub(r"= .*", lambda _: f"= {json.dumps(dice.choice(ODD))}", lines[at])
            case 4:
                lines[at] = re.sub(r"\w+", lambda _: dice.choice(("x", "unit", "checks", "9", "é")), lines[at], count=1)
            case 5:
                lines[at] = lines[at][: dice.randrange(len(lines[at]) + 1)]
            case 6:
                lines[at] = re.sub(r"\d+", lambda _: str(dice.choice((-5, 0, 70_000, 10**30))), lines[at])
            case _:
                lines = lines[:at] or [""]
        lines = lines or [""]
    data = bytearray("".join(lines).encode("utf-8", "replace"))
    if data and dice.random() < 0.15:
        data[dice.randrange(len(data))] = dice.randrange(256)
    return bytes(data)


def broken_data(data: Any, dice: random.Random) -> Any:
    """JSON data with one value somewhere replaced, removed or added."""
    if isinstance(data, dict) and data and dice.random() < 0.85:
        key = dice.choice(sorted(data))
        match dice.randrange(6):
            case 0:
                return {name: value for name, value in data.items() if name != key}
            case 1:
                return {**data, "unknown": dice.choice(ODD)}
            case _:
                return {**data, key: broken_data(data[key], dice)}
    if isinstance(data, list) and data and dice.random() < 0.85:
        at = dice.randrange(len(data))
        return [*data[:at], broken_data(data[at], dice), *data[at + 1 :]]
    return dice.choice(ODD)


def test_topologies(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    sources = [(ROOT / "orchestrator.toml").read_text(), (GOLDEN / "every-table.toml").read_text()]
    wrong = 0
    for seed in range(TOPOLOGIES):
        dice = random.Random(seed)
        file = tmp_path / "orchestrator.toml"
        file.write_bytes(broken_text(dice.choice(sources), dice))
        code = main(["--file", str(file), "validate"])
        said = capfd.readouterr()
        assert code in (0, 2), f"seed {seed}: {said.err[-2000:]}"
        if code == 2:
            wrong += 1
            assert re.search(r"orchestrator\.toml(:\d+:\d+)?", said.err), f"seed {seed} names no place: {said.err}"
            assert "\x1b" not in said.err, f"seed {seed}"
            assert len(said.err) < 20_000, f"seed {seed}: {len(said.err)} characters"
    assert wrong > TOPOLOGIES / 2, "most of them are wrong"


def words(dice: random.Random) -> list[str]:
    known = (
        "up",
        "run",
        "down",
        "exec",
        "cp",
        "logs",
        "status",
        "graph",
        "images",
        "snapshot",
        "report",
        "shell",
        "--file",
        "--name",
        "--json",
        "--grep",
        "--shard",
        "--clones",
        "--isolate",
        "--timeout",
        "--wait-timeout",
        "--",
        "-n",
        "-q",
        "--progress",
        "--images",
        "--keep",
        "--lines",
        "--since",
        "--format",
        "prune",
        "build",
        "restart",
        "reset",
    )
    odd = ("", "-1", "0", "x" * 400, "1/0", "3/2", "9" * 40, "\x1b[2J", "ä", "server:", ":", "1h30", "UP", "--no-such")
    return [dice.choice(known if dice.random() < 0.6 else odd) for _ in range(dice.randint(0, 6))]


def test_command_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """In an empty folder without environments: nothing can be started, everything must be explained."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCH_STATE_DIR", str(tmp_path / "state"))
    for seed in range(COMMANDS):
        line = words(random.Random(seed))
        try:
            code = main(line)
        except SystemExit as leave:
            code = int(leave.code or 0)
        said = capfd.readouterr()
        assert code in (0, 2, 3), f"{line}: {code}: {said.err[-1500:]}"
        assert code == 0 or said.err.strip(), f"{line} ends with {code} and says nothing"
        assert "Traceback" not in said.err and "\x1b" not in said.err, line
    assert not (tmp_path / "runs").exists(), "nothing was begun"


def damaged(right: Any, seed: int) -> bytes:
    dice = random.Random(seed)
    text = json.dumps(broken_data(right, dice), indent=1)
    return broken_text(text, dice) if dice.random() < 0.3 else text.encode()


def survey(
    count: int, right: Any, write: Callable[[bytes], None], read: Callable[[], object], kind: type[Exception]
) -> int:
    """How many of the damaged are refused; any other exception fails."""
    refused = 0
    for seed in range(count):
        write(damaged(right, seed))
        try:
            read()
        except kind as error:
            refused += 1
            assert getattr(error, "why", "") and getattr(error, "hint", ""), f"seed {seed}"
        except Exception as error:
            raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error
    return refused


def test_state_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_STATE_DIR", str(tmp_path))
    paths = EnvironmentPaths.of("shop")
    paths.make()
    right = to_json(a_state(tmp_path))
    refused = survey(STATES, right, paths.state.write_bytes, lambda: read_state(paths.state), HostError)
    assert refused > STATES / 3


def test_manifests_of_saved_states(tmp_path: Path) -> None:
    machine = {"image": "/images/server", "ram": "a1", "state": "b2", "disk": "c3", "host_key": "ssh-ed25519 A"}
    right = {
        "format": FORMAT,
        "name": "healthy",
        "environment": "shop",
        "owner": "o",
        "key": "k",
        "inputs": {"QEMU": "10.0"},
        "created": 1.0,
        "paused": 0.2,
        "command": "orchestrator up",
        "machines": {"server": machine},
    }
    write = (tmp_path / MANIFEST).write_bytes
    refused = survey(MANIFESTS, right, write, lambda: read_manifest(tmp_path), SnapshotError)
    assert refused > MANIFESTS / 4
