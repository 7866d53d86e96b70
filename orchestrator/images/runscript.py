"""The text of ``bin/run-<name>-vm`` for an image that does not come from Nix.

Pure. The script keeps the contract of the one `nixos-rebuild build-vm` makes: the
same variables, the same order of the same QEMU arguments, the script's pid becomes
QEMU's. QEMU is found on PATH, as the host decides which one it is.
"""

from __future__ import annotations

import re

from orchestrator.vm.architecture import ARCHITECTURES

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*\Z")

# The disk that the guest writes to, made at the first start on top of the image's, and the folder to start QEMU in.
BEFORE_QEMU = """\
image=$(CDPATH='' cd -- "$(dirname -- "$(readlink -f -- "$0")")/.." && pwd)

NIX_DISK_IMAGE=$(readlink -f -- "${{NIX_DISK_IMAGE:-./{name}.qcow2}}")
if ! test -e "$NIX_DISK_IMAGE"; then
    # Complete or absent: an interrupted first start must not leave half a disk that the next one uses.
    qemu-img create -q -f qcow2 -b "$image/{disk}" -F {format} "$NIX_DISK_IMAGE.$$"
    mv -- "$NIX_DISK_IMAGE.$$" "$NIX_DISK_IMAGE"
fi

# Pasted into an option of QEMU, where a comma ends a value, and two are one that does not.
disk=$(printf '%sx' "$NIX_DISK_IMAGE" | sed 's/,/,,/g')
disk=${{disk%x}}

if [ -z "$TMPDIR" ] || [ -z "$USE_TMPDIR" ]; then
    TMPDIR=$(mktemp -d nix-vm.XXXXXXXXXX --tmpdir)
fi
export TMPDIR
cd "$TMPDIR"
"""

_DISK_TEXT = """\
#!/bin/sh
# Starts a virtual machine of this disk, with the contract of the script that `nixos-rebuild build-vm` makes:
# NIX_DISK_IMAGE, USE_TMPDIR with TMPDIR, QEMU_NET_OPTS, QEMU_OPTS, further arguments to QEMU.
set -e

{before_qemu}
# shellcheck disable=SC2086 # QEMU_OPTS is split on blanks, as the contract says
exec qemu-system-x86_64 -machine accel=kvm:tcg -cpu max \\
    -name {name} \\
    -m 1024 \\
    -smp 1 \\
{firmware}    -device virtio-rng-pci \\
    -net nic,netdev=user.0,model=virtio -netdev user,id=user.0,"$QEMU_NET_OPTS" \\
    -drive cache=writeback,file="$disk",id=drive1,if=none,index=1,werror=report \\
    -device virtio-blk-pci,bootindex=1,drive=drive1,serial=root \\
    -device virtio-keyboard \\
    $QEMU_OPTS \\
    "$@"
"""

_TEXT = """\
#!/bin/sh
# Starts a virtual machine of this image, with the contract of the script that `nixos-rebuild build-vm` makes:
# NIX_DISK_IMAGE, USE_TMPDIR with TMPDIR, QEMU_NET_OPTS, QEMU_KERNEL_PARAMS, QEMU_OPTS, further arguments to QEMU.
set -e

{before_qemu}
# shellcheck disable=SC2086 # QEMU_OPTS is split on blanks, as the contract says
exec {program} -machine {machine}accel=kvm:tcg -cpu max \\
    -name {name} \\
    -m {memory} \\
    -smp {cpus} \\
{devices}    -device virtio-rng-pci \\
    -net nic,netdev=user.0,model=virtio -netdev user,id=user.0,"$QEMU_NET_OPTS" \\
    -drive cache=writeback,file="$disk",id=drive1,if=none,index=1,werror=report \\
    -device virtio-blk-pci,bootindex=1,drive=drive1,serial=root \\
    -device virtio-keyboard \\
    -kernel "${{NIXPKGS_QEMU_KERNEL_{variable}:-$image/vmlinuz}}" \\
    -initrd "$image/initrd.img" \\
    -append "$(cat "$image/kernel-params") $QEMU_KERNEL_PARAMS" \\
    $QEMU_OPTS \\
    "$@"
"""


def run_script(name: str, *, memory: int, cpus: int, architecture: str = "amd64") -> str:
    """The script's text.

    Args:
        name: of the machine; letters, digits and ``_.-``.
        memory: MiB; a later ``-m`` argument wins.
        cpus: a later ``-smp`` argument wins.
        architecture: the guest's processor, as Debian calls it.

    Raises:
        ValueError: the name is not a valid file name and shell word.
        KeyError: no QEMU of ours runs this processor.
    """
    guest = ARCHITECTURES[architecture]
    if not _NAME.match(name):
        raise ValueError(f"not a machine name: {name!r}")
    variable = re.sub(r"[^A-Za-z0-9]", "_", name)
    before = before_qemu(name, "root.raw")
    machine = f"{guest.machine}," if guest.machine else ""
    devices = "".join(f"    {option} \\\n" for option in guest.devices)
    parts = {"program": guest.program, "machine": machine, "devices": devices, "variable": variable}
    return _TEXT.format(name=name, memory=memory, cpus=cpus, before_qemu=before, **parts)


def disk_script(name: str, disk: str, *, firmware: str = "") -> str:
    """The text for a disk that boots by itself. Its kernel is its own: kernel parameters do not reach it.

    Args:
        name: of the image; letters, digits and ``_.-``.
        disk: the file of the image, ``*.raw`` or ``*.qcow2``.
        firmware: the file of the image that starts it; empty: the BIOS of QEMU.

    Raises:
        ValueError: the name is not a valid file name and shell word.
    """
    if not _NAME.match(name):
        raise ValueError(f"not a machine name: {name!r}")
    with_firmware = f'    -bios "$image/{firmware}" \\\n' if firmware else ""
    return _DISK_TEXT.format(name=name, firmware=with_firmware, before_qemu=before_qemu(name, disk))


def before_qemu(name: str, disk: str) -> str:
    """What every run script does before QEMU.

    Args:
        disk: the file of the image that the guest's disk rests on; its suffix is its format.
    """
    return BEFORE_QEMU.format(name=name, disk=disk, format=disk.rpartition(".")[2]).rstrip("\n") + "\n"


def kernel_params(parameters: tuple[str, ...]) -> str:
    """The content of ``kernel-params``: one line, as the kernel reads it.

    Raises:
        ValueError: a parameter contains a line break.
    """
    for parameter in parameters:
        if "\n" in parameter:
            raise ValueError(f"a kernel parameter cannot hold a line break: {parameter!r}")
    return " ".join(parameters) + "\n"
