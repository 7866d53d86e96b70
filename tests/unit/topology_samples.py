"""Topology files for the tests of orchestrator.topology."""

from __future__ import annotations

import tomllib
from pathlib import Path
from shutil import copy

import certifi
import pytest

from orchestrator.errors import TopologyError
from orchestrator.topology.load import load_topology

REPOSITORY = Path(__file__).resolve().parents[2]
SHIPPED = REPOSITORY / "orchestrator.toml"
GOLDEN = REPOSITORY / "tests" / "golden" / "topology"
ALICIA = GOLDEN / "alicia.toml"

# Parts of a small complete file; `completed` adds those that an example leaves out.
PARTS: tuple[tuple[tuple[str, ...], str], ...] = (
    (("networks", "lan"), '[networks.lan]\nsubnet = "192.168.1.0/24"\n'),
    (("images", "server"), '[images.server]\ndebian = "server.toml"\n'),
    (("images", "client"), '[images.client]\ndebian = "client.toml"\n'),
    (("machines", "server"), '[machines.server]\nimage = "server"\nnetworks.lan.address = "192.168.1.2"\n'),
    (("machines", "client"), '[machines.client]\nimage = "client"\nnetworks.lan.address = "192.168.1.1"\n'),
    (("services", "web"), '[services.web]\nmachine = "server"\nunit = "web.service"\n'),
)


def completed(text: str) -> str:
    """An example made a whole file: what it does not define itself is added after it."""
    data = tomllib.loads(text)
    top = "" if "name" in data else 'name = "shop"\n'
    # A network on other addresses would not fit the machines that are added.
    own_network = "lan" in data.get("networks", {})
    rest = [part for path, part in PARTS if path[1] not in data.get(path[0], {})]
    if own_network:
        rest = [part.replace('networks.lan.address = "192.168.1.', 'networks.lan.address = "10.20.0.') for part in rest]
    return top + text + "\n" + "\n".join(rest)


def folder(path: Path) -> Path:
    """A folder with an application package, a suite and certificates, as topology files name them."""
    app = path / "standin"
    for part in ("bin/alicia", "share/alicia/frontend/index.html", "share/alicia/migrations/0001_first.up.sql"):
        (app / part).parent.mkdir(parents=True, exist_ok=True)
        (app / part).touch(mode=0o755)
    (path / "suite").mkdir(exist_ok=True)
    (path / "suite" / "a.spec.ts").touch()
    if not (path / "ca.pem").exists():
        copy(certifi.where(), path / "ca.pem")
    return path


def write(path: Path, text: str) -> Path:
    """``text`` as a topology file in a prepared folder."""
    file = folder(path) / "orchestrator.toml"
    file.write_text(text, encoding="utf-8")
    return file


def problems(file: Path, **options: object) -> list[str]:
    """The problem lines of a file, without the folder in front."""
    with pytest.raises(TopologyError) as caught:
        load_topology(file, **options)  # type: ignore[arg-type]
    return [line.replace(f"{file.parent}/", "") for line in caught.value.evidence]


def one(tmp_path: Path, text: str) -> str:
    """The only problem of an example, without its place."""
    lines = problems(write(tmp_path, completed(text)))
    assert len(lines) == 1, lines
    return lines[0].split(": ", 1)[1]


def alicia(path: Path) -> Path:
    return write(path, ALICIA.read_text(encoding="utf-8"))
