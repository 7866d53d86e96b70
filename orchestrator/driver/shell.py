"""The texts that the driver runs in guests. Pure.

Commands have the contract of the NixOS test driver: bash with ``-euo pipefail``, the folder /tmp, the environment of
root's login, a new shell for each, output complete when all that write to it have closed it.
"""

from __future__ import annotations

import re
import shlex

PROFILE = "/run/orchestrator/login-environment"
# Once in a boot: /etc/profile may take an emulated guest half a second.
LOAD_PROFILE = (
    f"[ -e {PROFILE} ] || {{ mkdir -p /run/orchestrator; bash -lc 'export -p >&3' 3> {PROFILE}.$$ > /dev/null 2>&1; "
    f"mv -f {PROFILE}.$$ {PROFILE}; }}; . {PROFILE}"
)
VARIABLES = "export USER=root HOME=/root LOGNAME=root DISPLAY=:0.0 PAGER="
CONSOLE = "{ exec 2> /dev/console; } 2> /dev/null || :"


def stderr_file(slot: int) -> str:
    """Where a command's stderr goes; of one of so many that may run at once."""
    return f"/run/orchestrator/stderr-{slot}"


def command_text(command: str, stderr: str = "") -> str:
    """A command as text for bash.

    Args:
        stderr: a redirection for bash, that outlives the command; empty: it stays as it is.
    """
    prologue = [LOAD_PROFILE, VARIABLES, "cd /tmp", stderr, "unset OLDPWD", "set -euo pipefail"]
    return "\n".join([*filter(None, prologue), command])


def to_file(slot: int) -> str:
    """stderr into a file that begins empty. What an earlier command left running goes on writing at its end."""
    path = stderr_file(slot)
    return f": > {path}; exec 2>> {path}"


def as_text(command: str | list[str] | tuple[str, ...]) -> str:
    """A command as one text; words are quoted."""
    return command if isinstance(command, str) else shlex.join(command)


def port_loop(port: int, host: str, *, opened: bool, interval: float) -> str:
    """Return when a TCP port answers, or no longer does."""
    probe = f"( : < /dev/tcp/{host}/{port} ) 2> /dev/null"
    return f"{_PAUSE}\nwhile {'! ' if opened else ''}{probe}; do pause {interval:.3f}; done"


# A pause that starts no program.
_PAUSE = 'exec 9<> <(:)\npause() { read -rt "$1" -u 9 || :; }'


def file_loop(path: str, *, interval: float) -> str:
    """Return when a file is there. The shell expands the path."""
    found = f'found() {{ local each; for each in {path}; do [ ! -e "$each" ] || return 0; done; return 1; }}'
    return f"{found}\n{_PAUSE}\nuntil found; do pause {interval:.3f}; done"


def unix_socket_loop(path: str, *, datagram: bool, interval: float) -> str:
    """Return when somebody listens on a UNIX socket, as the kernel lists it."""
    # Flags 00010000: it accepts connections; type 0002: datagrams.
    wanted = '[ "$type" = 0002 ]' if datagram else '[ "$flags" = 00010000 ]'
    names = "num count protocol flags type state inode place"
    found = (
        f"found() {{ local {names}; while read -r {names}; do "
        f'[ "$place" != {shlex.quote(path)} ] || ! {wanted} || return 0; done < /proc/net/unix; return 1; }}'
    )
    return f"{found}\n{_PAUSE}\nuntil found; do pause {interval:.3f}; done"


def user_systemctl(words: list[str]) -> list[str]:
    """``systemctl --user`` for a command that is run as the user."""
    script = 'XDG_RUNTIME_DIR=/run/user/$(id -u) exec systemctl --user "$@"'
    return ["sh", "-c", script, "sh", *words]


def tty_text(tty: str) -> list[str]:
    """The text of a virtual terminal, line by line."""
    script = 'fold -w "$(stty -F /dev/tty"$1" size | awk \'{print $2}\')" < /dev/vcs"$1"'
    return ["bash", "-c", script, "bash", tty]


def python_name(name: str) -> str:
    """A machine's name as a variable of Python.

    >>> python_name("client-2")
    'client_2'
    """
    mangled = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"_{mangled}" if mangled[:1].isdigit() else mangled
