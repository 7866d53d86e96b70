"""An unexpected error: exit 3, no traceback, and a file that has it, whatever the host is like."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_process import Cli

from orchestrator.cli import crash

# A command that fails as no command may.
PROGRAM = """
import sys
import orchestrator.__main__ as program
from orchestrator import streams
streams.adopt()
import orchestrator.cli.describe as command
from orchestrator.cli import crash
from pathlib import Path

def fail(arguments):
    print("half of it")
    crash.FOLDERS.extend(Path(word) for word in FOLDERS)
    raise ERROR

command.run = fail
sys.argv = ["orchestrator", "graph"]
sys.exit(program.run())
"""


def program(error: str, *folders: Path) -> str:
    return PROGRAM.replace("ERROR", error).replace("FOLDERS)", f"{[str(folder) for folder in folders]!r})")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("KeyError('ports')", "KeyError: 'ports'"),
        ("OSError(5, 'Input/output error')", "OSError: [Errno 5] Input/output error"),
        ("ExceptionGroup('two', [ValueError(1)])", "ExceptionGroup: two (1 sub-exception)"),
        ("RecursionError('so deep')", "RecursionError: so deep"),
        ("UnicodeEncodeError('utf-8', 'caf\\udce9', 3, 4, 'surrogates')", "UnicodeEncodeError"),
    ],
)
def test_the_traceback_lies_in_the_state_folder(cli: Cli, error: str, words: str) -> None:
    done = cli.python("-c", program(error))
    assert (done.returncode, done.stdout) == (3, "half of it\n")
    assert done.stderr.startswith("error: an unexpected error\n")
    assert words in done.stderr
    (path,) = (cli.folder / "state/crashes").iterdir()
    assert str(path) in done.stderr
    text = path.read_text()
    assert "Traceback (most recent call last)" in text
    assert words in text
    assert "'graph'" in text, "the command line"


def test_the_run_folder_is_preferred(cli: Cli) -> None:
    run = cli.folder / "runs" / "one"
    done = cli.python("-c", program("KeyError(1)", run))
    (path,) = run.iterdir()
    assert (done.returncode, str(path) in done.stderr) == (3, True)


def test_where_nothing_can_be_written_the_last_lines_are_shown(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    done = cli.python(
        "-c", program("KeyError('ports')"), ORCH_STATE_DIR=str(tmp_path / "a file"), TMPDIR=str(tmp_path / "a file")
    )
    # Python itself finds another folder for temporary files, if there is one.
    assert done.returncode == 3
    assert "KeyError: 'ports'" in done.stderr
    assert "crash-" in done.stderr or "raise KeyError" in done.stderr


def test_no_folder_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crash, "_folders", lambda: iter([Path("/proc/nowhere"), Path("/dev/null/x")]))
    error = crash.unforeseen(KeyError("ports"))
    assert (error.exit_code, error.why, error.where) == (3, "KeyError: 'ports'", ())
    assert error.evidence[-1] == "KeyError: 'ports'"
