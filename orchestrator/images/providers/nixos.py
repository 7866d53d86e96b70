"""The provider ``nixos``: a NixOS configuration, built by Nix (`orchestrator.images.nixos`)."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from orchestrator.images.provider_kind import Build, ImageProvider
from orchestrator.topology import values
from orchestrator.topology.keys import Key
from orchestrator.topology.model import Layer
from orchestrator.topology.tables import Table
from orchestrator.topology.value_types import HostPath

if TYPE_CHECKING:
    from orchestrator.images.contract import BuiltImage


@dataclass(frozen=True, slots=True)
class NixosImage(ImageProvider):
    kind: ClassVar[str] = "nixos"
    title: ClassVar[str] = "NixOS"
    ready_text: ClassVar[str] = "Nix builds what it does not have"
    preference: ClassVar[int] = 20

    nixos_flake: Annotated[str | None, Key(values.flake, "the NixOS configuration of a flake")] = None
    nixos_config: Annotated[
        Path | None,
        Key(HostPath(), "a NixOS configuration file, for builds without flakes; excludes `nixos_flake`"),
    ] = None

    def verify_keys(self, table: Table) -> None:
        if self.nixos_flake is not None and self.nixos_config is not None:
            table.complain("nixos_config", '"nixos_flake" and "nixos_config" exclude each other')

    @classmethod
    def usable(cls, path: str | None) -> bool:
        return any(shutil.which(tool, path=path) for tool in ("nixos-rebuild", "nix", "nix-build"))

    def exists(self, root: Path) -> bool:
        if self.nixos_flake is not None:
            folder = self.nixos_flake.partition("#")[0]
            return ":" in folder or (root / folder / "flake.nix").is_file()
        return self.nixos_config is not None and self.nixos_config.is_file()

    def brings(self, layer: Layer) -> bool:
        return bool(layer.nixos_input)

    async def build(self, job: Build) -> BuiltImage:
        from orchestrator.images.nixos import NixImage, build_nixos

        image = NixImage(job.name, self.nixos_flake, self.nixos_config)
        async with job.turn:
            return await build_nixos(
                image, root=job.root, cache=job.cache, bus=job.bus, deadline=job.deadline, layers=job.layers
            )


KIND = NixosImage
