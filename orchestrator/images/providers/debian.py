"""The provider ``debian``: a recipe, built with mmdebstrap (`orchestrator.images.debian`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from orchestrator.images.provider_kind import Build, ImageProvider
from orchestrator.topology.keys import Key
from orchestrator.topology.value_types import HostPath

APP_LAYER = "app"  # of a finished image, in the cache

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

    def check(self, variant: str) -> None:
        from orchestrator.images.recipe_load import load_recipe

        if self.debian.exists():  # who has no such file uses another provider
            load_recipe(self.debian, variant=variant)

    def ready(self, name: str, cache: ImageCache, variant: str) -> bool:
        from orchestrator.images.cache import ENTRY_FILE

        del name
        return (self._base(cache, variant) / ENTRY_FILE).is_file()

    def portable(self, name: str, cache: ImageCache, variant: str) -> list[Path]:
        del name
        return [self._base(cache, variant)]

    def _base(self, cache: ImageCache, variant: str) -> Path:
        """The entry of its base layer, whether or not it is there."""
        from orchestrator.images.debian import BASE_LAYER
        from orchestrator.images.debian_base import BUILDER
        from orchestrator.images.recipe_base import base_key
        from orchestrator.images.recipe_load import load_recipe

        recipe = load_recipe(self.debian, variant=variant)
        return cache.path_of(recipe.name, BASE_LAYER, base_key(recipe, BUILDER))

    async def build(self, job: Build) -> BuiltImage:
        from orchestrator.deadline import monotonic
        from orchestrator.images.contract import BuiltImage
        from orchestrator.images.entry_files import find_entry
        from orchestrator.images.known_keys import known_key

        started = monotonic()
        key = known_key(job, self.debian)
        found = None if key is None else find_entry(job.cache, job.name, APP_LAYER, key)
        if key is not None and found is not None:
            return BuiltImage(job.name, found, key, self.kind, True, monotonic() - started)
        from orchestrator.images.debian import build_debian

        return await build_debian(job, self.debian)


KIND = DebianImage
