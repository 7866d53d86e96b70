"""The provider `oci`: reading a layout, applying layers, what a machine needs, and the disk that comes out of it."""

from __future__ import annotations

import asyncio
import io
import subprocess
import tarfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import IO

import pytest
from event_records import notes
from oci_samples import LAYER, LayoutWriter, archived, file, folder, layer, layout, link
from topology_samples import completed, write

from orchestrator.deadline import Deadline
from orchestrator.errors import ImageError
from orchestrator.events import Event, EventBus
from orchestrator.images import oci as module
from orchestrator.images.cache import ImageCache
from orchestrator.images.contract import guest_facts
from orchestrator.images.oci_layers import overlay_of, write_merged
from orchestrator.images.oci_layout import Layout
from orchestrator.images.provider import ensure_images
from orchestrator.images.provider_kind import Build
from orchestrator.topology.load import load_topology

SYSTEM = (
    folder("usr"),
    folder("usr/lib"),
    folder("usr/lib/systemd"),
    link("lib", "usr/lib"),
    file("usr/lib/systemd/systemd", "systemd", 0o755),
    file("usr/lib/systemd/systemd-networkd", "networkd", 0o755),
    file("usr/bin/udevadm"),
    file("usr/sbin/sshd"),
    file("usr/sbin/ip"),
)


def opened(*layers: bytes) -> list[Callable[[], AbstractContextManager[IO[bytes]]]]:
    return [partial(io.BytesIO, data) for data in layers]


def merged(*layers: bytes) -> dict[str, str]:
    """What is left of the layers: by name, the content of a file, or what else it is."""
    overlay = overlay_of(opened(*layers))
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as out:
        write_merged(overlay, opened(*layers), out)
    buffer.seek(0)
    found = {}
    with tarfile.open(fileobj=buffer) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() or member.islnk() else None
            name = member.name.removeprefix("./")
            found[name] = content.read().decode() if content else f"-> {member.linkname}" if member.issym() else "/"
    return found


def test_a_later_layer_wins() -> None:
    below, above = layer(folder("etc"), file("etc/a", "old"), file("etc/b")), layer(file("./etc/a", "new"))
    assert merged(below, above) == {"etc": "/", "etc/a": "new", "etc/b": "x"}


def test_whiteouts_remove_what_lies_below_them_and_nothing_of_their_own_layer() -> None:
    below = layer(folder("a"), file("a/one"), file("a/two"), folder("b"), file("b/old"), file("c"), file("cc"))
    above = layer(file("a/.wh.one", ""), file("b/new"), file("b/.wh..wh..opq", ""), file(".wh.c", ""))
    assert merged(below, above) == {"a": "/", "a/two": "x", "b": "/", "b/new": "x", "cc": "x"}


def test_a_folder_that_becomes_a_file_and_the_reverse() -> None:
    assert merged(layer(folder("a"), file("a/x"), file("b")), layer(file("a", "f"), folder("b"), file("b/y"))) == {
        "a": "f",
        "b": "/",
        "b/y": "x",
    }


def test_links_among_folders_are_followed_inside_the_image() -> None:
    below = layer(folder("usr"), folder("usr/lib"), link("lib", "usr/lib"), link("out", "/../../etc"), folder("etc"))
    found = merged(below, layer(file("lib/one"), file("out/two")))
    assert found["usr/lib/one"] == "x"
    assert found["etc/two"] == "x", "the root of the image is the end of every way up"
    assert not any(name.startswith(("lib/", "out/")) for name in found)


def test_hard_links_keep_their_content_when_the_first_name_goes() -> None:
    below = layer(file("a", "content"), link("b", "a", hard=True), link("c", "./a", hard=True))
    assert merged(below) == {"a": "content", "b": "content", "c": "content"}
    assert merged(below, layer(file(".wh.a", ""))) == {"b": "content", "c": "content"}
    assert merged(below, layer(file("a", "other"))) == {"b": "content", "c": "content", "a": "other"}


def test_everything_that_leads_outside_is_refused_at_once() -> None:
    bad = layer(
        file("../../etc/passwd"),
        file("a/../../x"),
        link("loop", "loop2"),
        link("loop2", "loop"),
        file("loop/x"),
        file("plain"),
        file("plain/below"),
        link("h", "/nowhere", hard=True),
    )
    with pytest.raises(ImageError, match="cannot be used") as caught:
        overlay_of(opened(bad))
    assert [line.partition(": ")[2] for line in caught.value.evidence] == [
        "'../../etc/passwd' leads outside of the image",
        "'a/../../x' leads outside of the image",
        "too many symbolic links on the way to 'loop/x'",
        "plain/below is below plain, which is not a folder",
        "h is a hard link to nothing: '/nowhere'",
    ]


def test_an_absolute_name_is_one_of_the_image() -> None:
    assert merged(layer(file("/etc/x"))) == {"etc/x": "x"}


def test_a_layer_that_is_no_archive() -> None:
    with pytest.raises(ImageError, match="layer 1 of the OCI image is no tar archive"):
        overlay_of(opened(b"not at all a tar archive" * 100))


# ------------------------------------------------------------------ layouts


@pytest.mark.parametrize("make", [lambda path: path, archived], ids=["folder", "archive"])
def test_the_layers_of_a_layout(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    one, two = layer(file("a")), layer(file("b"))
    found = Layout(make(layout(tmp_path / "image", one, two)))
    digests = found.layers("amd64")
    for digest, data in zip(digests, (one, two), strict=True):
        found.verify(digest)
        with found.blob(digest) as blob:
            assert blob.read() == data


def test_of_several_processors_the_right_one_is_taken(tmp_path: Path) -> None:
    writer = LayoutWriter(tmp_path / "image")
    arm = writer.image([layer(file("arm"))], architecture="arm64") | {
        "platform": {"architecture": "arm64", "os": "linux"}
    }
    mine = writer.image([layer(file("amd"))]) | {"platform": {"architecture": "amd64", "os": "linux"}}
    proof = writer.image([]) | {"platform": {"architecture": "unknown", "os": "unknown"}}
    index = writer.document({"manifests": [arm, mine, proof]}, "application/vnd.oci.image.index.v1+json")
    writer.index([index])
    found = Layout(tmp_path / "image")
    with found.blob(found.layers("amd64")[0]) as blob:
        assert list(overlay_of(opened(blob.read())).entries) == ["amd"]
    with pytest.raises(ImageError) as caught:
        found.layers("riscv64")
    assert caught.value.why == "it has no image for riscv64; it has: arm64, amd64"


def test_what_is_no_layout_that_can_be_used(tmp_path: Path) -> None:
    def why(path: Path) -> tuple[str, str]:
        with pytest.raises(ImageError) as caught:
            Layout(path).layers("amd64")
        return caught.value.why, caught.value.hint

    with pytest.raises(ImageError, match="cannot be read"):
        Layout(tmp_path / "nothing").layers("amd64")
    (tmp_path / "text").write_text("x" * 2000)
    assert why(tmp_path / "text")[0].startswith("it is neither a folder nor a plain tar archive")
    (tmp_path / "empty").mkdir()
    assert why(tmp_path / "empty")[0] == "it has no index.json"
    (tmp_path / "old").mkdir()
    (tmp_path / "old/manifest.json").write_text("[]")
    assert why(tmp_path / "old") == (
        "it is an archive of an old `docker save`",
        "skopeo copy docker-archive:old oci-archive:NEW.tar",
    )
    zstd = LayoutWriter(tmp_path / "zstd")
    zstd.index([zstd.image([b"z"], kind=LAYER.replace("gzip", "zstd"))])
    assert why(tmp_path / "zstd")[0] == "its layers are compressed by zstd, which is not read here"
    two = LayoutWriter(tmp_path / "two")
    named = {"annotations": {"org.opencontainers.image.ref.name": "v1"}}
    two.index([two.image([layer(file("a"))]) | named, two.image([layer(file("b"))])])
    assert why(tmp_path / "two")[0].startswith("it has 2 images, and one is expected: v1, sha256:")
    evil = LayoutWriter(tmp_path / "evil")
    evil.index([{"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": "sha256:../../etc/passwd"}])
    assert why(tmp_path / "evil")[0] == "'sha256:../../etc/passwd' is no SHA-256 digest"


def test_a_damaged_blob_is_found(tmp_path: Path) -> None:
    found = Layout(layout(tmp_path / "image", layer(file("a"))))
    (digest,) = found.layers("amd64")
    (tmp_path / "image/blobs/sha256" / digest[7:]).write_bytes(b"other")
    with pytest.raises(ImageError) as caught:
        found.verify(digest)
    assert caught.value.why == f"its blob {digest} is damaged: it has another SHA-256"
    (tmp_path / "image/blobs/sha256" / digest[7:]).unlink()
    with pytest.raises(ImageError) as caught:
        found.verify(digest)
    assert "the layout is not complete" in caught.value.why


# ------------------------------------------------------------------ images


@pytest.fixture
def linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel that nobody has to build."""
    made = tmp_path / "linux"
    made.mkdir()
    (made / "vmlinuz").write_bytes(b"kernel")
    (made / "initrd.img").write_bytes(b"initrd")
    with tarfile.open(made / "modules.tar", "w") as archive:
        for info, data in (folder("./lib/modules/6.1"), file("./lib/modules/6.1/virtio.ko", "module")):
            archive.addfile(info, io.BytesIO(data))

    async def kernel(_: Build) -> Path:
        return made

    monkeypatch.setattr(module, "kernel", kernel)


def build(tmp_path: Path, *layers: bytes) -> tuple[Path, list[Event]]:
    layout(tmp_path / "system", *layers)
    text = '[images.server]\noci = "system"\n[images.client]\noci = "system"\n'
    topology = load_topology(write(tmp_path, completed(text)))
    bus, events = EventBus(), list[Event]()
    bus.subscribe(events.append)
    cache, deadline = ImageCache(tmp_path / "cache"), Deadline.after(60)
    images = asyncio.run(ensure_images(topology, provider="auto", bus=bus, deadline=deadline, cache=cache))
    return images["server"].path, events


def on_disk(disk: Path, command: str) -> str:
    done = subprocess.run(
        ["/sbin/debugfs", "-R", command, str(disk)], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


@pytest.mark.usefixtures("linux")
def test_an_image_becomes_a_disk_with_a_kernel(tmp_path: Path) -> None:
    image, events = build(tmp_path, layer(*SYSTEM), layer(file("etc/motd", "hello"), file("usr/sbin/.wh.none", "")))
    disk = image / "root.raw"
    assert on_disk(disk, "cat /etc/motd") == "hello"
    assert on_disk(disk, "cat /usr/lib/modules/6.1/virtio.ko") == "module", "where the image has its /lib"
    assert "MACAddress=52:54:00:12:34:56" in on_disk(disk, "cat /etc/systemd/network/10-orchestrator-user.network")
    wanted = on_disk(disk, "stat /etc/systemd/system/multi-user.target.wants/systemd-networkd.service")
    assert 'Fast link dest: "/usr/lib/systemd/system/systemd-networkd.service"' in wanted or "symlink" in wanted
    assert (image / "vmlinuz").read_bytes() == b"kernel"
    parameters = (image / "kernel-params").read_text()
    assert "root=/dev/vda" in parameters and "init=/usr/lib/systemd/systemd" in parameters
    assert guest_facts(image).foreign
    assert any("has no qemu-guest-agent" in note for note in notes(events))


def test_all_that_a_machine_needs_is_asked_for_at_once(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="cannot be a machine") as caught:
        build(tmp_path, layer(file("usr/sbin/sshd"), file("usr/lib/systemd/systemd")))
    assert caught.value.why == (
        "it lacks udev, by which systemd knows devices, ip, which gives the cards their addresses, "
        "systemd-networkd or NetworkManager"
    )
    assert caught.value.hint.endswith("--no-install-recommends udev iproute2 systemd qemu-guest-agent")
