"""The provider ``debian``: a recipe, built with mmdebstrap (`orchestrator.images.debian`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from orchestrator.images.provider_kind import Build, ImageProvider
from orchestrator.topology.keys import Key
from orchestrator.topology.value_types import HostPath

if TYPE_CHECKING:
    from orchestrator.images.cache import ImageCache
    from orchestrator.images.contract import BuiltImage


@dataclass(frozen=True, slots=True)
class DebianImage(ImageProvider):
    kind: ClassVar[str] = "debian"
    title: ClassVar[str] = "Debian"
    ready_text: ClassVar[str] = "base layers cached"
    preference: ClassVar[int] = 10

    debian: Annotated[Path, Key(HostPath(), "the recipe of a Debian image")]

    def ready(self, name: str, cache: ImageCache) -> bool:
        from orchestrator.images.cache import ENTRY_FILE
        from orchestrator.images.debian import BASE_LAYER
        from orchestrator.images.debian_base import BUILDER
        from orchestrator.images.recipe import load_recipe

        del name
        recipe = load_recipe(self.debian)
        return (cache.path_of(recipe.name, BASE_LAYER, recipe.base_key(BUILDER)) / ENTRY_FILE).is_file()

    async def build(self, job: Build) -> BuiltImage:
        from orchestrator.images.debian import build_debian

        return await build_debian(
            job.name,
            self.debian,
            variant=job.variant,
            cache=job.cache,
            bus=job.bus,
            deadline=job.deadline,
            turn=job.turn,
        )


KIND = DebianImage
