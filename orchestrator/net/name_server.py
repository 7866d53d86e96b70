"""The name server in a guest, which answers from ``/etc/hosts``: for programs that ask DNS and do not read the file.

systemd holds its socket and starts it at the first question, so a machine that asks nothing pays one call. The program
(``name_server.pl``) is Perl because that is in every Debian and Ubuntu.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

NO_PERL: Final = 74
ADDRESS: Final = "127.0.1.53"  # systemd-resolved has 127.0.0.53, and 127.0.0.54
UNIT: Final = "orchestrator-names"
PLACE: Final = "/run/orchestrator/names.pl"
PROGRAM: Final = Path(__file__).with_name("name_server.pl")
NXDOMAIN: Final = 3
SERVFAIL: Final = 2
LACKS: Final[Mapping[int, tuple[str, str]]] = MappingProxyType(
    {
        NO_PERL: (
            "cannot have a name server",
            "add the package perl-base to the recipe of its image (in NixOS pkgs.perl to environment.systemPackages), "
            "or remove dns from the machine",
        ),
    }
)


def script(*, forwarded: bool) -> str:
    """Shell for the guest, idempotent: no question is lost once it has run.

    Args:
        forwarded: what it does not know is asked elsewhere, so it says that it failed, not that there is no such name.
    """
    unknown = SERVFAIL if forwarded else NXDOMAIN
    start = ["systemd-run", "--quiet", f"--unit={UNIT}", f"--socket-property=ListenDatagram={ADDRESS}:53"]
    start += [f"{prefix}=DefaultDependencies=no" for prefix in ("--socket-property", "--property")]
    start += ["perl", PLACE, "/etc/hosts", str(unknown)]
    return "\n".join(
        [
            f'command -v perl >/dev/null || {{ echo "the image has no program perl" >&2; exit {NO_PERL}; }}',
            "mkdir -p -m 0755 /run/orchestrator",
            f"cat > {PLACE} <<'PROGRAM'",
            PROGRAM.read_text(encoding="utf-8") + "PROGRAM",
            # It listens already when a guest is handed over again.
            f"[ -e /run/systemd/transient/{UNIT}.socket ] || {shlex.join(start)}",
        ]
    )
