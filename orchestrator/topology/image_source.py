"""What an image is made of, for each provider that can make it: the keys of ``[images.NAME]``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from orchestrator.plugins import Registry
from orchestrator.topology.document import Node
from orchestrator.topology.keys import NOTHING, Key
from orchestrator.topology.kinds import Kind, all_keys, known_kinds

IMAGES_TABLE = "images.NAME"


class ImageSource(Kind):
    """A source that a provider can make an image of; ``kind`` is the provider.

    An image has the source if it has one of its keys. What a provider does is in `orchestrator.images.provider_kind`.
    """

    __slots__ = ()
    table: ClassVar[str] = IMAGES_TABLE

    @classmethod
    def required_cell(cls, name: str) -> str:
        del name
        return NOTHING  # an image need not have this source

    @classmethod
    def of_kind_named(cls, name: str) -> type[ImageSource] | None:
        return IMAGE_SOURCES.find(name)

    @classmethod
    def unreadable(cls, data: Mapping[str, object]) -> ImageSource:
        return UnknownSource(str(data.get("of_kind") or data.get("kind")))


@dataclass(frozen=True, slots=True)
class UnknownSource(ImageSource):
    """A source of an environment that another version started, or that is of a package which is not installed."""

    kind: ClassVar[str] = ""
    of_kind: str


IMAGE_SOURCES: Registry[ImageSource] = Registry("orchestrator.images", "orchestrator.images.providers", ImageSource)


def image_keys(node: Node) -> Mapping[str, Key]:
    """The keys that the table of an image may have."""
    return all_keys(IMAGES_TABLE, known_kinds(IMAGES_TABLE, IMAGE_SOURCES, node))


def image_kinds(node: Node) -> Mapping[str, type[ImageSource]]:
    """The sources that the table of an image may have, by provider."""
    return known_kinds(IMAGES_TABLE, IMAGE_SOURCES, node)
