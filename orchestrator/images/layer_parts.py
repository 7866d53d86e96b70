"""What of a layer changed: its files in three groups, each with a fingerprint."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from functools import partial

import xxhash

from orchestrator.errors import ImageError
from orchestrator.images.folder_disk import content_key, walk
from orchestrator.threads import in_thread
from orchestrator.topology.layer_files import chosen
from orchestrator.topology.model import Layer


@dataclass(frozen=True, slots=True)
class LayerParts:
    """Fingerprints of what is in a layer.

    Attributes:
        static: of files that services read again each time.
        resets: of files whose effect stays in the machines' data.
        rest: of all others.
    """

    static: str
    resets: str
    rest: str


async def parts_of(layer: Layer) -> LayerParts:
    """The fingerprints of a layer's folder as it is now.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return await in_thread(partial(_parts, layer))
    except OSError as error:
        raise ImageError(
            f"layer {layer.name} cannot be read", why=f"{error.filename or layer.source}: {error.strerror or error}"
        ) from error


def _parts(layer: Layer) -> LayerParts:
    static, resets, rest = (xxhash.xxh3_128() for _ in range(3))
    for name, facts, target in walk(layer.source, layer.exclude):
        if facts is None or stat.S_ISDIR(facts.st_mode):
            continue
        digest = resets if chosen(name, layer.resets) else static if chosen(name, layer.static) else rest
        content = content_key(layer.source / name) if stat.S_ISREG(facts.st_mode) else ""
        digest.update(f"{facts.st_mode & stat.S_IXUSR:o} {content} {target}\0{name}\0".encode(errors="surrogateescape"))
    return LayerParts(static.hexdigest(), resets.hexdigest(), rest.hexdigest())
