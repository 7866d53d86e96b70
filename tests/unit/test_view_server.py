"""The page over HTTP: only for whoever was told its address, live, and with files that can do nothing to it."""

from __future__ import annotations

import http.client
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from timeline_scene import Scene, broken_database

from orchestrator.errors import HostError, MachineError
from orchestrator.view.content import Content
from orchestrator.view.screens import Screens
from orchestrator.view.server import PageServer

LIMIT = 10.0


@contextmanager
def served(folder: Path, screens: Screens | None = None) -> Iterator[PageServer]:
    with PageServer(folder, folder, screens=screens) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.ending = True
            server.shutdown()
            thread.join()


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return broken_database(tmp_path / "run")


def get(server: PageServer, path: str, host: str = "") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=LIMIT)
    try:
        connection.request("GET", path, headers={"Host": host} if host else {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def test_the_page_and_its_data_are_below_the_token_only(scene: Scene) -> None:
    with served(scene.folder) as server:
        assert server.address.startswith(f"http://127.0.0.1:{server.server_port}/")
        assert len(server.token) >= 32
        status, head, body = get(server, f"/{server.token}/")
        assert status == 200 and b'id="axis-data"' in body and b"data-live" in body
        assert b"connect-src 'self'" in body and b'href="files/playwright/out/a/trace.zip"' in body
        assert head["referrer-policy"] == "no-referrer" and head["cache-control"] == "no-store"
        status, _, body = get(server, f"/{server.token}/data.json")
        assert status == 200 and json.loads(body)["cause"]["t"] == 60_000
        for path in ("/", "/data.json", f"/{server.token[::-1]}/data.json", f"/{server.token}/elsewhere"):
            assert get(server, path)[0] == 404


def test_a_name_of_another_site_that_leads_here_is_refused(scene: Scene) -> None:
    with served(scene.folder) as server:
        path = f"/{server.token}/data.json"
        assert get(server, path, host=f"evil.example:{server.server_port}")[0] == 404
        assert get(server, path, host=f"localhost:{server.server_port}")[0] == 200


def test_files_of_the_run_and_nothing_beside_it(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (scene.folder / "link").symlink_to(tmp_path / "secret")
    (scene.folder / "out").symlink_to(tmp_path)
    (scene.folder / "page.html").write_text("<script>alert(1)</script>")
    with served(scene.folder) as server:
        files = f"/{server.token}/files/"
        status, head, body = get(server, f"{files}page.html")
        assert (status, body) == (200, b"<script>alert(1)</script>")
        assert head["content-security-policy"].startswith("sandbox") and head["x-content-type-options"] == "nosniff"
        assert "allow-same-origin" not in head["content-security-policy"]
        assert get(server, f"{files}playwright/out/a/trace.zip")[1]["content-type"] == "application/zip"
        for name in ("link", "out/secret", "../secret", "%2e%2e/secret", "machines", "nothing", "a%00b", ""):
            assert get(server, files + name)[0] == 404, name


def test_whoever_follows_is_told_of_what_is_written(scene: Scene) -> None:
    with served(scene.folder) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=LIMIT)
        connection.request("GET", f"/{server.token}/changes")
        answer = connection.getresponse()
        assert answer.getheader("Content-Type") == "text/event-stream"
        assert answer.fp.readline().startswith(b"data: "), "how it stands"
        assert answer.fp.readline() == b"\n"
        scene.event(70.0, "note", message="something new", level="warning")
        assert answer.fp.readline().startswith(b"data: ")
        end = time.monotonic() + LIMIT
        while b"something new" not in get(server, f"/{server.token}/data.json")[2]:
            assert time.monotonic() < end
            time.sleep(0.05)
        connection.close()


def test_a_run_on_machines_that_were_up_before_shows_what_they_print_now(tmp_path: Path) -> None:
    """The logs of its time are copied into its folder at its end only."""
    first = broken_database(tmp_path / "first")
    second = Scene(tmp_path / "second")
    second.begin()
    second.clock("server", 1.0)
    data = json.loads(Content(second.folder, first.folder).data())
    assert any("could not connect" in text for text in data["lines"]["x"])


def test_reading_takes_a_part_of_a_processor_only(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("orchestrator.view.content.monotonic", lambda: now[0])
    content = Content(scene.folder, scene.folder)
    read = []

    def slow() -> str:
        read.append(now[0])
        now[0] += 2.0
        return f"{len(read)}"

    monkeypatch.setattr(content, "_read", slow)
    assert content.data() == "1"
    scene.event(70.0, "note", message="new")
    assert content.data() == "1" and content.is_waiting(), "it took 2 s; the next 6 s are for others"
    now[0] += 6.0
    assert content.data() == "2"
    now[0] += 60.0
    assert content.data() == "2" and read == [100.0, 108.0], "nothing was written"


def test_a_port_that_is_in_use(scene: Scene) -> None:
    with (
        PageServer(scene.folder, scene.folder) as server,
        pytest.raises(HostError, match=f"port {server.server_port} of this host is in use"),
    ):
        PageServer(scene.folder, scene.folder, server.server_port)


def test_the_page_follows_a_run_in_a_browser(tmp_path: Path, playwright_home: Path) -> None:
    scene = Scene(tmp_path / "run")
    scene.begin()
    scene.event(1.0, "machine.state", "server", state="booting")
    with served(scene.folder) as server:
        script = Path(__file__).with_name("live_page.cjs")
        core = playwright_home / "node_modules" / "playwright-core"
        argv = ["node", str(script), str(core), server.address]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as browser:
            assert browser.stdout is not None

            def told(word: str) -> str:
                line = browser.stdout.readline() if browser.stdout is not None else ""
                assert line.startswith(f"{word} "), line
                return line.removeprefix(f"{word} ").strip()

            assert told("title") == "running: shop r"
            assert told("lanes").split()[-3:] == ["postgresql", "backend", "nginx"], "what is still to come is shown"
            written = time.time()
            scene.event(2.0, "note", message="the first news", level="warning")
            delay = int(told("seen")) / 1000 - written
            assert delay < LIMIT
            scene.event(3.0, "run.finished", "shop", outcome="passed", exit_code=0)
            assert told("heading") == "Passed"
            assert browser.stdout.read() == ""


def test_the_displays_of_machines_that_run(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    async def take(machine: str, socket: Path) -> bytes:
        taken.append(f"{machine} {socket.name}")
        if machine == "client":
            raise MachineError("QEMU does not answer")
        return b"picture"

    monkeypatch.setattr("orchestrator.view.screens._take", take)
    screens = Screens({"server": tmp_path / "qmp-side", "client": tmp_path / "other"})
    with served(scene.folder, screens=screens) as server:
        status, head, body = get(server, f"/{server.token}/screens/server?1")
        assert (status, head["content-type"], body) == (200, "image/png", b"picture")
        assert get(server, f"/{server.token}/screens/server?2")[2] == b"picture"
        assert get(server, f"/{server.token}/screens/client")[0] == 404
        assert get(server, f"/{server.token}/screens/nobody")[0] == 404
        assert taken == ["server qmp-side", "client other"], "two looks in a second are one picture"
        assert json.loads(get(server, f"/{server.token}/data.json")[2])["screens"] == ["server", "client"]
