"""What a guest that knows nothing of us is told at its first boot: our key, a host key, its addresses.

It is told twice, because foreign guests listen to one or the other: as the seed of cloud-init (a small ISO 9660 disk
with the label ``cidata``, its data source NoCloud), and as systemd credentials in SMBIOS strings of type 11. Both are
of this environment alone. The host key is a secret: it is in files of mode 0600, and in no argument.
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from orchestrator.guest.keys import HOST_KEY, PUBLIC_HOST_KEY, new_host_key
from orchestrator.topology.model import Interface, Machine
from orchestrator.vm.arguments import MachinePaths
from orchestrator.vm.option_values import value

USER_MAC: Final = "52:54:00:12:34:56"  # QEMU's default for the first card: the user network
USER_ADDRESS: Final = "10.0.2.15"
PREFIX, GATEWAY, NAMESERVER = 24, "10.0.2.2", "10.0.2.3"
LABEL: Final = "cidata"
DRIVE: Final = "orch-seed"
HOST_KEY_FILE: Final = "host-key.pub"  # next to the credentials
CREDENTIAL: Final = "io.systemd.credential.binary:"


def seed_files(machine: Machine, user_key: str, host_key: tuple[str, str]) -> Mapping[str, str]:
    """The files of the NoCloud data source, by name. Pure.

    Args:
        user_key: the public line that opens the guest.
        host_key: private file and public line.
    """
    private, public = host_key
    user = {
        "disable_root": False,
        # Not locked, and not unlocked: as the image has it.
        "users": [{"name": "root", "lock_passwd": False, "ssh_authorized_keys": [user_key]}],
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": private, "ed25519_public": f"{public}\n"},  # as ssh-keygen ends it
        "ssh_pwauth": False,
        "package_update": False,
    }
    cards = {"user": _card(USER_MAC, f"{USER_ADDRESS}/{PREFIX}")}
    if machine.egress or machine.destinations:
        cards["user"] |= {
            "routes": [{"to": "0.0.0.0/0", "via": GATEWAY}],
            "nameservers": {"addresses": [NAMESERVER]},
        }
    cards |= {link.network: _card(link.mac, f"{link.address}/{link.prefix}") for link in machine.links}
    # JSON is YAML.
    return {
        "meta-data": _json({"instance-id": f"orchestrator-{machine.name}", "local-hostname": machine.name}),
        "user-data": "#cloud-config\n" + _json(user),
        "network-config": _json({"version": 2, "ethernets": cards}),
    }


def _card(mac: str, address: str) -> dict[str, object]:
    # The boot waits for the user network alone: of cards that are all optional, systemd would wait for any of them.
    found: dict[str, object] = {"match": {"macaddress": mac}, "addresses": [address], "accept-ra": False}
    return found if mac == USER_MAC else {**found, "optional": True}


def _json(data: object) -> str:
    return json.dumps(data, indent=1) + "\n"


def credentials(machine: Machine, user_key: str, host_key: tuple[str, str]) -> Mapping[str, str]:
    """The same as systemd credentials, by name. Pure.

    systemd 256 takes all of them, systemd 253 all but the network.
    """
    private, public = host_key
    files = [(HOST_KEY, "0600", private), (PUBLIC_HOST_KEY, "0644", public + "\n")]
    lines = [f"f+~ {path} {mode} root root - {_base64(text)}" for path, mode, text in files]
    routed = machine.egress or machine.destinations
    user = (f"Gateway={GATEWAY}", f"DNS={NAMESERVER}") if routed else ()
    return {
        "ssh.authorized_keys.root": user_key + "\n",
        "tmpfiles.extra": "\n".join(lines) + "\n",
        "network.network.10-user": _network(USER_MAC, f"{USER_ADDRESS}/{PREFIX}", user),
        **{f"network.network.10-{link.network}": _of_link(link) for link in machine.links},
    }


def _of_link(link: Interface) -> str:
    return _network(link.mac, f"{link.address}/{link.prefix}", ())


def _network(mac: str, address: str, more: Sequence[str]) -> str:
    link = ["[Match]", f"MACAddress={mac}", *([] if mac == USER_MAC else ["[Link]", "RequiredForOnline=no"])]
    return "\n".join(
        [
            *link,
            "[Network]",
            f"Address={address}",
            "LinkLocalAddressing=no",
            "IPv6AcceptRA=no",
            "ConfigureWithoutCarrier=yes",
            *more,
            "",
        ]
    )


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def smbios_text(name: str, content: str) -> str:
    """A credential as the string that systemd reads of SMBIOS. Pure.

    >>> smbios_text("a.b", "yes")
    'io.systemd.credential.binary:a.b=eWVz'
    """
    return f"{CREDENTIAL}{name}={_base64(content)}"


def prepare(machine: Machine, user_key: str, paths: MachinePaths) -> tuple[str, ...]:
    """Write seed and credentials, unless this machine has them: its disk knows them then. The arguments that show them.

    Raises:
        OSError: they cannot be written.
    """
    if not (paths.credentials / HOST_KEY_FILE).exists():
        paths.credentials.mkdir(parents=True, exist_ok=True, mode=0o700)
        host_key = new_host_key()
        _write(paths.seed, _iso(seed_files(machine, user_key, host_key)))
        for name, content in credentials(machine, user_key, host_key).items():
            _write(paths.credentials / name, smbios_text(name, content).encode())
        _write(paths.credentials / HOST_KEY_FILE, host_key[1].encode())
    drive = f"file={value(paths.seed)},id={DRIVE},if=none,format=raw,readonly=on"
    arguments = ["-drive", drive, "-device", f"virtio-blk-pci,drive={DRIVE},serial={DRIVE}"]
    for file in sorted(paths.credentials.iterdir()):
        if file.name != HOST_KEY_FILE:
            arguments += ["-smbios", f"type=11,path={value(file)}"]
    return tuple(arguments)


def told_host_key(paths: MachinePaths) -> str:
    """The public host key that the guest was told, one line; empty where it was told none."""
    try:
        return (paths.credentials / HOST_KEY_FILE).read_text()
    except FileNotFoundError:
        return ""


def _write(path: Path, content: bytes) -> None:
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)


def _iso(files: Mapping[str, str]) -> bytes:
    """An ISO 9660 image with Rock Ridge and Joliet, which has the names as they are."""
    import pycdlib  # a quarter of a second, and few machines need it

    image = pycdlib.PyCdlib()
    image.new(interchange_level=3, rock_ridge="1.09", joliet=3, vol_ident=LABEL)
    for number, (name, text) in enumerate(files.items()):
        data = text.encode()
        image.add_fp(io.BytesIO(data), len(data), f"/F{number}.;1", rr_name=name, joliet_path=f"/{name}")
    made = io.BytesIO()
    image.write_fp(made)
    image.close()
    return made.getvalue()
