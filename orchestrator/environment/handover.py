"""The hand-over: what the orchestrator does in a guest when its agent first answers. Pure text.

One script, run once through the guest agent and safe to run again: host name,
addresses and names of the network, this environment's SSH key, the stream of
the journal to the host, files pushed by the topology. It prints the host key.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from orchestrator.net.networks import guest_network_script
from orchestrator.topology.model import GuestFile, Machine, Network
from orchestrator.vm.arguments import JOURNAL_PORT

JOURNAL_UNIT = "orchestrator-journal.service"
JOURNAL_FIELDS = (
    "MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT,UNIT,MESSAGE_ID,JOB_RESULT,JOB_TYPE,_PID,EXIT_CODE,EXIT_STATUS"
)
HOST_KEY = "/etc/ssh/ssh_host_ed25519_key.pub"


def handover_script(
    machine: Machine, machines: Mapping[str, Machine], networks: Mapping[str, Network], user_key: str
) -> str:
    """Shell for ``sh -s``; its only output is the guest's ed25519 host key, if it exists yet."""
    return "\n".join(
        [
            "set -e",
            guest_network_script(machine, machines, networks),
            _authorize(user_key),
            _journal(),
            f"cat {HOST_KEY} 2>/dev/null || true",
            "",
        ]
    )


def _authorize(user_key: str) -> str:
    """Only this environment's key opens the guest."""
    return "\n".join(
        [
            "mkdir -p -m 0700 /root/.ssh",
            f"printf '%s\\n' {shlex.quote(user_key)} > /root/.ssh/authorized_keys",
            "chmod 0600 /root/.ssh/authorized_keys",
        ]
    )


def _journal() -> str:
    """A transient unit that writes the whole journal, and what follows, to the host's port.

    It needs nothing in the image, and no reload of systemd, which costs seconds
    under emulation. It is the orchestrator's, not the stack's: it waits for nothing.
    """
    pump = (
        "PATH=$PATH:/run/current-system/sw/bin; "
        f"exec journalctl --boot --follow --lines=all --output=json --output-fields={JOURNAL_FIELDS} "
        f"> /dev/virtio-ports/{JOURNAL_PORT}"
    )
    properties = ("DefaultDependencies=no", "Restart=on-failure", "RestartSec=1", "Nice=5")
    start = ["systemd-run", "--quiet", "--no-block", f"--unit={JOURNAL_UNIT}", "--collect"]
    start += [f"--property={one}" for one in properties]
    line = shlex.join([*start, "/bin/sh", "-c", pump])
    return f"systemctl --quiet is-active {JOURNAL_UNIT} || {line}"


def file_script(target: str, mode: int) -> str:
    """Shell that writes stdin to ``target``; the content is in no argument."""
    quoted = shlex.quote(target)
    return (
        f'mkdir -p -m 0755 "$(dirname {quoted})" && umask 077 && cat > {quoted}.new '
        f"&& chmod {mode:04o} {quoted}.new && mv -f {quoted}.new {quoted}"
    )


def read_file(file: GuestFile) -> bytes | None:
    """The content of a pushed file; None when it is missing and may be."""
    if not file.source.exists() and not file.required:
        return None
    return file.source.read_bytes()


def known_hosts_line(port: int, host_key: str) -> str:
    """For OpenSSH: this port of loopback is this key."""
    fields = host_key.split()
    return f"[127.0.0.1]:{port} {fields[0]} {fields[1]}"
