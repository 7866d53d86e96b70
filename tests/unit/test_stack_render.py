"""What render.py makes of stack.toml: the files of the server, for each variant."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "debian-images"))

import render_client  # noqa: E402
import render_text  # noqa: E402
from render_server import server_items  # noqa: E402
from render_text import Item  # noqa: E402

STACK: dict[str, Any] = tomllib.loads((ROOT / "stack/stack.toml").read_text())
VARIANTS = ["mock", "minimal", "full"]


def files(variant: str) -> dict[str, Item]:
    items = server_items(STACK, variant)
    assert len({item.target for item in items}) == len(items)
    return {item.target: item for item in items}


def content(variant: str, target: str) -> str:
    text = files(variant)[target].content
    assert text is not None
    return text


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_text_of_every_file_is_as_recorded(variant: str) -> None:
    found = "".join(
        f"=== {item.target} {item.kind} {item.mode} {item.owner}:{item.group} {item.to}\n{item.content or ''}"
        for item in files(variant).values()
    )
    assert found == (ROOT / f"tests/golden/stack-server-{variant}.txt").read_text()


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_secret_stands_where_everybody_can_read_it(variant: str) -> None:
    secrets = [STACK["database"]["password"], *STACK["secrets"]["mock"].values()]
    for item in files(variant).values():
        if any(secret in (item.content or "") for secret in secrets):
            assert item.mode == "0640", item.target
            assert item.group != "root"


def test_the_full_variant_brings_no_keys_of_its_own() -> None:
    env = content("full", "/etc/alicia/env")
    assert "KEY" not in env
    assert "EnvironmentFile=-/run/alicia-secrets/alicia.env" in content("full", "/etc/systemd/system/alicia.service")
    assert "ALICIA_LIVEKIT_API_KEY" in content("mock", "/etc/alicia/env")
    assert "POSTGRES" not in content("mock", "/etc/alicia/mocks.env")


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_unit_starts_by_the_boot_or_drags_another_along(variant: str) -> None:
    for item in files(variant).values():
        text = item.content or ""
        if item.target.endswith(".target"):
            continue
        if "[Unit]" in text:
            assert "[Install]" not in text, item.target
            assert not any(line.startswith(("Requires=", "BindsTo=", "Wants=")) for line in text.splitlines())
            assert "Restart=on-failure" not in text
            assert "ExecStartPost" not in text


def test_variants_leave_out_their_mocks_and_reach_nobody_in_their_place() -> None:
    units = "/etc/systemd/system/"
    assert f"{units}mock-livekit.service" in files("mock")
    assert f"{units}mock-livekit.service" not in files("minimal")
    assert f"{units}mock-llm.service" in files("minimal")
    assert f"{units}mock-llm.service" not in files("full")
    assert "mock-" not in content("full", f"{units}alicia-stack.target")
    minimal = content("minimal", f"{units}alicia.service")
    for name, scheme in (("ASR", "http"), ("TTS", "http"), ("LIVEKIT", "ws")):
        assert f'"ALICIA_{name}_URL={scheme}://127.0.0.1:9"' in minimal
    assert '"ALICIA_ASR_URL=http://127.0.0.1:8000"' in content("mock", f"{units}alicia.service")


def test_the_firewall_lets_in_what_the_specification_names() -> None:
    rules = content("mock", "/etc/nftables.conf")
    assert "tcp dport { 80, 8888 } accept" in rules
    assert "ip saddr 10.0.2.2 tcp dport 22 accept" in rules
    assert "policy drop" in rules


def test_directives_that_nginx_would_refuse_are_refused_here() -> None:
    nginx = json.loads(json.dumps(STACK["nginx"]))
    nginx["server"].append("proxy_http_version 1.1")
    with pytest.raises(ValueError, match="proxy_http_version"):
        render_text.nginx_conf(nginx, variant="mock", user="u", names={"app": "/a", "config.json": "{}"})
    nginx = json.loads(json.dumps(STACK["nginx"]))
    nginx["server"].append("proxy_set_header Host other")
    with pytest.raises(ValueError, match="proxy_set_header Host"):
        render_text.nginx_conf(nginx, variant="mock", user="u", names={"app": "/a", "config.json": "{}"})


def test_text_helpers() -> None:
    with pytest.raises(KeyError):
        render_text.substitute("@nobody@", {})
    assert render_text.environment_file({"A": 'x"$y\\'}) == 'A="x\\"\\$y\\\\"\n'
    assert render_text.quoted("A=50%", {}) == '"A=50%%"'
    with pytest.raises(ValueError, match="quoted"):
        render_text.config_json({"a": "it's"})
    assert render_text.postgresql_conf({"a": True, "b": 1, "c": "x'y"}, {}) == "a = on\nb = 1\nc = 'x''y'\n"


def test_render_is_a_plain_program(tmp_path: Path) -> None:
    argv = [
        sys.executable,
        str(ROOT / "debian-images/render.py"),
        "--machine",
        "server",
        "--out",
        str(tmp_path / "out"),
    ]

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([*argv, *more], capture_output=True, text=True, check=False)

    assert run("--variant", "mock").returncode == 0
    entries = {one["target"]: one for one in json.loads((tmp_path / "out/manifest.json").read_text())["entries"]}
    assert entries["/usr/local/lib/alicia-stack/alicia-migrate.sh"]["mode"] == "0755"
    assert not [target for target in entries if "pyc" in target or target.startswith("/opt/alicia")]
    wrong = run("--variant", "nonsense")
    assert wrong.returncode == 2
    assert "mock, minimal, full" in wrong.stderr


def test_npm_packages_are_pinned_and_the_registry_is_npms() -> None:
    lock = (ROOT / "debian-images/client-tools/npm.lock.toml").read_text()
    packages = render_client.read_lock(lock)
    assert "@playwright/test" in {package.name for package in packages}
    with pytest.raises(ValueError, match="sha512"):
        render_client.read_lock(lock.replace("sha512-", "md5-"))
    assert render_client.registry({}, "") == "https://registry.npmjs.org/"
    assert render_client.registry({}, "a=1\nregistry = http://mirror/npm\n") == "http://mirror/npm/"
    assert render_client.registry({"NPM_CONFIG_REGISTRY": "http://e"}, "registry=http://m") == "http://e/"


def test_of_node_only_the_program_is_taken() -> None:
    lock = (ROOT / "debian-images/client-tools/npm.lock.toml").read_text()
    (node,) = (package for package in render_client.read_lock(lock) if package.name.startswith("node-"))
    offered = ("bin/node", "LICENSE", "include/node/v8.h", "share/man")
    assert [name for name in offered if node.wants(f"package/{name}")] == ["bin/node", "LICENSE"]
    assert f"/opt/e2e/node_modules/{node.name}/bin/node" == render_client.NODE
    assert node.folder_name != replace(node, only=()).folder_name, "what was unpacked whole is not taken for it"


def test_a_package_that_is_not_what_the_lock_says_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render_client, "_download", lambda url: b"something else")
    package = render_client.NpmPackage("a", "1", "https://registry.npmjs.org/a.tgz", "sha512-AAAA")
    with pytest.raises(ValueError, match="expected sha512-AAAA"):
        render_client.unpacked(package, tmp_path, "https://registry.npmjs.org/")
    assert not (tmp_path / package.folder_name).exists()


def test_downloads_have_an_absolute_path_whatever_the_variable_says() -> None:
    """The manifest names files below it, and relative ones are looked for beside the manifest."""
    here = Path.cwd()
    assert render_client.downloads_folder({"ORCH_CACHE_DIR": "cache"}) == here / "cache/downloads"
    assert render_client.downloads_folder({"XDG_CACHE_HOME": "xdg"}) == here / "xdg/orchestrator/downloads"


def test_a_node_that_never_ends_is_an_explained_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / Path(render_client.NODE).parent.parent.name
    node = package / "bin/node"
    node.parent.mkdir(parents=True)
    node.write_text("#!/bin/sh\nexec sleep 60\n")
    node.chmod(0o755)
    monkeypatch.setattr(render_client, "ASK_LIMIT", 0.2)
    packages = {str(Path(render_client.NODE).parent.parent): package, render_client.CORE: tmp_path}
    with pytest.raises(ValueError, match=r"did not end within 0\.2 s"):
        render_client.browser_items(tmp_path, packages)


CORES = {
    "1.44.1": "sha512-wh0JWtYTrhv1+OSsLPgFzGzt67Y7BE/ZS3jEqgGBlp2ppp1ZDj8c+9IARNW4dwf1poq5MgHreEM2KV/GuR4cFA==",
    "1.57.0": "sha512-agTcKlMw/mjBWOnD6kFZttAAGHgi/Nw0CZ2o6JqWSbMlI219lAFLZZCyqByTsvVAJq5XA5H8cA6PrvBRpBWEuQ==",
}


@pytest.mark.parametrize("version", CORES)
def test_chromium_and_ffmpeg_lie_where_every_playwright_looks_for_them(version: str) -> None:
    """Against real releases of playwright-core, kept beside the image's own; the headless shell is apart since 1.49."""
    url = f"https://registry.npmjs.org/playwright-core/-/playwright-core-{version}.tgz"
    package = render_client.NpmPackage("playwright-core", version, url, CORES[version])
    npmrc = Path.home() / ".npmrc"
    base = render_client.registry(os.environ, npmrc.read_text() if npmrc.is_file() else "")
    core = render_client.unpacked(package, render_client.downloads_folder(os.environ), base)
    tool = ROOT / "debian-images/client-tools/browsers.cjs"
    done = subprocess.run(["node", tool, "list", core], capture_output=True, text=True, check=True)
    paths = [line.split("\t") for line in done.stdout.splitlines()]
    assert {program for program, _ in paths} == {"chromium", "ffmpeg"}
    shells = [place for _, place in paths if place.startswith("chromium_headless_shell-")]
    assert len(shells) == (1 if version > "1.49" else 0)
