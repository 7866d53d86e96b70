"""Packages of npm for a guest, as a package-lock.json pins them: downloaded once, checked, unpacked, never run."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from orchestrator.errors import ImageError, RecipeError

PUBLIC_REGISTRY: Final = "https://registry.npmjs.org/"
MODULES: Final = "node_modules/"
DOWNLOAD_LIMIT: Final = 120.0  # seconds without a byte
PROCESSORS: Final = {"amd64": "x64", "arm64": "arm64"}


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """A package of the lock.

    Attributes:
        path: below the target, such as ``node_modules/a``.
        integrity: as npm writes it; SHA-512 only.
        only: the files and folders that are wanted; empty for all.
        programs: name in ``node_modules/.bin`` → file of the package.
    """

    path: str
    version: str
    url: str
    integrity: str
    only: tuple[str, ...] = ()
    programs: Mapping[str, str] | None = None

    @property
    def folder_name(self) -> str:
        """A name for the unpacked package that changes with its content."""
        plain = re.sub(r"[^A-Za-z0-9.]+", "-", f"{self.path.rpartition(MODULES)[2]}-{self.version}").strip("-")
        content = " ".join((self.integrity, *self.only))
        return f"{plain}-{hashlib.sha256(content.encode()).hexdigest()[:12]}"

    def wants(self, member: str) -> bool:
        """Whether a member of the archive (``package/bin/node``) is part of the image."""
        inner = PurePosixPath(*PurePosixPath(member).parts[1:])
        return not self.only or any(inner.is_relative_to(one) for one in self.only)


def read_lock(path: Path, *, only: Mapping[str, tuple[str, ...]], architecture: str) -> list[NpmPackage]:
    """The packages of a package-lock.json that a Linux guest needs.

    Args:
        only: package → the parts of it that are wanted.
        architecture: of the guest, as Debian names it.

    Raises:
        RecipeError: it is no such file, a package has no SHA-512, or ``only`` names none of them; all at once.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
        entries = data["packages"]
        version = int(data["lockfileVersion"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecipeError(
            f"{path} is no package-lock.json", why=str(error), hint="npm 7 and newer write one"
        ) from error
    problems = [] if version in (2, 3) else [f"lockfileVersion {version}: 2 and 3 are known; `npm install` writes 3"]
    packages = []
    for place, entry in entries.items():
        if not place.startswith(MODULES) or entry.get("link") or not _fits(entry, architecture):
            continue  # "" is the project itself, a link one of its folders
        package = _package(place, entry, only)
        if not package.url or not package.integrity.startswith("sha512-"):
            problems.append(f"{place}: needs resolved and a sha512 integrity")
        packages.append(package)
    known = {one.path.rpartition(MODULES)[2] for one in packages}
    problems += [f"only: there is no package {name}" for name in only if name not in known]
    if problems:
        raise RecipeError(f"{path} cannot be used", evidence=problems, where=[str(path)])
    return packages


def _package(place: str, entry: Mapping[str, object], only: Mapping[str, tuple[str, ...]]) -> NpmPackage:
    programs = entry.get("bin")
    return NpmPackage(
        path=place,
        version=str(entry.get("version", "")),
        url=str(entry.get("resolved", "")),
        integrity=str(entry.get("integrity", "")),
        only=only.get(place.rpartition(MODULES)[2], ()),
        programs={str(name): str(file) for name, file in programs.items()} if isinstance(programs, dict) else None,
    )


def _fits(entry: Mapping[str, object], architecture: str) -> bool:
    """Whether a package is for the guest; npm leaves out optional ones that are not."""
    for key, mine in (("os", "linux"), ("cpu", PROCESSORS[architecture]), ("libc", "glibc")):
        wanted = entry.get(key)
        names = [str(one) for one in wanted] if isinstance(wanted, list) else []
        if f"!{mine}" in names or (any(not one.startswith("!") for one in names) and mine not in names):
            return False
    return True


def program_links(packages: list[NpmPackage]) -> Iterator[tuple[str, str]]:
    """The links in ``node_modules/.bin``: path below the target, and where it points."""
    for package in packages:
        if package.path.count(MODULES) == 1 and not package.only:
            for name, file in (package.programs or {}).items():
                inside = PurePosixPath(package.path.removeprefix(MODULES), file)
                yield f"{MODULES}.bin/{name}", f"../{inside}"


def registry(environment: Mapping[str, str], npmrc: str) -> str:
    """The registry npm would use: NPM_CONFIG_REGISTRY, else ``registry=`` of ~/.npmrc, else the public one."""
    chosen = environment.get("NPM_CONFIG_REGISTRY") or environment.get("npm_config_registry")
    if not chosen:
        found = re.findall(r"^\s*registry\s*=\s*(\S+)\s*$", npmrc, re.MULTILINE)
        chosen = found[-1] if found else PUBLIC_REGISTRY
    return chosen.rstrip("/") + "/"


def own_registry() -> str:
    """The registry of this user."""
    npmrc = Path.home() / ".npmrc"
    return registry(os.environ, npmrc.read_text() if npmrc.is_file() else "")


def unpacked(package: NpmPackage, downloads: Path, base: str) -> Path:
    """The folder with the package's content, downloaded and checked if it is not there yet.

    Args:
        downloads: where it is kept.
        base: the registry's address.

    Raises:
        ImageError: it cannot be downloaded, or is not what the lock file says.
    """
    target = downloads / package.folder_name
    if target.is_dir():
        return target
    downloads.mkdir(parents=True, exist_ok=True)
    data = _download(package.url.replace(PUBLIC_REGISTRY, base, 1))
    digest = "sha512-" + base64.b64encode(hashlib.sha512(data).digest()).decode()
    if digest != package.integrity:
        raise ImageError(f"{package.url} is not what the lock says", why=f"expected {package.integrity}, got {digest}")
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
            raise ImageError(f"{package.url} is refused", why=f"{member.name} is no plain file below its folder")
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
        raise ImageError(f"{url} cannot be downloaded", why=str(error)) from error
    return answer.content
