"""The provider ``oci``: a container image that has systemd in it (`orchestrator.images.oci`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from orchestrator.images.provider_kind import Build, ImageProvider
from orchestrator.topology.keys import Key
from orchestrator.topology.value_types import HostPath

if TYPE_CHECKING:
    from orchestrator.images.contract import BuiltImage


@dataclass(frozen=True, slots=True)
class OciImage(ImageProvider):
    kind: ClassVar[str] = "oci"
    title: ClassVar[str] = "OCI image"

    oci: Annotated[Path, Key(HostPath(), "an OCI layout with systemd in its image: a folder, or a tar archive of it")]

    def exists(self, root: Path) -> bool:
        del root
        return self.oci.exists()

    async def build(self, job: Build) -> BuiltImage:
        from orchestrator.images.oci import build_oci

        return await build_oci(job, self.oci)


KIND = OciImage
