"""OCI layouts made for tests: layers of a few files, as a folder or an archive."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def file(name: str, content: str = "x", mode: int = 0o644) -> tuple[tarfile.TarInfo, bytes]:
    data = content.encode()
    made = tarfile.TarInfo(name)
    made.size, made.mode = len(data), mode
    return made, data


def folder(name: str) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.type, made.mode = tarfile.DIRTYPE, 0o755
    return made, b""


def link(name: str, target: str, *, hard: bool = False) -> tuple[tarfile.TarInfo, bytes]:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = (tarfile.LNKTYPE if hard else tarfile.SYMTYPE), target
    return made, b""


def layer(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    """A layer, packed by gzip."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


class LayoutWriter:
    """Writes a layout into a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        (path / "blobs/sha256").mkdir(parents=True)
        (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    def blob(self, data: bytes, kind: str, **more: object) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (self.path / "blobs/sha256" / digest).write_bytes(data)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data), **more}

    def document(self, data: object, kind: str, **more: object) -> dict[str, Any]:
        return self.blob(json.dumps(data).encode(), kind, **more)

    def image(self, layers: Iterable[bytes], *, architecture: str = "amd64", kind: str = LAYER) -> dict[str, Any]:
        config = self.document(
            {"architecture": architecture, "os": "linux"}, "application/vnd.oci.image.config.v1+json"
        )
        found = [self.blob(data, kind) for data in layers]
        return self.document({"schemaVersion": 2, "config": config, "layers": found}, MANIFEST)

    def index(self, manifests: Sequence[dict[str, Any]]) -> None:
        (self.path / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))


def layout(path: Path, *layers: bytes) -> Path:
    """A layout with one image of these layers."""
    writer = LayoutWriter(path)
    writer.index([writer.image(layers)])
    return path


def archived(path: Path) -> Path:
    """The same as an archive, next to it."""
    target = path.with_suffix(".tar")
    with tarfile.open(target, "w") as archive:
        archive.add(path, ".")
    return target
