"""What a provider of images is: the keys of its source, and how an image is made of them.

Whoever reads a topology imports the providers; what only a build needs is imported where something is built.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from orchestrator.topology.image_source import ImageSource
from orchestrator.topology.model import Layer

if TYPE_CHECKING:
    import asyncio

    from orchestrator.deadline import Deadline
    from orchestrator.events import EventBus
    from orchestrator.images.cache import ImageCache
    from orchestrator.images.contract import BuiltImage


@dataclass(frozen=True, slots=True)
class Build:
    """An image that is wanted, and what a provider makes it with.

    Attributes:
        name: of the image in the topology.
        root: the folder of the topology.
        variant: of the topology.
        layers: those that machines of the image use.
        units: of the services that the topology has on machines of this image; the boot must not start them.
        turn: held while something is really built; two builds at once are slower than one after the other.
    """

    name: str
    root: Path
    variant: str
    layers: tuple[Layer, ...]
    units: frozenset[str]
    cache: ImageCache
    bus: EventBus
    deadline: Deadline
    turn: asyncio.Lock


class ImageProvider(ImageSource):
    """A provider. Its instances are what authors say of their images.

    Attributes:
        title: for people.
        preference: among those that can make all images of a topology, ``auto`` takes the highest.
        ready_text: what doctor says when nothing is to be built.
    """

    __slots__ = ()
    title: ClassVar[str]
    preference: ClassVar[int] = 0
    ready_text: ClassVar[str] = "nothing to be built"

    @classmethod
    def usable(cls, path: str | None) -> bool:
        """Whether ``auto`` may choose it on this host: its tools are in ``path``, None for that of this process."""
        del path
        return True

    def brings(self, layer: Layer) -> bool:
        """Whether its images have the layer in them, so that their machines need no disk for it."""
        del layer
        return False

    def exists(self, root: Path) -> bool:
        """Whether the source is there; one that cannot be inspected counts as there."""
        del root
        return True

    def check(self, variant: str) -> None:
        """Read what the source is made of. Raises `RecipeError` with every problem."""
        del variant

    def ready(self, name: str, cache: ImageCache, variant: str) -> bool:
        """Whether nothing, or little, is to be built; a look at files only. Raises `ImageError`."""
        del name, cache, variant
        return True

    def portable(self, name: str, cache: ImageCache, variant: str) -> list[Path]:
        """Entries of the cache that are the same on every host, and save it minutes; only of a source that is ready."""
        del name, cache, variant
        return []

    @abstractmethod
    async def build(self, job: Build) -> BuiltImage:
        """The image, from the cache or built. A folder as `orchestrator.images.contract` has it.

        Raises:
            ImageError: it cannot be made.
        """
