"""Exporting saved states and importing them on another host: what is taken, what is refused, and what stays."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fake_qemu import run_async
from warm_states import BASE, Notes

from orchestrator.deadline import Deadline
from orchestrator.environment import import_checks, importing
from orchestrator.environment.exporting import Exported, export, states_to_export
from orchestrator.environment.importing import Imported, import_file
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.saving import default_store
from orchestrator.errors import OrchestratorError, SnapshotError, UsageError
from orchestrator.images.cache import ImageCache
from orchestrator.snapshots.key import key_of
from orchestrator.snapshots.manifest import SavedMachine, files_of
from orchestrator.snapshots.memory import RamBacking, digest
from orchestrator.snapshots.restore import verify
from orchestrator.snapshots.store import Snapshot, point_name
from orchestrator.vm.accelerator import Accelerator

TCG = Accelerator("tcg", "", 10.0, "10.0.2")
INPUTS = {"QEMU": "10.0.2", "accelerator": "tcg", "host CPU": "emulated", "file /run/key of server": "600 k"}
HEALTHY_INPUTS = {**INPUTS, "layer app of server": "a"}
IMAGE_KEY, LAYER_KEY = "ab" * 32, "cd" * 16
DEADLINE = 30.0


@dataclass
class Hosts:
    """The host that exports, and by `other` one that imports."""

    folder: Path
    patch: pytest.MonkeyPatch
    said: Notes

    def other(self, name: str = "other") -> None:
        """From now on all happens on a host that has nothing."""
        for variable, part in (("ORCH_RAM_DIR", "shm"), ("ORCH_CACHE_DIR", "cache"), ("ORCH_STATE_DIR", "state")):
            (self.folder / name / part).mkdir(parents=True)
            self.patch.setenv(variable, str(self.folder / name / part))

    def has_qemu(self, version: str = "10.0.2", types: frozenset[str] = frozenset({"pc-i440fx-10.0"})) -> None:
        async def probed(_: Path) -> Accelerator:
            return replace(TCG, qemu=version)

        async def known(program: str, _: Deadline) -> frozenset[str]:
            return types if program == "qemu-system-x86_64" else frozenset()

        self.patch.setattr(importing, "probe", probed)
        self.patch.setattr(import_checks, "machine_types", known)

    @property
    def file(self) -> Path:
        return self.folder / "shop.states"

    def exported(self, name: str | None = None, *, with_images: bool = False) -> Exported:
        limit = Deadline.after(DEADLINE)
        states = states_to_export("shop", name)
        return run_async(export(states, self.file, with_images=with_images, bus=self.said.bus, deadline=limit))

    def imported(self, environment: str | None = None) -> Imported:
        return run_async(import_file(self.file, environment, self.said.bus, Deadline.after(DEADLINE)))

    def refused(self) -> OrchestratorError:
        with pytest.raises(SnapshotError) as caught:
            self.imported()
        assert default_store().all() == []
        assert [one.name for one in default_store().memory.glob("*")] == [], "nothing is left behind"
        return caught.value


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    found = Hosts(tmp_path, monkeypatch, Notes())
    found.other("first")
    found.has_qemu()
    put("healthy", HEALTHY_INPUTS)
    put("base", INPUTS)
    yield found


def entry(name: str, layer: str, key: str, files: Mapping[str, bytes]) -> Path:
    async def fill(folder: Path) -> None:
        for file, content in files.items():
            (folder / file).parent.mkdir(exist_ok=True)
            (folder / file).write_bytes(content)

    obtained = ImageCache().obtain(name, layer, key, fill, waiting=lambda *_: None, deadline=Deadline.after(5))
    return run_async(obtained)[0]


def image(content: bytes = b"disk") -> Path:
    files = {"root.raw": content * 5000, "bin/run-server-vm": b"#!/bin/sh\n", "build.log": b"noon"}
    return entry("server", "app", IMAGE_KEY, files)


def put(name: str, inputs: Mapping[str, str], *, owner: str = "ab12", machine_type: str = "pc-i440fx-10.0") -> Snapshot:
    """A state of one machine, whose disk rests on its image."""
    built, layer = image(), entry("layer-app", "folder", LAYER_KEY, {"disk.ext4": b"layer"}) / "disk.ext4"
    key, store = key_of(inputs), default_store()
    folder = f"{name}.{key}" if name in ("healthy", "base") else point_name(name, owner)
    with store.saving("shop", folder, RamBacking(store.memory, "tmpfs", "")) as saving:
        files = files_of(saving.folder, "server")
        files.folder.mkdir()
        files.ram.write_bytes(b"memory of " + name.encode())
        files.state.write_bytes(b"QEVM")
        create = [
            "qemu-img",
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            str(built / "root.raw"),
            "-F",
            "raw",
            str(files.disk),
        ]
        subprocess.run(create, check=True, timeout=60)
        prints = (digest(files.ram), digest(files.state), digest(files.disk))
        layers = {str(layer): digest(layer)}
        machine = SavedMachine(str(built), *prints, "ssh A", layers, machine_type, "max-x86_64-cpu")
        machines = {"server": machine}
        return saving.publish(replace(BASE, name=name, key=key, inputs=inputs, owner=owner, machines=machines))


def backing(disk: Path) -> str:
    done = subprocess.run(["qemu-img", "info", "--output=json", str(disk)], capture_output=True, check=True, timeout=60)
    return str(json.loads(done.stdout)["backing-filename"])


def test_states_come_with_their_layers_and_fit_where_the_image_is_the_same(hosts: Hosts) -> None:
    done = hosts.exported()
    assert done.states == ("base", "healthy")
    assert done.folders == {f"server-app-{IMAGE_KEY[:16]}": False, f"layer-app-folder-{LAYER_KEY[:16]}": True}
    assert hosts.file.stat().st_mode & 0o777 == 0o600
    hosts.other()
    image()
    assert [one.name for one in hosts.imported().states] == ["base", "healthy"]
    found = default_store().at_stage("healthy", key_of(HEALTHY_INPUTS))
    assert found is not None and found.environment == "shop"
    run_async(verify(found.folder, found.require_manifest()))
    disk = files_of(found.folder, "server").disk
    assert backing(disk) == str(hosts.folder / f"other/cache/images/server-app-{IMAGE_KEY[:16]}/root.raw")
    assert files_of(found.folder, "server").ram.read_bytes() == b"memory of healthy"
    assert found.require_manifest().owner == "", "so each environment makes its own host keys"
    pinned = {entry.name: entry.pinned_by for entry in ImageCache().list_images()}
    assert all(str(found.folder) in users for users in pinned.values()) and len(pinned) == 2


def test_the_secrets_in_the_memory_are_told(hosts: Hosts) -> None:
    hosts.exported()
    (warning,) = hosts.said.texts("warning")
    assert "every secret" in warning and "/run/key of server" in warning


def test_with_images_nothing_else_is_needed(hosts: Hosts) -> None:
    assert all(hosts.exported(with_images=True).folders.values())
    hosts.other()
    hosts.imported("mine")
    path = ImageCache().path_of("server", "app", IMAGE_KEY)
    assert (path / "root.raw").read_bytes() == b"disk" * 5000
    assert {one.environment for one in default_store().all()} == {"mine"}
    again = hosts.imported("mine")
    assert (again.known, again.folders) == (("base", "healthy"), ())


def test_a_missing_image_is_named_and_another_build_of_it_is_refused(hosts: Hosts) -> None:
    hosts.exported()
    hosts.other()
    error = hosts.refused()
    assert error.evidence == (f"image server of the key {IMAGE_KEY[:16]} is missing (server-app-{IMAGE_KEY[:16]})",)
    image(b"rebuilt")
    error = hosts.refused()
    assert error.evidence[0].endswith("its files differ: root.raw")


def test_all_that_is_different_on_this_host_is_told_at_once(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts.exported(with_images=True)
    hosts.other()
    hosts.has_qemu("10.1.0", frozenset({"pc-i440fx-10.1"}))
    monkeypatch.setattr(import_checks, "__version__", "9.9.9")
    error = hosts.refused()
    assert error.what == f"{hosts.file} cannot be used on this host"
    assert [" ".join(line.split()[:4]) for line in error.evidence] == [
        "orchestrator 0.1.0 exported it,",
        "it was saved with",
        "QEMU of this host",
    ]
    assert "starts cold" in error.hint


def test_another_processor_is_refused_unless_it_is_emulated(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    kvm = replace(TCG, name="kvm")
    assert [line.split(",")[0] for line in import_checks._host_reasons(INPUTS, kvm)] == ["its machines ran with tcg"]
    seen = {**INPUTS, "accelerator": "kvm", "host CPU": "another"}
    (reason,) = import_checks._host_reasons(seen, kvm)
    assert 'cpu = "x86-64-v2"' in reason
    monkeypatch.setattr(import_checks, "host_cpus", lambda accelerator: {"GenuineIntel"})
    assert import_checks._host_reasons({**seen, "host CPU": "GenuineIntel"}, kvm) == []


def test_a_damaged_file_leaves_nothing(hosts: Hosts) -> None:
    hosts.exported(with_images=True)
    content = bytearray(hosts.file.read_bytes())
    content[-1526] ^= 1  # in the last block, before the padding and the end
    hosts.file.write_bytes(content)
    hosts.other()
    assert "damaged" in hosts.refused().what
    assert ImageCache().list_images() == []
    assert not list((hosts.folder / "other/cache/images").glob(".building*"))
    hosts.file.write_bytes(content[:-5000])
    assert "damaged" in hosts.refused().what


def test_a_disk_that_reads_another_file_of_the_host_is_refused(hosts: Hosts, tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    create = ["qemu-img", "create", "-q", "-f", "qcow2"]
    subprocess.run([*create, "-o", f"data_file={tmp_path / 'raw'},data_file_raw=on", str(disk), "1M"], check=True)
    with pytest.raises(SnapshotError, match="damaged"):
        import_checks.check_disk(disk, "", "x.states")
    subprocess.run([*create, "-b", str(tmp_path / "raw"), "-F", "raw", str(disk)], check=True)
    with pytest.raises(SnapshotError, match="damaged"):
        import_checks.check_disk(disk, "", "x.states")
    import_checks.check_disk(disk, "root.raw", "x.states")  # it is given the image of this host
    disk.write_bytes(b"short")
    with pytest.raises(SnapshotError, match="damaged"):
        import_checks.check_disk(disk, "", "x.states")


def test_a_named_state_becomes_one_of_the_environment_here(hosts: Hosts) -> None:
    put("seeded", HEALTHY_INPUTS, owner=EnvironmentPaths.of("shop").identity)
    assert hosts.exported("seeded").states == ("seeded",)
    hosts.other()
    image()
    hosts.imported()
    assert default_store().get("shop", "seeded", EnvironmentPaths.of("shop").identity).name == "seeded"
    with pytest.raises(SnapshotError, match="exists already"):
        hosts.imported()


def test_what_cannot_be_exported(hosts: Hosts) -> None:
    with pytest.raises(UsageError, match="has no healthy state"):
        states_to_export("another", None)
    shutil.rmtree(default_store().memory)
    put("healthy", HEALTHY_INPUTS, machine_type="")
    with pytest.raises(SnapshotError) as caught:
        hosts.exported()
    assert "earlier version" in caught.value.why
    assert not hosts.file.exists() and not list(hosts.folder.glob(".shop*"))


def test_a_damaged_state_is_not_exported(hosts: Hosts) -> None:
    state = states_to_export("shop", "healthy")[0]
    files_of(state.folder, "server").ram.write_bytes(b"x")
    with pytest.raises(SnapshotError, match="damaged"):
        hosts.exported()
    assert not hosts.file.exists()
