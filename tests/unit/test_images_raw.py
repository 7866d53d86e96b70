"""The provider `raw`: a plain disk in the cache, with a run script that QEMU boots it with."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest
from topology_samples import completed, write

from orchestrator.deadline import Deadline
from orchestrator.errors import ImageError
from orchestrator.events import EventBus
from orchestrator.images.cache import ImageCache
from orchestrator.images.contract import BuiltImage
from orchestrator.images.provider import choose_provider, ensure_images
from orchestrator.images.providers.raw import RawImage
from orchestrator.topology.effective import from_dict, to_dict, to_toml
from orchestrator.topology.load import load_topology
from orchestrator.topology.model import Topology
from orchestrator.vm.accelerator import EXIT_SEEN, boot_sector

TEXT = '[images.server]\nraw = "appliance.raw"\n[images.client]\nraw = "appliance.raw"\n'


@pytest.fixture
def topology(tmp_path: Path) -> Topology:
    disk = tmp_path / "appliance.raw"
    disk.write_bytes(boot_sector() + bytes(1 << 20))
    return load_topology(write(tmp_path, completed(TEXT)))


def ensure(topology: Topology, wanted: str = "auto") -> dict[str, BuiltImage]:
    cache = ImageCache(topology.root / "cache")
    deadline = Deadline.after(60)
    return asyncio.run(ensure_images(topology, provider=wanted, bus=EventBus(), deadline=deadline, cache=cache))


def test_it_is_read_written_and_recorded(topology: Topology) -> None:
    assert topology.images["server"].sources == {"raw": RawImage(topology.root / "appliance.raw")}
    assert '[images.server]\nraw = "appliance.raw"\n' in to_toml(topology)
    assert from_dict(to_dict(topology)) == topology


def test_auto_takes_it_where_nothing_else_is_there(topology: Topology, tmp_path: Path) -> None:
    assert choose_provider("auto", topology) == "raw"
    both = '[images.server]\nraw = "appliance.raw"\ndebian = "server.toml"\n[images.client]\ndebian = "c.toml"\n'
    mixed = load_topology(write(tmp_path, completed(both)))
    assert choose_provider("auto", mixed) == "debian"
    with pytest.raises(ImageError, match="no raw source for image client"):
        choose_provider("raw", mixed)


def test_the_disk_is_copied_once_and_again_when_it_changed(topology: Topology) -> None:
    first = ensure(topology)["server"]
    assert (first.cached, first.provider) == (False, "raw")
    assert (first.path / "disk.raw").read_bytes() == (topology.root / "appliance.raw").read_bytes()
    again = ensure(topology)["server"]
    assert (again.cached, again.path, again.key) == (True, first.path, first.key)
    with (topology.root / "appliance.raw").open("ab") as file:
        file.write(bytes(512))
    changed = ensure(topology)["server"]
    assert not changed.cached
    assert changed.key != first.key
    assert first.path.exists(), "machines may run from it"


def test_qemu_boots_it_and_writes_to_the_overlay_only(topology: Topology, tmp_path: Path) -> None:
    """The disk's boot sector ends QEMU with a code of its own."""
    image = ensure(topology)["server"]
    before = (image.path / "disk.raw").read_bytes()
    overlay = tmp_path / "a folder, with a comma" / "disk.qcow2"
    overlay.parent.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "NIX_DISK_IMAGE": str(overlay),
        "USE_TMPDIR": "1",
        "TMPDIR": str(tmp_path),
        "QEMU_NET_OPTS": "restrict=on",
    }
    arguments = ["-machine", "pc,accel=tcg", "-m", "32", "-display", "none"]
    arguments += ["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"]
    done = subprocess.run(
        [str(image.run_script), *arguments], env=environment, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == EXIT_SEEN, done.stderr.decode()
    assert overlay.is_file()
    assert (image.path / "disk.raw").read_bytes() == before


def test_the_run_script_is_good_shell(topology: Topology) -> None:
    script = ensure(topology)["server"].run_script
    subprocess.run(["sh", "-n", str(script)], check=True)


@pytest.mark.parametrize(
    ("begin", "why"),
    [(b"QFI\xfb\0\0\0\3", "the format qcow2"), (b"KDMV", "the format vmdk")],
)
def test_a_disk_of_another_format_is_refused(topology: Topology, begin: bytes, why: str) -> None:
    (topology.root / "appliance.raw").write_bytes(begin + bytes(1000))
    with pytest.raises(ImageError) as caught:
        ensure(topology)
    assert why in caught.value.why
    assert caught.value.hint == "qemu-img convert -O raw appliance.raw appliance.new.raw"


def test_a_disk_that_is_not_there(topology: Topology) -> None:
    (topology.root / "appliance.raw").unlink()
    assert choose_provider("auto", topology) == "raw"
    with pytest.raises(ImageError, match="cannot be read") as caught:
        ensure(topology)
    assert caught.value.why == "No such file or directory"
