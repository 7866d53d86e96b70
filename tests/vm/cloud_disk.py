"""Makes a disk like the cloud image of a distribution, of Debian's packages: GPT, GRUB for both firmwares, cloud-init.

Nobody has prepared it for us: no key, no address, sshd as its package configures it. One disk has a guest agent,
another one is the same without it. Run as a program: ``python tests/vm/cloud_disk.py FOLDER``.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path

SECTOR, MIB = 512, 1 << 20
BIOS_BOOT, ESP, ROOT = 1 * MIB, 2 * MIB, 34 * MIB  # where the partitions begin
ROOT_SIZE = 1536 * MIB
PACKAGES = (
    "systemd-sysv udev dbus linux-image-cloud-amd64 initramfs-tools zstd cloud-init openssh-server iproute2 netbase "
    "qemu-guest-agent python3-minimal"
)
TABLE = f"""label: gpt
start={BIOS_BOOT // SECTOR}, size={(ESP - BIOS_BOOT) // SECTOR}, type=21686148-6449-6E6F-744E-656564454649
start={ESP // SECTOR}, size={(ROOT - ESP) // SECTOR}, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
start={ROOT // SECTOR}, size={ROOT_SIZE // SECTOR}, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
"""
# The second line spares an emulated CPU what proves nothing here.
OPTIONS = (
    "root=LABEL=cloudimg ro console=tty0 console=ttyS0,115200n8 "
    "mitigations=off no_timer_check cryptomgr.notests audit=0 lsm=landlock "
    "modprobe.blacklist=kvm_amd,kvm_intel,sr_mod,sg,ata_piix,psmouse,serio_raw,vmw_vsock_vmci_transport,vsock_loopback "
    "systemd.mask=systemd-hwdb-update.service systemd.mask=systemd-binfmt.service systemd.mask=e2scrub_reap.service "
    "systemd.mask=systemd-pcrlock.socket systemd.mask=systemd-tpm2-setup.service systemd.mask=ldconfig.service "
    "systemd.mask=systemd-journal-catalog-update.service systemd.mask=dev-hugepages.mount"
)
GRUB = f"""
search --no-floppy --set=root --label cloudimg
linux /vmlinuz {OPTIONS}
initrd /initrd.img
boot
"""
MODULES = ["part_gpt", "ext2", "fat", "search", "search_label", "linux", "normal", "echo"]
# What an image for the cloud has, and a fresh installation has not.
CUSTOMIZE = """
set -eu
printf 'LABEL=cloudimg / ext4 rw,discard 0 1\\n' > "$1/etc/fstab"
rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/hostname"
: > "$1/etc/machine-id"
chroot "$1" usermod -p '*' root
chroot "$1" systemctl enable systemd-networkd.service
printf 'datasource_list: [ NoCloud, None ]\\n' > "$1/etc/cloud/cloud.cfg.d/90_dpkg.cfg"
printf 'MODULES=list\\nCOMPRESS=zstd\\nFSTYPE=ext4\\n' > "$1/etc/initramfs-tools/conf.d/cloud"
printf 'virtio_pci\\nvirtio_blk\\next4\\n' >> "$1/etc/initramfs-tools/modules"
chroot "$1" update-initramfs -u
"""


def make(folder: Path) -> Mapping[str, Path]:
    """The disks by name, made in ``folder`` unless they are there: ``agent`` (raw), ``plain`` (qcow2), ``container``.

    ``plain`` has no guest agent, and its cloud-init is switched off. ``container`` is the same system without kernel
    and cloud-init, as an OCI archive.
    """
    names = {"agent": "cloud-agent.raw", "plain": "cloud-plain.qcow2", "container": "container.tar"}
    disks = {name: folder / file for name, file in names.items()}
    if all(disk.is_file() for disk in disks.values()):
        return disks
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / "root.ext4"
    if not root.is_file():
        _file_system(folder, root)
    _container(folder, disks["container"])
    _partition(folder, root, disks["agent"])
    # As if the package had never been installed; and what systemd does with its credentials is seen alone.
    gone = ("/usr/sbin/qemu-ga", "/etc/init.d/qemu-guest-agent", "/usr/lib/systemd/system/qemu-guest-agent.service")
    changes = [*(f"rm {path}" for path in gone), "cd /etc/cloud", "write /dev/null cloud-init.disabled", ""]
    _run(["debugfs", "-w", "-f", "-", str(root)], input="\n".join(changes))
    _partition(folder, root, folder / "plain.raw")
    _run(["qemu-img", "convert", "-O", "qcow2", str(folder / "plain.raw"), str(disks["plain"])])
    for left in (root, folder / "plain.raw"):
        left.unlink()
    return disks


def _file_system(folder: Path, root: Path) -> None:
    """An ext4 of the packages, without root where the user has subordinate ids."""
    hook = folder / "customize"
    hook.write_text(f"#!/bin/sh{CUSTOMIZE}")
    hook.chmod(0o755)
    inside = [] if os.geteuid() == 0 else ["unshare", "--map-auto", "--map-root-user"]
    _run(
        [
            "mmdebstrap",
            "--variant=minbase",
            "--format=tar",
            f"--include={','.join(PACKAGES.split())}",
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            f"--customize-hook={hook}",
            "trixie",
            str(folder / "root.tar"),
        ]
    )
    script = (
        'mkdir tree && tar -x -f root.tar -C tree --numeric-owner --exclude="./dev/*" && '
        # GRUB of Debian 12 reads no checksum seed.
        "mke2fs -q -F -t ext4 -L cloudimg -m 0 -O ^metadata_csum_seed,^orphan_file -d tree "
        f"{root.name}.new {ROOT_SIZE // 1024}k"
        f" && rm -rf tree && mv {root.name}.new {root.name}"
    )
    _run([*inside, "sh", "-c", script], cwd=folder)


def _container(folder: Path, target: Path) -> None:
    """An OCI archive of two layers: all packages, and what a container has not."""
    layout = folder / "layout"
    blobs = layout / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(path: Path, kind: str) -> dict[str, object]:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
        path.rename(blobs / digest)
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}

    def document(data: object, kind: str) -> dict[str, object]:
        path = layout / "document.json"
        path.write_text(json.dumps(data))
        return blob(path, kind)

    changes = layout / "changes.tar"
    with tarfile.open(changes, "w") as archive:
        # Everything below /boot is hidden, and the modules of the kernel that is not there any more.
        for name in ("boot/.wh..wh..opq", "usr/lib/.wh.modules", ".wh.vmlinuz", ".wh.initrd.img", "etc/.wh.fstab"):
            archive.addfile(tarfile.TarInfo(name))
        archive.addfile(tarfile.TarInfo("etc/cloud/cloud-init.disabled"))
    kind = "application/vnd.oci.image.layer.v1.tar"
    layers = [blob(folder / "root.tar", kind), blob(changes, kind)]
    facts = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}
    config = document(facts, "application/vnd.oci.image.config.v1+json")
    manifest = {"schemaVersion": 2, "config": config, "layers": layers}
    index = {"schemaVersion": 2, "manifests": [document(manifest, "application/vnd.oci.image.manifest.v1+json")]}
    (layout / "index.json").write_text(json.dumps(index))
    (layout / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    _run(["tar", "-c", "-f", str(target), "-C", str(layout), "."])
    shutil.rmtree(layout)


def _partition(folder: Path, root: Path, disk: Path) -> None:
    """A disk that GRUB boots under BIOS and UEFI alike."""
    with disk.open("wb") as file:
        file.truncate(ROOT + ROOT_SIZE + MIB)
    _run(["sfdisk", "-q", str(disk)], input=TABLE)
    config = folder / "grub.cfg"
    config.write_text(GRUB)
    core, efi, esp = folder / "core.img", folder / "grub.efi", folder / "esp.img"
    made = ["grub-mkimage", "-c", str(config), "-p", "/boot/grub"]
    _run([*made, "-O", "i386-pc", "-o", str(core), "biosdisk", *MODULES])
    _run([*made, "-O", "x86_64-efi", "-o", str(efi), *MODULES])
    with esp.open("wb") as file:
        file.truncate(ROOT - ESP)
    _run(["mformat", "-i", str(esp), "-T", str((ROOT - ESP) // SECTOR), "::"])
    _run(["mmd", "-i", str(esp), "::/EFI", "::/EFI/BOOT"])
    _run(["mcopy", "-i", str(esp), str(efi), "::/EFI/BOOT/BOOTX64.EFI"])
    for part, where in ((esp, ESP), (root, ROOT)):
        _run(["dd", f"if={part}", f"of={disk}", "bs=1M", f"seek={where // MIB}", "conv=notrunc,sparse", "status=none"])
    _install_grub(disk, core.read_bytes())
    for left in (config, core, efi, esp):
        left.unlink()


def _install_grub(disk: Path, core: bytes) -> None:
    """What grub-install does to a disk, which it would want to be a block device: boot sector and core image."""
    first = BIOS_BOOT // SECTOR
    boot = bytearray(Path("/usr/lib/grub/i386-pc/boot.img").read_bytes()[:440])
    struct.pack_into("<Q", boot, 0x5C, first)  # where the core image begins
    boot[0x66:0x68] = b"\x90\x90"  # believe the drive number that the BIOS gives
    image = bytearray(core)
    struct.pack_into("<Q", image, SECTOR - 12, first + 1)  # where its second sector is
    with disk.open("r+b") as file:
        file.write(boot)
        file.seek(BIOS_BOOT)
        file.write(image)


def _run(argv: list[str], *, input: str | None = None, cwd: Path | None = None) -> None:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    subprocess.run(argv, input=input, cwd=cwd, text=True, check=True, env={**os.environ, "PATH": path})


if __name__ == "__main__":
    for name, made in make(Path(sys.argv[1])).items():
        print(name, made)
