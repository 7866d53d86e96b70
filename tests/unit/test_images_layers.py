"""Layers as disks: owners as the guest has them, one disk for a content, none where the image brings the folder."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from fake_qemu import run_async
from topology_parts import machine, topology

from orchestrator.deadline import Deadline
from orchestrator.errors import ImageError
from orchestrator.events import Event, EventBus
from orchestrator.images import folder_disk as module
from orchestrator.images.contract import BuiltImage
from orchestrator.images.folder_disk import folder_disk, measure
from orchestrator.images.inodes import Owner, own_everything
from orchestrator.images.layers import LayerDisk, layer_disks, serial_of
from orchestrator.images.owners import ROOT_DISK, owner_of
from orchestrator.images.providers.debian import DebianImage
from orchestrator.images.providers.nixos import NixosImage
from orchestrator.topology.model import Image, Layer, Service, ServiceKind, Topology

PASSWD = "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:34:w:/var/www:/bin/false\nbroken line\n+::::\n"
GROUP = "root:x:0:\nadm:x:4:\nbig:x:100000:a,b\n"
ODD = ("a b", "ü", "new\nline", "-dash", "quote\"'", ".hidden")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORCH_CACHE_DIR", str(tmp_path / "cache"))


@pytest.fixture
def app(tmp_path: Path) -> Path:
    folder = tmp_path / "app, x=y"
    (folder / "bin").mkdir(parents=True, mode=0o700)
    for name in (*ODD, "bin/run"):
        (folder / name).write_text(name)
        (folder / name).chmod(0o600)
    (folder / "bin/run").chmod(0o4710)
    (folder / "link").symlink_to("/nowhere/at all")
    return folder


def disk_of(source: Path, owner: Owner, exclude: tuple[str, ...] = ()) -> Path:
    async def work() -> Path:
        found = measure(source, exclude, read=True)
        return (await folder_disk(source, found, name="layer-app", deadline=Deadline.after(60), owner=owner))[0]

    return run_async(work())


def debugfs(disk: Path, command: str) -> str:
    done = subprocess.run(["/usr/sbin/debugfs", "-R", command, disk], check=True, capture_output=True, text=True)
    return done.stdout


def facts(disk: Path, folder: str = "/") -> dict[str, tuple[str, str, str]]:
    """Mode, user and group of what is in a folder of a disk, by name."""
    entries = [line.split("/") for line in debugfs(disk, f"ls -p {folder}").split("/\n/")]
    parts = [[one for one in entry if one] for entry in entries]
    return {entry[4]: (entry[1], entry[2], entry[3]) for entry in parts if len(entry) > 4}


def test_everything_is_the_owners_with_plain_modes(app: Path) -> None:
    disk = disk_of(app, Owner(33, 100_000))
    assert subprocess.run(["/usr/sbin/e2fsck", "-fn", disk], capture_output=True, check=False).returncode == 0
    found = facts(disk)
    assert set(found) == {".", "..", "bin", "link", *ODD}, "and nothing of the file system's own"
    assert {mode for mode, *_ in (found[name] for name in ODD)} == {"100644"}
    assert found["bin"] == found["."] == ("040755", "33", "100000")
    assert found["link"] == ("120777", "33", "100000")
    assert facts(disk, "/bin")["run"] == ("100755", "33", "100000"), "nobody becomes another one by it"
    assert {(user, group) for _, user, group in found.values()} == {("33", "100000")}


def test_the_key_is_of_what_is_in_the_files(app: Path) -> None:
    before = measure(app, read=True).key
    os.utime(app / "bin/run", ns=(1, 1))
    (app / "bin/run").chmod(0o755)
    assert measure(app, read=True).key == before, "neither time nor umask matters"
    assert disk_of(app, Owner(0, 0)) != disk_of(app, Owner(33, 0))
    (app / "bin/run").write_text("run!bin")
    assert measure(app, read=True).key != before


def test_what_is_excluded_is_neither_on_the_disk_nor_in_the_key(app: Path) -> None:
    whole, wanted = measure(app, read=True), measure(app, ("/bin", "ü"), read=True)
    assert wanted.key != whole.key
    assert set(facts(disk_of(app, Owner(0, 0), ("/bin", "ü")))) == {".", "..", "link", *ODD} - {"ü"}
    (app / "bin/more").write_text("x")
    assert measure(app, ("/bin", "ü"), read=True) == wanted
    assert measure(app, read=True).key != whole.key


def test_a_folder_that_changes_meanwhile_is_not_taken(app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = module._make

    async def written_at_once(source: Path, *rest: object) -> None:
        await really(source, *rest)  # type: ignore[arg-type]
        (source / "bin/run").write_text("half of it")

    monkeypatch.setattr(module, "_make", written_at_once)
    with pytest.raises(ImageError, match="changes while it is copied"):
        disk_of(app, Owner(0, 0))
    monkeypatch.setattr(module, "_make", really)
    assert facts(disk_of(app, Owner(0, 0)))["bin"][0] == "040755"


def test_only_our_own_file_systems_are_changed(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    with pytest.raises(ImageError, match="no ext4"):
        own_everything(disk, Owner(0, 0))
    subprocess.run(["/usr/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-O", "metadata_csum", disk, "4M"], check=True)
    with pytest.raises(ImageError, match="checksums"):
        own_everything(disk, Owner(0, 0))


# ------------------------------------------------------------------ owners


def image(tmp_path: Path, provider: str = "debian", *, disk: bool = True) -> BuiltImage:
    folder = tmp_path / f"image-{provider}"
    (folder / "tree/etc").mkdir(parents=True)
    (folder / "tree/etc/passwd").write_text(PASSWD)
    (folder / "tree/etc/group").write_text(GROUP)
    if disk:
        argv = ["/usr/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-d", folder / "tree", folder / ROOT_DISK, "8M"]
        subprocess.run(argv, check=True)
    return BuiltImage("small", folder, "k1", provider, True, 0.0)


@pytest.mark.parametrize(
    ("text", "user", "group"),
    [
        ("root", 0, 0),
        ("root:root", 0, 0),
        ("1000", 1000, 1000),
        ("1000:50", 1000, 50),
        ("www-data", 33, 34),
        ("www-data:adm", 33, 4),
        ("www-data:7", 33, 7),
        ("5:big", 5, 100_000),
    ],
)
def test_names_are_those_of_the_image(text: str, user: int, group: int, tmp_path: Path) -> None:
    assert run_async(owner_of(text, image(tmp_path), Deadline.after(30))) == Owner(user, group)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("www-date", 'image small has no user www-date \\(did you mean "www-data"\\?\\)'),
        ("root:staff", "image small has no group staff"),
    ],
)
def test_names_that_the_image_does_not_have(text: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=why):
        run_async(owner_of(text, image(tmp_path), Deadline.after(30)))


def test_an_image_that_cannot_be_looked_into_wants_numbers(tmp_path: Path) -> None:
    closed = image(tmp_path, "raw", disk=False)
    with pytest.raises(ImageError, match="cannot be looked up in image small") as caught:
        run_async(owner_of("www-data", closed, Deadline.after(30)))
    assert "write numbers" in caught.value.hint
    assert run_async(owner_of("33:33", closed, Deadline.after(30))) == Owner(33, 33)


# ------------------------------------------------------------------ machines


def using(name: str, where: str, *layers: str) -> Service:
    return Service(name, where, ServiceKind.TARGET, None, uses=layers)


def two_machines(tmp_path: Path, app: Path) -> Topology:
    layers = [Layer("app", app, "/opt/app", nixos_input="app"), Layer("data", app, "/srv/data", owner="www-data")]
    services = [using("one", "server", "data", "app"), using("two", "server", "app"), using("three", "client", "data")]
    sources = {"debian": DebianImage(Path("x.toml")), "nixos": NixosImage("/flake#x", None)}
    return topology(
        tmp_path,
        machine("server"),
        machine("client"),
        machine("other"),
        images={"image": Image("image", sources)},
        layers={one.name: one for one in layers},
        services={one.name: one for one in services},
    )


def disks(made: Topology, built: BuiltImage) -> tuple[dict[str, tuple[LayerDisk, ...]], list[Event]]:
    bus, events = EventBus(), list[Event]()
    bus.subscribe(events.append)
    return dict(run_async(layer_disks(made, {"image": built}, bus, Deadline.after(60)))), events


def test_each_machine_has_the_layers_that_its_services_use(tmp_path: Path, app: Path) -> None:
    made, built = two_machines(tmp_path, app), image(tmp_path)
    found, events = disks(made, built)
    assert {name: [disk.name for disk in mine] for name, mine in found.items()} == {
        "server": ["app", "data"],
        "client": ["data"],
        "other": [],
    }
    assert found["server"][1] == found["client"][0], "one disk for both machines"
    assert found["server"][0].path != found["server"][1].path, "another owner is another disk"
    assert found["server"][0].key.endswith(" 0:0")
    assert found["server"][1].key.endswith(" 33:34")
    assert len(events) == 2
    assert disks(made, built) == (found, []), "made once"


def test_a_layer_that_the_flake_brings_is_no_disk(tmp_path: Path, app: Path) -> None:
    made = two_machines(tmp_path, app)
    layers = {name: replace(layer, owner="root") for name, layer in made.layers.items()}
    found, _ = disks(replace(made, layers=layers), image(tmp_path, "nixos", disk=False))
    assert [disk.name for disk in found["server"]] == ["data"]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, app: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(module, "content_key", refuse)
    with pytest.raises(ImageError, match="layer app cannot be read") as caught:
        disks(two_machines(tmp_path, app), image(tmp_path))
    assert f"{app}/" in caught.value.why


def test_serial_numbers_fit_and_differ() -> None:
    names = ["a", "app", "a" * 14, "a" * 15, "a" * 16, "a" * 31]
    serials = [serial_of(name) for name in names]
    assert len(set(serials)) == len(names)
    assert max(map(len, serials)) == 20
