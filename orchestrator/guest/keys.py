"""Keys of one environment: made at its start, pinned, gone with it."""

from __future__ import annotations

import base64
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from orchestrator.errors import MachineError

# Where a guest keeps them; Debian and NixOS alike.
AUTHORIZED_KEYS = "/root/.ssh/authorized_keys"
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
PUBLIC_HOST_KEY = f"{HOST_KEY}.pub"


def make_user_key(path: Path, comment: str) -> str:
    """Write a new ed25519 private key (0600) in OpenSSH's format; return its public line."""
    key = Ed25519PrivateKey.generate()
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    line = f"{public} {comment}"
    path.with_suffix(".pub").write_text(line + "\n")
    return line


def new_host_key() -> tuple[str, str]:
    """A new ed25519 host key: OpenSSH's private file, and the public line."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    return private, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def host_key_blob(machine: str, public_line: str) -> bytes:
    """The key in ``ssh-ed25519 AAAA… comment``, as it comes over the wire.

    Raises:
        MachineError: the guest gave something else.
    """
    fields = public_line.split()
    try:
        if len(fields) < 2 or fields[0] != "ssh-ed25519":
            raise ValueError("not a public line of that kind")
        return base64.b64decode(fields[1], validate=True)
    except ValueError as error:
        raise MachineError(
            f"machine {machine} has no ed25519 host key",
            why=f"the guest answered {public_line[:80]!r}",
            hint=f"orchestrator console {machine}",
        ) from error
