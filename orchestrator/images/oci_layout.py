"""Reading an OCI image layout: a folder, or the same as a tar archive. Which image is in it, and its layers.

Digests are verified: what is read is what the index names. Nothing of an archive is unpacked by the names in it; its
blobs are found by their digests.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

from orchestrator.errors import ImageError

DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}\Z")
JSON_LIMIT: Final = 4 << 20  # bytes of an index, manifest or configuration
CHUNK: Final = 1 << 20
MANIFEST: Final = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
INDEX: Final = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
COMPRESSIONS: Final = ("", "gzip")  # of a layer's media type, that tarfile reads
COPY: Final = "skopeo copy"


class Layout:
    """An OCI layout that is open for reading."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def text(self, name: str) -> bytes | None:
        """A file of it by name, None where there is none."""
        with self._open(name) as file:
            return None if file is None else file.read(JSON_LIMIT)

    @contextmanager
    def blob(self, digest: str) -> Iterator[IO[bytes]]:
        """A blob, by its digest; not verified.

        Raises:
            ImageError: it is not in the layout.
        """
        if not DIGEST.match(digest):
            raise self._wrong(f"{digest[:80]!r} is no SHA-256 digest")
        with self._open(f"blobs/sha256/{digest[7:]}") as file:
            if file is None:
                raise self._wrong(f"its blob {digest} is missing: the layout is not complete")
            yield file

    def verify(self, digest: str) -> None:
        """Read a blob and compare it with its digest. Raises `ImageError`."""
        found = hashlib.sha256()
        with self.blob(digest) as file:
            while block := file.read(CHUNK):
                found.update(block)
        if found.hexdigest() != digest[7:]:
            raise self._wrong(f"its blob {digest} is damaged: it has another SHA-256")

    def document(self, digest: str) -> Mapping[str, Any]:
        """A blob of JSON, verified. Raises `ImageError`."""
        with self.blob(digest) as file:
            data = file.read(JSON_LIMIT)
        if hashlib.sha256(data).hexdigest() != digest[7:]:
            raise self._wrong(f"its blob {digest} is damaged: it has another SHA-256")
        return self._parsed(data, digest)

    def layers(self, architecture: str) -> tuple[str, ...]:
        """The digests of the layers of its one image for a processor (``amd64``), the lowest first.

        Raises:
            ImageError: it is no layout, it has no such image or several, or a layer that cannot be read.
        """
        index = self._index()
        manifest = self._manifest(index, architecture)
        found: list[str] = []
        for entry in manifest.get("layers", ()):
            kind, digest = str(entry.get("mediaType", "")), str(entry.get("digest", ""))
            compression = kind.rpartition("+")[2] if "+" in kind else ""
            if compression not in COMPRESSIONS:
                raise self._wrong(
                    f"its layers are compressed by {compression}, which is not read here",
                    hint=f"{COPY} --dest-compress-format gzip --dest-force-compress-format "
                    f"oci-archive:{self.path.name} oci-archive:NEW.tar",
                )
            found.append(digest)
        if not found:
            raise self._wrong("its image has no layers")
        return tuple(found)

    def _index(self) -> Mapping[str, Any]:
        text = self.text("index.json")
        if text is None:
            old = self.text("manifest.json") is not None
            raise self._wrong(
                "it is an archive of an old `docker save`" if old else "it has no index.json",
                hint=f"{COPY} docker-archive:{self.path.name} oci-archive:NEW.tar"
                if old
                else f"{COPY} makes one: {COPY} docker-daemon:NAME:TAG oci-archive:NAME.tar",
            )
        return self._parsed(text, "index.json")

    def _manifest(self, index: Mapping[str, Any], architecture: str) -> Mapping[str, Any]:
        images: dict[str, str] = {}
        seen: list[str] = []
        waiting = [*index.get("manifests", ())]
        while waiting:
            entry = waiting.pop(0)
            kind, digest = str(entry.get("mediaType", "")), str(entry.get("digest", ""))
            platform = entry.get("platform") or {}
            if kind in INDEX:
                waiting += [*self.document(digest).get("manifests", ())]
            elif kind in MANIFEST and platform.get("os") != "unknown":  # as an attestation calls itself
                manifest = self.document(digest)
                config = platform or self.document(str((manifest.get("config") or {}).get("digest", "")))
                seen.append(str(config.get("architecture", "unknown")))
                if seen[-1] == architecture:
                    name = (entry.get("annotations") or {}).get("org.opencontainers.image.ref.name", "")
                    images[digest] = str(name) or digest[:19]
        if len(images) == 1:
            return self.document(next(iter(images)))
        if images:
            names = ", ".join(images.values())
            hint = f"{COPY} oci:{self.path.name}:NAME oci-archive:ONE.tar"
            raise self._wrong(f"it has {len(images)} images, and one is expected: {names}", hint=hint)
        raise self._wrong(f"it has no image for {architecture}; it has: {', '.join(seen) or 'none'}")

    @contextmanager
    def _open(self, name: str) -> Iterator[IO[bytes] | None]:
        try:
            if self.path.is_dir():
                file = self.path / name
                if not file.is_file():
                    yield None
                    return
                with file.open("rb") as opened:
                    yield opened
                return
            with tarfile.open(self.path, "r:") as archive:
                member = next((one for one in archive if one.name.removeprefix("./") == name and one.isfile()), None)
                yield None if member is None else archive.extractfile(member)
        except OSError as error:
            raise ImageError(f"the OCI image {self.path} cannot be read", why=error.strerror or str(error)) from error
        except tarfile.ReadError as error:
            raise self._wrong(f"it is neither a folder nor a plain tar archive: {error}") from error

    def _parsed(self, data: bytes, name: str) -> Mapping[str, Any]:
        try:
            found = json.loads(data)
        except ValueError as error:
            raise self._wrong(f"{name} is no JSON: {error}") from error
        if not isinstance(found, dict):
            raise self._wrong(f"{name} is no JSON object")
        return found

    def _wrong(self, why: str, hint: str = "") -> ImageError:
        return ImageError(f"{self.path} is no OCI image that can be used", why=why, hint=hint)
