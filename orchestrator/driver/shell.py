"""The texts that the driver runs in guests. Pure.

Commands have the contract of the NixOS test driver: bash with ``-euo pipefail``, the folder /tmp, the environment of
root's login, a new shell for each, output complete when all that write to it have closed it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

# Once in a boot: /etc/profile may take an emulated guest half a second.
FOLDER = "/run/orchestrator"  # of our own files in a guest
OWN = {"USER": "root", "HOME": "/root", "LOGNAME": "root", "DISPLAY": ":0.0", "PAGER": ""}
OF_SHELL = frozenset({"_", "PWD", "OLDPWD", "SHLVL", "BASH_EXECUTION_STRING"})
# Not in a group with a redirection of its own: bash would take it back at the end of the group.
CONSOLE = "[ ! -w /dev/console ] || exec 2> /dev/console"


def login_text() -> str:
    """Prints the environment of this session, a NUL more, and that of a login."""
    return f"mkdir -p {FOLDER}; env -0; printf '\\0'; bash -lc 'exec env -0' 2> /dev/null"


def stderr_file(slot: int) -> str:
    """Where a command's stderr goes; of one of so many that may run at once."""
    return f"{FOLDER}/stderr-{slot}"


def login_exports(output: bytes) -> str:
    """What root's login adds to the environment of a plain session, as text for bash.

    Args:
        output: of `login_text`.
    """
    plain, _, login = output.partition(b"\0\0")
    before, after = _variables(plain), _variables(login)
    changed = {name: value for name, value in after.items() if before.get(name) != value and name not in OF_SHELL}
    words = [f"{name}={shlex.quote(value)}" for name, value in ({**changed, **OWN}).items()]
    return f"export {' '.join(words)}"


def _variables(output: bytes) -> dict[str, str]:
    pairs = (item.decode("utf-8", "surrogateescape").partition("=") for item in output.split(b"\0") if item)
    return {name: value for name, _, value in pairs if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", name)}


def command_text(command: str, login: str, stderr: str) -> str:
    """A command as text for bash.

    Args:
        login: of `login_exports`.
        stderr: a redirection for bash, that outlives the command.
    """
    return f"{login}; cd /tmp; unset OLDPWD; {stderr}; set -euo pipefail\n{command}"


def to_file(slot: int) -> str:
    """stderr into a file that begins empty. What an earlier command left running goes on writing at its end."""
    path = stderr_file(slot)
    return f": > {path}; exec 2>> {path}"


def as_text(command: str | Sequence[str]) -> str:
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
