"""The provider `disk`: a disk in the cache, with a run script that QEMU boots it with."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import struct
import subprocess
from pathlib import Path
from uuid import UUID

import pytest
from topology_samples import completed, write

from orchestrator.deadline import Deadline
from orchestrator.errors import ImageError, TopologyError
from orchestrator.events import EventBus
from orchestrator.images import disk as disk_module
from orchestrator.images.cache import ImageCache
from orchestrator.images.contract import BuiltImage, guest_facts
from orchestrator.images.disk_file import BIOS_BOOT, EFI_SYSTEM, firmware_of
from orchestrator.images.firmware import Firmware, find_firmware, firmware_in
from orchestrator.images.provider import MIXED, choose_provider, ensure_images, provider_of
from orchestrator.images.providers.disk import DiskImage
from orchestrator.topology.effective import from_dict, to_dict, to_toml
from orchestrator.topology.load import load_topology
from orchestrator.topology.model import Topology
from orchestrator.vm.accelerator import EXIT_SEEN, boot_sector

TEXT = '[images.server]\ndisk = "appliance.raw"\n[images.client]\ndisk = "appliance.raw"\n'


def qcow2_header(*, backing: int = 0, encrypted: int = 0, features: int = 0) -> bytes:
    begin = struct.pack(">IQIIQI", 3, backing, 0, 16, 1 << 20, encrypted).ljust(68, b"\0")
    return b"QFI\xfb" + begin + struct.pack(">Q", features)


WHOLE = "qemu-img convert -O qcow2 appliance.raw appliance.whole.qcow2"


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
    assert topology.images["server"].sources == {"disk": DiskImage(topology.root / "appliance.raw")}
    assert '[images.server]\ndisk = "appliance.raw"\n' in to_toml(topology)
    assert from_dict(to_dict(topology)) == topology


def test_auto_takes_it_where_nothing_else_is_there(topology: Topology, tmp_path: Path) -> None:
    assert choose_provider("auto", topology) == "disk"
    both = '[images.server]\ndisk = "appliance.raw"\ndebian = "server.toml"\n[images.client]\ndebian = "c.toml"\n'
    mixed = load_topology(write(tmp_path, completed(both)))
    assert choose_provider("auto", mixed) == "debian"
    with pytest.raises(ImageError, match="no disk source for image client"):
        choose_provider("disk", mixed)


def test_each_image_has_its_own_source_where_none_is_common(tmp_path: Path) -> None:
    text = '[images.server]\ndisk = "appliance.raw"\n[images.client]\ndebian = "client.toml"\n'
    topology = load_topology(write(tmp_path, completed(text)))
    assert choose_provider("auto", topology) == MIXED
    kinds = {name: provider_of(image, MIXED).kind for name, image in topology.images.items()}
    assert kinds == {"server": "disk", "client": "debian"}
    with pytest.raises(ImageError, match="no debian source for image server"):
        choose_provider("debian", topology)


def test_the_disk_is_copied_once_and_again_when_it_changed(topology: Topology) -> None:
    first = ensure(topology)["server"]
    assert (first.cached, first.provider) == (False, "disk")
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
    ("begin", "what", "hint"),
    [
        (b"KDMV", "neither a raw nor a qcow2 disk", "qemu-img convert -O qcow2 appliance.raw appliance.qcow2"),
        (b"\xfd7zXZ\0", "is no disk but a packed file", "unxz -k appliance.raw"),
        (
            qcow2_header(backing=64),
            "needs another file",
            WHOLE,
        ),
        (
            qcow2_header(features=4),
            "needs another file",
            WHOLE,
        ),
        (qcow2_header(encrypted=2), "is encrypted", "qemu-img convert --help: decrypt appliance.raw first"),
    ],
)
def test_a_disk_that_cannot_be_overlaid_is_refused(topology: Topology, begin: bytes, what: str, hint: str) -> None:
    (topology.root / "appliance.raw").write_bytes(begin + bytes(1000))
    with pytest.raises(ImageError, match=what) as caught:
        ensure(topology)
    assert caught.value.hint == hint


def test_a_disk_that_is_not_there(topology: Topology) -> None:
    (topology.root / "appliance.raw").unlink()
    assert choose_provider("auto", topology) == "disk"
    with pytest.raises(ImageError, match="cannot be read") as caught:
        ensure(topology)
    assert caught.value.why == "No such file or directory"


def test_a_qcow2_is_found_by_its_content_and_stays_one(topology: Topology, tmp_path: Path) -> None:
    raw, packed = topology.root / "appliance.raw", tmp_path / "packed"
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, packed], check=True)
    packed.replace(raw)
    image = ensure(topology)["server"]
    assert (image.path / "disk.qcow2").is_file()
    assert '-b "$image/disk.qcow2" -F qcow2' in image.script_text


def test_its_guest_is_told_what_it_needs(topology: Topology) -> None:
    assert guest_facts(ensure(topology)["server"].path).foreign


def test_a_checksum_is_verified_and_spares_reading_the_file_again(topology: Topology) -> None:
    disk = topology.root / "appliance.raw"
    right = hashlib.sha256(disk.read_bytes()).hexdigest()
    with_right = load_topology(write(topology.root, completed(TEXT.replace('raw"\n', f'raw"\nsha256 = "{right}"\n'))))
    first = ensure(with_right)["server"]
    disk.write_bytes(b"another")
    assert ensure(with_right)["server"].path == first.path
    wrong = load_topology(write(topology.root, completed(TEXT.replace('raw"\n', f'raw"\nsha256 = "{"0" * 64}"\n'))))
    with pytest.raises(ImageError, match="is not the disk that the topology names") as caught:
        ensure(wrong)
    assert hashlib.sha256(b"another").hexdigest() in caught.value.why


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ('raw = "a.raw"', '"raw" of image "server" is called "disk" now'),
        ('disk = "a.raw"\nsha256 = "12"', "expected 64 hex digits"),
        ('disk = "a.raw"\nfirmware = "coreboot"', "expected bios or uefi"),
        ('sha256 = "' + "a" * 64 + '"', 'it says how "disk" is, and there is no "disk"'),
    ],
)
def test_keys_that_are_wrong(tmp_path: Path, keys: str, words: str) -> None:
    with pytest.raises(TopologyError) as caught:
        load_topology(write(tmp_path, completed(f'[images.server]\n{keys}\n[images.client]\ndisk = "b.raw"\n')))
    assert words in " ".join(caught.value.evidence)


def gpt(*types: UUID, boot_code: bool = False) -> bytes:
    """The first bytes of a GPT disk with partitions of these types."""
    code = (b"\xeb\x63" if boot_code else b"\0\0").ljust(446, b"\0")
    protective = bytes([0, 0, 2, 0, 0xEE]).ljust(64, b"\0") + b"\x55\xaa"
    header = struct.pack("<8s64sQII", b"EFI PART", b"", 2, 128, 128).ljust(512, b"\0")
    return code + protective + header + b"".join(kind.bytes_le.ljust(128, b"\1") for kind in types).ljust(16384, b"\0")


@pytest.mark.parametrize(
    ("head", "firmware"),
    [
        (b"\xeb\x63".ljust(510, b"\0") + b"\x55\xaa", "bios"),
        (gpt(EFI_SYSTEM), "uefi"),
        (gpt(BIOS_BOOT, EFI_SYSTEM, boot_code=True), "bios"),
        (gpt(EFI_SYSTEM, boot_code=True), "uefi"),
        (gpt(BIOS_BOOT, boot_code=True), "bios"),
        (bytes(446) + bytes([0, 0, 0, 0, 0xEF]).ljust(64, b"\0") + b"\x55\xaa", "uefi"),
        (b"EFI PART", "bios"),
    ],
)
def test_which_firmware_starts_a_disk(head: bytes, firmware: str) -> None:
    assert firmware_of(head) == firmware


def test_a_disk_for_uefi_gets_the_firmware_of_this_host(topology: Topology, monkeypatch: pytest.MonkeyPatch) -> None:
    code, variables = topology.root / "CODE.fd", topology.root / "VARS.fd"
    code.write_bytes(b"code")
    variables.write_bytes(b"variables")
    monkeypatch.setattr(disk_module, "find_firmware", lambda _: Firmware(code, variables))
    (topology.root / "appliance.raw").write_bytes(gpt(EFI_SYSTEM) + bytes(1 << 20))
    image = ensure(topology)["server"]
    assert (image.path / "firmware.fd").read_bytes() == b"variablescode"
    assert '-bios "$image/firmware.fd"' in image.script_text


def description(**changes: object) -> dict[str, object]:
    flash = {"device": "flash", "executable": {"filename": "/C.fd"}, "nvram-template": {"filename": "/V.fd"}}
    targets = [{"architecture": "x86_64", "machines": ["pc-*"]}]
    return {"interface-types": ["uefi"], "features": [], "mapping": flash, "targets": targets, **changes}


def test_the_firmware_is_one_without_secure_boot(tmp_path: Path) -> None:
    assert firmware_in(description(), "x86_64") == Firmware(Path("/C.fd"), Path("/V.fd"))
    in_memory = description(mapping={"device": "memory", "filename": "/M.fd"})
    assert firmware_in(in_memory, "x86_64") == Firmware(Path("/M.fd"))
    for wrong in ({"features": ["secure-boot"]}, {"interface-types": ["bios"]}, {"mapping": {"device": "kernel"}}):
        assert firmware_in(description(**wrong), "x86_64") is None
    assert firmware_in(description(), "riscv64") is None
    (tmp_path / "10-broken.json").write_text("{")
    with pytest.raises(ImageError, match="no UEFI firmware for x86_64") as caught:
        find_firmware("x86_64", [str(tmp_path)])
    assert caught.value.hint == "apt install ovmf"
    code = tmp_path / "M.fd"
    code.touch()
    found = description(mapping={"device": "memory", "filename": str(code)})
    (tmp_path / "20-good.json").write_text(json.dumps(found))
    assert find_firmware("x86_64", [str(tmp_path)]) == Firmware(code)
