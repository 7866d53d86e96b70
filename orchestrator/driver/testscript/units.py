"""Units that NixOS calls otherwise than Debian. Pure."""

from __future__ import annotations

# NixOS's name → Debian's. It is used only where systemd knows no unit of the first name.
_PAIRS = {
    "sshd": "ssh",
    "httpd": "apache2",
    "mysql": "mariadb",
    "redis": "redis-server",
}
ALIASES = {
    **{name: f"{other}.service" for name, other in _PAIRS.items()},
    **{f"{name}.service": f"{other}.service" for name, other in _PAIRS.items()},
    "postgresql.target": "postgresql.service",
}
