"""The rendered nginx.conf in a real nginx, before a small backend: headers, routes, limits."""

from __future__ import annotations

import http.client
import http.server
import shutil
import socket
import subprocess
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.images.recipe_templates import render

ROOT = Path(__file__).parents[2]

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/sbin")
STACK = tomllib.loads((ROOT / "stack/stack.toml").read_text())
SECURITY = {
    "x-frame-options": "SAMEORIGIN",
    "x-content-type-options": "nosniff",
    "x-xss-protection": "1; mode=block",
}

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")


class Backend(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked, and with headers of its own that must not come through twice."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        hosts = self.headers.get_all("Host") or []
        body = f"{self.path} hosts={hosts} upgrade={self.headers.get('Upgrade')}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("X-Frame-Options", "DENY")
        self.send_header("Cache-Control", "private")
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, http.server.ThreadingHTTPServer]]:
    folder = tmp_path_factory.mktemp("nginx")
    site = folder / "app/share/alicia/frontend"
    (site / "assets").mkdir(parents=True)
    (site / "index.html").write_text('<div id="root">')
    for name in (
        "assets/a-1.js",
        "assets/a-1.css",
        "assets/a-1.wasm",
        "assets/a-1.js.map",
        "vite.svg",
        "data.json",
    ):
        (site / name).write_text("{}")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Backend)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = free_port()
    stack = {**STACK, "nginx": {**STACK["nginx"], "listen": [f"127.0.0.1:{port} default_server"]}}
    variables = {"stack": stack, "variant": "mock", "app": str(folder / "app")}
    text = render(ROOT / "debian-images/templates/nginx.conf.j2", variables).replace("user www-data;", "user root;")
    for mocked in ("127.0.0.1:8888", "127.0.0.1:7880"):
        text = text.replace(mocked, f"127.0.0.1:{server.server_port}")
    text = text.replace("user root;\n", "daemon off;\n")
    text = text.replace("/run/nginx.pid", f"{folder}/pid").replace("/var/log/nginx", str(folder))
    (folder / "nginx.conf").write_text(text)
    assert NGINX is not None
    # Workers of a root master run as another user, and may not read pytest's folders.
    command = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", "master_process off;"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        for _ in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.05)
        yield port, server
    finally:
        process.terminate()
        process.wait(10)
        server.shutdown()


Web = tuple[int, http.server.ThreadingHTTPServer]


def get(
    web: Web, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, list[tuple[str, str]], str]:
    connection = http.client.HTTPConnection("127.0.0.1", web[0], timeout=10)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    pairs = [(name.lower(), value) for name, value in answer.getheaders()]
    text = answer.read().decode()
    connection.close()
    return answer.status, pairs, text


IMMUTABLE = "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("path", "status", "cache", "body"),
    [
        ("/", 200, "no-cache", 'id="root"'),
        ("/index.html", 200, "no-cache", 'id="root"'),
        ("/chat/17", 200, "no-cache", 'id="root"'),
        ("/assets", 200, "no-cache", 'id="root"'),
        ("/assets/a-1.js", 200, IMMUTABLE, "{}"),
        ("/assets/a-1.wasm", 200, IMMUTABLE, "{}"),
        ("/assets/a-1.js.map", 200, IMMUTABLE, "{}"),
        ("/assets/gone.js", 404, "no-store", "404"),
        ("/assets/", 404, "no-store", "404"),
        ("/vite.svg", 200, "no-cache", "{}"),
        ("/gone.png", 404, "no-cache", "404"),
        ("/data.json", 200, "no-cache", "{}"),
        ("/config.json", 200, "no-store", '{"livekitUrl": "ws://server"}'),
        ("/config.jsonX", 200, "no-cache", 'id="root"'),
        ("/health", 200, "no-store", "/health hosts"),
        ("/health/detailed", 200, "no-store", "/health/detailed hosts"),
        ("/healthcheck", 200, "no-cache", 'id="root"'),
        ("/api", 301, "no-store", "301"),
        ("/api/v1/x?y=1", 200, "no-store", "/api/v1/x?y=1 hosts"),
        ("/api/v1/x.json", 200, "no-store", "/api/v1/x.json hosts"),
        ("/ws", 200, "no-store", "/ws hosts"),
        ("/wsx", 200, "no-cache", 'id="root"'),
        ("/rtc?access_token=t", 200, "no-store", "/rtc?access_token=t hosts"),
        ("/rtc/validate", 200, "no-store", "/rtc/validate hosts"),
        ("/rtcX", 200, "no-cache", 'id="root"'),
    ],
)
def test_routes_and_headers(web: Web, path: str, status: int, cache: str, body: str) -> None:
    found, headers, text = get(web, path)
    assert found == status
    assert body in text
    assert [value for name, value in headers if name == "cache-control"] == [cache]
    for name, value in SECURITY.items():
        assert [one for key, one in headers if key == name] == [value]


@pytest.mark.parametrize("path", ["/assets/a-1.js", "/vite.svg", "/index.html"])
@pytest.mark.parametrize(
    ("condition", "status"),
    [
        ({"Range": "bytes=900-"}, 200),  # nginx's own 416 would carry each header twice, with `immutable`
        ({"Range": "bytes=0-1"}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-None-Match": "*"}, 304),
    ],
)
def test_headers_stand_once_whatever_the_request_demands(
    web: Web, path: str, condition: dict[str, str], status: int
) -> None:
    found, headers, text = get(web, path, **condition)
    assert found == status
    names = [name for name, _ in headers]
    for name in ("cache-control", *SECURITY):
        assert names.count(name) == 1, headers
    if status == 200:
        assert text == get(web, path)[2]
    elif status == 412:
        assert "immutable" not in dict(headers)["cache-control"]


def test_content_types(web: Web) -> None:
    def kind(path: str) -> str:
        return dict(get(web, path)[1])["content-type"].split(";")[0]

    assert kind("/config.json") == "application/json"
    assert kind("/assets/a-1.wasm") == "application/wasm"
    assert kind("/assets/a-1.js.map") == "application/json"


def test_the_backend_sees_one_host_header_and_upgrades_only_when_asked(web: Web) -> None:
    assert "hosts=['server'] upgrade=None" in get(web, "/api/x", Host="server")[2]
    upgraded = get(web, "/ws", Host="server", Upgrade="websocket", Connection="upgrade")[2]
    assert "hosts=['server'] upgrade=websocket" in upgraded


def test_redirects_name_no_host_or_port(web: Web) -> None:
    assert dict(get(web, "/api")[1])["location"] == "/api/"


def test_uploads_up_to_ten_megabytes(web: Web) -> None:
    assert get(web, "/api/x", "POST", b"x" * (10 << 20))[0] == 200
    connection = http.client.HTTPConnection("127.0.0.1", web[0], timeout=10)
    connection.putrequest("POST", "/api/x")  # the announced length alone is refused, before any body
    connection.putheader("Content-Length", str((10 << 20) + 1))
    connection.endheaders()
    answer = connection.getresponse()
    assert answer.status == 413
    assert answer.getheader("X-Frame-Options") == "SAMEORIGIN"
    connection.close()


def test_a_dead_backend_is_a_502_with_all_headers(web: Web) -> None:
    """Last in this file: it takes the backend away."""
    web[1].shutdown()
    web[1].server_close()
    status, headers, _ = get(web, "/api/v1/x")
    assert status == 502
    assert [value for name, value in headers if name == "cache-control"] == ["no-store"]
    for name, value in SECURITY.items():
        assert [one for key, one in headers if key == name] == [value]
    assert get(web, "/")[0] == 200
