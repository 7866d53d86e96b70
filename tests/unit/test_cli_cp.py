"""``orchestrator cp`` as it is typed, on two machines that are sshd on this host."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path

import pytest
from cli_process import Cli
from copy_scene import large_file
from real_sshd import Server, sshd

from orchestrator.cli import cp
from orchestrator.cli.copy_progress import CopyProgress
from orchestrator.cli.main import main
from orchestrator.deadline import Deadline
from orchestrator.guest.ssh import Ssh, connect

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with sshd(tmp_path_factory.mktemp("sshd")) as running:
        yield running


Run = Callable[..., int]


@pytest.fixture
def run(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """`orchestrator cp …` in an empty folder; alpha and beta both answer, and have this host's files."""
    places_of = tmp_path / "environment"
    places_of.mkdir()
    cli = Cli(places_of)
    paths = cli.record(alive=True)
    for name, value in cli.environment.items():
        if name.startswith("ORCH_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr("orchestrator.environment.paths.EnvironmentPaths.of", lambda _: paths)

    @asynccontextmanager
    async def ssh_to(*_: object, limit: float | None = None) -> AsyncIterator[Ssh]:
        ssh = await connect(server.target, Deadline.after(30))
        try:
            yield ssh
        finally:
            await ssh.close()

    monkeypatch.setattr(cp, "ssh_to", ssh_to)
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return lambda *words: main(["-n", "tiny", "cp", *map(str, words)])


def said(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err


@pytest.mark.parametrize("directions", [("", "alpha:"), ("alpha:", ""), ("alpha:", "beta:")])
def test_names_are_settled_the_same_way_everywhere(
    run: Run, tmp_path: Path, directions: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = (f"{side}{tmp_path}" for side in directions)
    here, there = tmp_path / "here", tmp_path / "there"
    (here / "f").write_text("content")
    (here / "d/empty").mkdir(parents=True)
    (here / "link").symlink_to("f")
    (there / "file").write_text("old")
    assert run(f"{source}/here/f", f"{target}/there") == 0
    assert (there / "f").read_text() == "content"
    assert run(f"{source}/here/f", f"{target}/there/newdir/") == 0
    assert (there / "newdir/f").read_text() == "content"
    assert run(f"{source}/here/f", f"{target}/there/some/new/name") == 0
    assert (there / "some/new/name").read_text() == "content"
    assert run(f"{source}/here/d/", f"{target}/there/") == 0
    assert (there / "d/empty").is_dir()
    assert run(f"{source}/here/d", f"{target}/there/e") == 0
    assert (there / "e/empty").is_dir()
    assert run(f"{source}/here/.", f"{target}/there/merged") == 0
    assert sorted(path.name for path in (there / "merged").iterdir()) == ["d", "f", "link"]
    assert (there / "merged/link").is_symlink()
    assert run(f"{source}/here/link", f"{target}/there") == 0
    assert not (there / "link").is_symlink()
    assert (there / "link").read_text() == "content"
    assert run(f"{source}/here/f", f"{source}/here/link", f"{target}/there/both") == 0
    assert sorted(path.name for path in (there / "both").iterdir()) == ["f", "link"]
    said(capsys)
    for words, why in (
        ((f"{source}/here/d", f"{target}/there/file"), "a folder would take its place"),
        ((f"{source}/here/f", f"{target}/there/file/"), "is not a folder"),
        (("alpha:/tmp", f"alpha:{tmp_path}/there/x"), "cannot be copied into itself"),
        ((f"{source}/here/f", f"{source}/here/link", f"{target}/there/file"), "is not a folder"),
    ):
        assert run(*words) == 2
        assert why in said(capsys)
    assert (there / "file").read_text() == "old"
    assert run(f"{source}/here/nothing", f"{target}/there/file") in (2, 3)
    assert "does not exist" in said(capsys)
    assert (there / "file").read_text() == "old"
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".orch-cp-")]


@pytest.mark.parametrize("directions", [("", "alpha:"), ("alpha:", ""), ("alpha:", "beta:")])
def test_what_is_left_out_is_named_counted_and_in_the_exit_code(
    run: Run, tmp_path: Path, directions: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    source, target = (f"{side}{tmp_path}" for side in directions)
    for number in range(105):
        os.mkfifo(tmp_path / f"here/pipe{number:03}")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "here/sock\x1b[2Jet"))
    (tmp_path / "here/away").symlink_to("/etc/passwd")
    assert run(f"{source}/here", f"{target}/there") == 23
    text = said(capsys)
    assert "106 things were left out" in text
    assert "left out: pipe000: a named pipe" in text
    assert "… and 6 more" in text
    assert "\x1b[2J" not in text
    assert "away → /etc/passwd" in text
    assert [path.name for path in (tmp_path / "there/here").iterdir()] == ["away"]


def test_a_device_of_this_host_is_written_to_not_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "there/f").write_text("through a pipe")
    reading, writing = os.pipe()
    assert run(f"alpha:{tmp_path}/there/f", f"/dev/fd/{writing}") == 0
    os.close(writing)
    with os.fdopen(reading) as file:
        assert file.read() == "through a pipe"


def test_what_a_machine_has_as_a_pipe_is_left_alone(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here/f").write_text("x")
    os.mkfifo(tmp_path / "there/pipe")
    assert run("f", f"alpha:{tmp_path}/there/pipe") == 2
    assert "which cp does not write to" in said(capsys)
    assert (tmp_path / "there/pipe").is_fifo()


def test_words_that_mean_nothing(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "here/a:b").write_text("a colon")
    for words, code, why in (
        (("here", "there"), 2, "one side must be in a machine"),
        (("f", "alpha:relative"), 2, "must be absolute"),
        (("gamma:/f", "."), 2, "no machine is named 'gamma'"),
        (("a:b", "alpha:/tmp"), 2, "./a:b means a host file"),
        (("alpha:/etc/hostname", ""), 2, "the target is empty"),
        (("-nothing", "alpha:/tmp/"), 2, ""),
    ):
        try:
            assert run(*words) == code
        except SystemExit as stop:
            assert stop.code == code
        assert why in said(capsys)
    assert run("./a:b", f"alpha:{tmp_path}/there") == 0
    assert (tmp_path / "there/a:b").read_text() == "a colon"


def test_a_file_alone_that_ends_too_early_is_no_copy(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here/log").write_bytes(bytes(40 << 20))
    (tmp_path / "there/log").write_text("what was there")
    real = CopyProgress.add

    def shortening(self: CopyProgress, size: int) -> None:
        real(self, size)
        os.truncate(tmp_path / "here/log", 1 << 20)

    monkeypatch.setattr(CopyProgress, "add", shortening)
    assert run("log", f"alpha:{tmp_path}/there/") == 2
    assert "became shorter while it was read" in said(capsys)
    assert (tmp_path / "there/log").read_text() == "what was there"


def test_a_limit_ends_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "here/f").write_text("a disk that does not answer")
    over = threading.Event()
    monkeypatch.setattr(CopyProgress, "add", lambda *_: over.wait(60))
    assert run("--timeout", "2", "f", f"alpha:{tmp_path}/there/") == 124
    over.set()
    assert "time limit of 2 s" in said(capsys)
    assert list((tmp_path / "there").iterdir()) == []


def test_nothing_is_shown_while_it_is_quick_and_a_bar_when_it_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("orchestrator.cli.copy_progress.monotonic", lambda: now)
    stream = StringIO()
    with CopyProgress(stream, live=True, lines=False) as progress:
        progress.begin("server:/x", 200 << 20)
        progress.add(1 << 20)
        assert stream.getvalue() == ""
        now += 10
        progress.add(99 << 20)
    shown = stream.getvalue()
    assert "server:/x" in shown
    assert "100.0/200.0 MiB" in shown
    assert progress.rate() == "10.0 MiB/s"


def test_on_a_pipe_it_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("orchestrator.cli.copy_progress.monotonic", lambda: now)
    stream = StringIO()
    with CopyProgress(stream, live=False, lines=True) as progress:
        progress.begin("f", 0)
        for _ in range(35):
            now += 1
            progress.add(1 << 20)
    assert stream.getvalue() == "f: 30.0 MiB, 1.0 MiB/s\n"


@pytest.fixture
def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a large file; Ctrl-C comes when a part of it is copied."""
    (tmp_path / "here/d").mkdir()
    real = CopyProgress.add

    def interrupting(self: CopyProgress, size: int) -> None:
        real(self, size)
        if self.bytes - size < 4 << 20 <= self.bytes:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(CopyProgress, "add", interrupting)
    monkeypatch.setattr("orchestrator.cli.signals._received", [])
    with large_file(tmp_path / "here/d/large"):
        yield tmp_path / "here/d"


@pytest.mark.parametrize("directions", [("", "alpha:"), ("alpha:", ""), ("alpha:", "beta:")])
def test_interrupted_it_ends_in_order(run: Run, interrupted: Path, tmp_path: Path, directions: tuple[str, str]) -> None:
    source, target = (f"{side}{path}" for side, path in zip(directions, (interrupted, tmp_path), strict=True))
    assert run(f"{source}/large", f"{target}/there/") == 130
    assert list((tmp_path / "there").iterdir()) == []


def test_a_folder_that_is_cut_short_is_said_to_be(
    run: Run, interrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(f"alpha:{interrupted}", tmp_path / "there") == 130
    assert f"{tmp_path}/there/d is incomplete: about" in said(capsys)
    assert list((tmp_path / "there/d").iterdir()) == [], "the file that was not whole is not there"
