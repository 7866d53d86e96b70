"""Messages, pings and figures: what is sent, when a receiver fails, and that no night fails by it."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from fake_qemu import run_async

from orchestrator.nightly.message import changes, message_of
from orchestrator.nightly.metrics import metrics_text, write_metrics
from orchestrator.nightly.model import CellState, Night, Update
from orchestrator.nightly.telling import ping, send
from orchestrator.topology.nightly import Nightly, Notify, Quarantined


class Receiver:
    """An HTTP server that keeps what it was sent, and answers as it is told."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, bytes]] = []
        self.answers: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                receiver.got.append((self.command, self.path, body))
                self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
                self.end_headers()

            do_GET = do_POST = answer

            def log_message(self, *arguments: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setattr("orchestrator.nightly.telling.BETWEEN", 0.01)
    found = Receiver()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def night(tmp_path: Path) -> Night:
    night = Night("night-1", tmp_path, "shop", "shop", started=1000.0, ended=1060.0, outcome="failed", exit_code=1)
    night.cells = [CellState("mock", outcome="failed", tests=9, failed=["a › b"], flaky=["c"], seconds=50.0)]
    night.reason = "mock: 1 of 9 tests failed, first: a › b: expected 1, found 2"
    return night


def test_a_webhook_gets_the_text_and_the_facts(receiver: Receiver) -> None:
    notify = Notify(webhook=f"{receiver.url}/hook")
    assert run_async(send(notify, "it failed", "it failed\n", {"outcome": "failed"})) == []
    ((method, path, body),) = receiver.got
    assert (method, path, json.loads(body)) == ("POST", "/hook", {"text": "it failed\n", "outcome": "failed"})


def test_a_receiver_that_fails_now_and_then_is_asked_again(receiver: Receiver) -> None:
    receiver.answers = [503, 502, 200]
    assert run_async(send(Notify(webhook=receiver.url), "", "", {})) == []
    assert len(receiver.got) == 3


@pytest.mark.parametrize(("answers", "asked"), [([404], 1), ([500] * 3, 3)])
def test_one_that_refuses_is_told(receiver: Receiver, answers: list[int], asked: int) -> None:
    receiver.answers = list(answers)
    (line,) = run_async(send(Notify(webhook=f"{receiver.url}/secret-word"), "", "", {}))
    assert line.startswith(f"the webhook: it answered {answers[0]}")
    assert "secret-word" not in line, "an address is a secret"
    assert len(receiver.got) == asked


def test_nobody_there_is_told_without_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.nightly.telling.BETWEEN", 0.01)
    (line,) = run_async(send(Notify(webhook="http://127.0.0.1:1/secret-word"), "", "", {}))
    assert line.startswith("the webhook: ConnectError")
    assert "secret-word" not in line
    (line,) = run_async(send(Notify(webhook="file:/no/such/file"), "", "", {}))
    assert "No such file" in line


def test_a_command_gets_the_message_on_stdin(tmp_path: Path) -> None:
    target = tmp_path / "mail"
    assert run_async(send(Notify(command=("tee", str(target))), "", "it failed ✘\n", {})) == []
    assert target.read_text() == "it failed ✘\n"
    (line,) = run_async(send(Notify(command=("sh", "-c", "echo no server >&2; exit 3")), "", "text", {}))
    assert line == "sh: it ended with 3: no server"
    (line,) = run_async(send(Notify(command=("no-such-program",)), "", "text", {}))
    assert "not installed" in line


def test_apprise_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "apprise", None)
    (line,) = run_async(send(Notify(apprise=("mailto://x",)), "", "", {}))
    assert line == "apprise: it is not installed"
    sent = []

    class Apprise:
        def add(self, address: str) -> bool:
            return address.startswith("mailto://")

        async def async_notify(self, title: str, body: str) -> bool:
            sent.append((title, body))
            return True

    monkeypatch.setitem(sys.modules, "apprise", types.SimpleNamespace(Apprise=Apprise))
    assert run_async(send(Notify(apprise=("mailto://x",)), "subject", "text", {})) == []
    assert sent == [("subject", "text")]
    assert len(run_async(send(Notify(apprise=("what",)), "", "", {}))) == 1


def test_a_dead_mans_switch(receiver: Receiver) -> None:
    url = f"{receiver.url}/uuid"
    assert run_async(ping(url, "start")) == []
    assert run_async(ping(url, "end", code=1, outcome="failed", body="x" * 20_000)) == []
    assert [(method, path, len(body)) for method, path, body in receiver.got] == [
        ("GET", "/uuid/start", 0),
        ("POST", "/uuid/1", 10_000),
    ]
    receiver.got.clear()
    template = f"{receiver.url}/push?status={{state}}"
    for state, outcome in (("start", ""), ("end", "passed"), ("end", "failed")):
        assert run_async(ping(template, state, outcome=outcome)) == []
    assert [path for _, path, _ in receiver.got] == ["/push?status=up", "/push?status=down"]


def test_the_first_cause_is_the_first_thing_it_says(night: Night) -> None:
    text = message_of(night, ["broken now: a › b"], "https://nights/night-1")
    lines = text.splitlines()
    assert lines[:2] == ["shop: the night failed", night.reason]
    assert "- broken now: a › b" in lines
    assert "mock: failed, 9 tests, 1 failed, 1 flaky" in lines
    assert lines[-1] == "https://nights/night-1"


def test_what_is_worth_a_message(night: Night, tmp_path: Path) -> None:
    nightly = Nightly(tmp_path / "orchestrator.toml", "shop")
    today = date(2026, 11, 28)
    assert changes(night, "failed", nightly, today) == []
    assert changes(night, "passed", nightly, today) == ["was: passed; is: failed"]
    assert changes(night, None, nightly, today) == ["the first night failed"]
    night.updates = [Update("pull /app", ok=False, message="no route")]
    assert changes(night, "error", nightly, today) == ["update failed: pull /app: no route"]
    assert changes(night, "error", nightly, today, ["pull /app"]) == [], "as the night before"
    night.updates, night.broken = [], [f"test {number}" for number in range(12)]
    assert changes(night, "failed", nightly, today)[-1] == "… and 2 more broken now"
    night.broken = []
    held = Nightly(tmp_path, "shop", quarantine=(Quarantined("a page", "issue 7", date(2026, 11, 27)),))
    assert changes(night, "failed", held, today) == ["the quarantine of a page has ended (issue 7): it counts again"]


def test_figures_as_node_exporter_reads_them(night: Night, tmp_path: Path) -> None:
    night.name = 'a "quoted" name'
    text = metrics_text(night, last_success=500.0)
    label = 'name="a \\"quoted\\" name"'
    assert f"orchestrator_night_success{{{label}}} 0\n" in text
    assert f"orchestrator_night_last_success_timestamp_seconds{{{label}}} 500\n" in text
    assert f'orchestrator_night_tests{{{label},cell="mock",status="flaky"}} 1\n' in text
    names = [line.split("{")[0] for line in text.splitlines() if not line.startswith("#")]
    assert text.endswith("\n")
    assert sum(line.startswith("# TYPE ") for line in text.splitlines()) == len(dict.fromkeys(names))
    target = tmp_path / "textfiles/night.prom"
    write_metrics(target, text)
    assert (target.read_text(), target.stat().st_mode & 0o777) == (text, 0o644)
