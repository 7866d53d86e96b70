"""Wrong input of every kind, hundreds of each: one clear error, the right exit code, never a traceback.

Hypothesis makes the corpus from what is right: lines and bytes lost, doubled and swapped, values of every other kind
in every place. What fails is shrunk to the least damage that still fails.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_environment_state import a_state

from orchestrator.cli.main import main
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.state import read_state, to_json
from orchestrator.errors import HostError, SnapshotError
from orchestrator.snapshots.manifest import FORMAT, MANIFEST, read_manifest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/topology"
SOURCES = [(ROOT / "orchestrator.toml").read_text(), (GOLDEN / "every-table.toml").read_text()]
HOSTILE = ("(a+)+$", "(x{999}){999}", "[", "\\", "(?P<n>.)(?P<n>.)", "(?!x)", "\\1", "*", "(" * 2_000, "a|" * 9_000)
PLAIN = (
    0,
    -1,
    1e308,
    10**40,
    True,
    None,
    "",
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
ODD = st.sampled_from([*PLAIN, "\0", "\x1b]0;t\x07", "../../etc/passwd", "ä" * 300, "x" * 70_000, *HOSTILE])
FOLDERS = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..") and len(name.encode("utf-8", "surrogatepass")) < 200
)


def corpus(examples: int) -> Callable[[Any], Any]:
    """The same examples in every run: a red one is red again."""
    return settings(max_examples=examples, deadline=None, derandomize=True, database=None)


@st.composite
def broken_text(draw: st.DrawFn, text: str) -> bytes:
    """A text with one to three things wrong, as bytes."""
    lines = text.splitlines(keepends=True)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        lines = draw(damaged_lines(lines, at)) or [""]
    whole = "".join(lines)
    data = bytearray(
        whole.encode(draw(st.sampled_from(["utf-8"] * 12 + ["utf-8-sig", "utf-16", "latin-1"])), "replace")
    )
    if data and draw(st.integers(0, 6)) == 6:
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


@st.composite
def damaged_lines(draw: st.DrawFn, lines: list[str], at: int) -> list[str]:
    """The lines with something done to the one at ``at``."""
    line = lines[at]
    match draw(st.sampled_from("value number word drop double swap cut end".split())):  # noqa: SIM905
        case "value":
            value = json.dumps(draw(ODD))
            line = re.sub(r"= .*", lambda _: f"= {value}", line)
        case "number":
            number = str(draw(st.sampled_from((-5, 0, 70_000, 10**30))))
            line = re.sub(r"\d+", number, line)
        case "word":
            word = draw(st.sampled_from(("x", "unit", "checks", "9", "é")))
            line = re.sub(r"\w+", word, line, count=1)
        case "drop":
            line = ""
        case "double":
            line *= 2
        case "swap":
            line = draw(st.sampled_from(lines))
        case "cut":
            line = line[: draw(st.integers(0, len(line)))]
        case _:
            return lines[:at]
    return [*lines[:at], line, *lines[at + 1 :]]


@st.composite
def broken_data(draw: st.DrawFn, data: Any) -> Any:
    """JSON data with one value somewhere replaced, removed or added."""
    deeper = draw(st.integers(0, 6)) > 0
    if isinstance(data, dict) and data and deeper:
        key = draw(st.sampled_from(sorted(data)))
        match draw(st.integers(0, 5)):
            case 0:
                return {name: value for name, value in data.items() if name != key}
            case 1:
                return {**data, "unknown": draw(ODD)}
            case _:
                return {**data, key: draw(broken_data(data[key]))}
    if isinstance(data, list) and data and deeper:
        at = draw(st.integers(0, len(data) - 1))
        return [*data[:at], draw(broken_data(data[at])), *data[at + 1 :]]
    return draw(ODD)


def damaged(right: Any) -> st.SearchStrategy[bytes]:
    """A JSON file with wrong data, or data that is no JSON any more."""
    data = broken_data(right).map(lambda data: json.dumps(data, indent=1).encode())
    return data | data | broken_text(json.dumps(right, indent=1))


def test_topologies(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    codes = []

    @corpus(240)
    @given(st.sampled_from(SOURCES).flatmap(broken_text))
    def check(content: bytes) -> None:
        file = tmp_path / "orchestrator.toml"
        file.write_bytes(content)
        code = main(["--file", str(file), "validate"])
        err = capfd.readouterr().err
        codes.append(code)
        assert code in (0, 2), err[-2000:]
        assert code == 0 or re.search(r"orchestrator\.toml(:\d+:\d+)?", err), f"it names no place: {err}"
        assert "\x1b" not in err
        assert len(err) < 20_000

    check()
    assert codes.count(2) > len(codes) / 2, "most of them are wrong"


def test_folders_of_any_name(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    @corpus(60)
    @given(FOLDERS)
    def check(name: str) -> None:
        place = tmp_path / name
        try:
            place.mkdir()
        except (OSError, UnicodeEncodeError):
            return
        (place / "orchestrator.toml").write_text(SOURCES[1])
        code = main(["--file", str(place / "orchestrator.toml"), "config"])
        said = capfd.readouterr()
        assert code in (0, 2), said.err[-2000:]
        assert "Traceback" not in said.err
        assert "\x1b" not in said.err

    check()


COMMANDS = "up run down exec cp logs status graph images snapshot report shell prune build restart reset -- -n -q"
OPTIONS = "file name json grep shard clones isolate timeout wait-timeout progress images keep lines since format"
KNOWN = [*COMMANDS.split(), *(f"--{name}" for name in OPTIONS.split())]
STRANGE = ["", "-1", "0", "x" * 400, "1/0", "3/2", "9" * 40, "\x1b[2J", "ä", "server:", ":", "1h30", "UP", "--no-such"]
LINES = st.lists(
    st.sampled_from(KNOWN) | st.sampled_from(KNOWN) | st.sampled_from([*STRANGE, *HOSTILE[:8]]), max_size=6
)


def test_command_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """In an empty folder without environments: nothing can be started, everything must be explained."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORCH_STATE_DIR", str(tmp_path / "state"))

    @corpus(240)
    @given(LINES)
    def check(line: list[str]) -> None:
        try:
            code = main(line)
        except SystemExit as leave:
            code = int(leave.code or 0)
        said = capfd.readouterr()
        assert code in (0, 2, 3), f"{code}: {said.err[-1500:]}"
        assert code == 0 or said.err.strip(), f"it ends with {code} and says nothing"
        assert "Traceback" not in said.err
        assert "\x1b" not in said.err

    check()
    assert not (tmp_path / "runs").exists(), "nothing was begun"


def survey(
    count: int, right: Any, write: Callable[[bytes], object], read: Callable[[], object], kind: type[Exception]
) -> float:
    """The part of the damaged that is refused; any other exception fails."""
    outcomes = []

    @corpus(count)
    @given(damaged(right))
    def check(content: bytes) -> None:
        write(content)
        try:
            read()
        except kind as error:
            outcomes.append(True)
            assert getattr(error, "why", "")
            assert getattr(error, "hint", "")
        else:
            outcomes.append(False)

    check()
    return outcomes.count(True) / len(outcomes)


def test_state_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_STATE_DIR", str(tmp_path))
    paths = EnvironmentPaths.of("shop")
    paths.make()
    right = to_json(a_state(tmp_path))
    assert survey(160, right, paths.state.write_bytes, lambda: read_state(paths.state), HostError) > 1 / 3


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
    assert survey(120, right, (tmp_path / MANIFEST).write_bytes, lambda: read_manifest(tmp_path), SnapshotError) > 1 / 4
