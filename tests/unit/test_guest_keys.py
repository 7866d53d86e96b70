"""Keys: what is written, and what a guest may claim."""

from __future__ import annotations

import subprocess
from pathlib import Path

import paramiko
import pytest

from orchestrator.errors import MachineError
from orchestrator.guest.keys import host_key_blob, make_user_key


def test_a_user_key_is_private_and_new_each_time(tmp_path: Path) -> None:
    path = tmp_path / "id_ed25519"
    path.write_text("older\n")
    path.chmod(0o644)
    first = make_user_key(path, "orchestrator-shop")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.with_suffix(".pub").read_text() == first + "\n"
    assert make_user_key(path, "orchestrator-shop") != first


def test_openssh_and_paramiko_read_the_key(tmp_path: Path) -> None:
    line = make_user_key(tmp_path / "key", "me")
    told = subprocess.run(["ssh-keygen", "-y", "-f", str(tmp_path / "key")], capture_output=True, text=True, check=True)
    assert told.stdout.split()[:2] == line.split()[:2]
    assert paramiko.Ed25519Key.from_private_key_file(str(tmp_path / "key")).asbytes() == host_key_blob("server", line)


@pytest.mark.parametrize(
    "line", ["", "ssh-ed25519", "ssh-rsa AAAAB3NzaC1yc2E= root@x", "ssh-ed25519 A", "ssh-ed25519 ééé", "cat: no file"]
)
def test_a_guest_that_gives_something_else(line: str) -> None:
    with pytest.raises(MachineError, match="machine server has no ed25519 host key"):
        host_key_blob("server", line)
