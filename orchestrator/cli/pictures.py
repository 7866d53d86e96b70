"""Pictures in the terminal, by the protocols of kitty and of iTerm2. Pure but for `protocol_of`'s variables."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping

from orchestrator.errors import HostError

KITTY_CHUNK = 4096  # characters of one escape sequence
PNG = b"\x89PNG\r\n\x1a\n"

Protocol = Callable[[bytes], bytes]


def protocol_of(variables: Mapping[str, str]) -> Protocol | None:
    """How this terminal shows a PNG picture; None where it is not known to.

    Multiplexers inherit the variables of the terminal around them, and let no picture through.
    """
    terminal = variables.get("TERM", "")
    if variables.get("TMUX") or variables.get("STY") or terminal.startswith(("screen", "tmux")):
        return None
    if terminal == "xterm-kitty" or variables.get("KITTY_WINDOW_ID"):
        return kitty
    if variables.get("TERM_PROGRAM") in ("iTerm.app", "WezTerm"):
        return iterm
    return None


def kitty(png: bytes) -> bytes:
    """A picture at the cursor, by kitty's graphics protocol.

    >>> kitty(b"picture")
    b'\\x1b_Ga=T,f=100,q=2,m=0;cGljdHVyZQ==\\x1b\\\\\\n'
    """
    text = base64.b64encode(png)
    chunks = [text[at : at + KITTY_CHUNK] for at in range(0, len(text), KITTY_CHUNK)]
    written = b""
    for number, chunk in enumerate(chunks):
        keys = b"a=T,f=100,q=2," if number == 0 else b"q=2,"
        more = b"m=0" if number == len(chunks) - 1 else b"m=1"
        written += b"\x1b_G" + keys + more + b";" + chunk + b"\x1b\\"
    return written + b"\n"


def iterm(png: bytes) -> bytes:
    """A picture at the cursor, by iTerm2's protocol.

    >>> iterm(b"picture")
    b'\\x1b]1337;File=inline=1;size=7;preserveAspectRatio=1:cGljdHVyZQ==\\x07\\n'
    """
    keys = f"inline=1;size={len(png)};preserveAspectRatio=1".encode()
    return b"\x1b]1337;File=" + keys + b":" + base64.b64encode(png) + b"\x07\n"


def png_size(png: bytes) -> tuple[int, int]:
    """Width and height of a PNG picture.

    Raises:
        HostError: it is none.
    """
    if not png.startswith(PNG) or len(png) < 24:
        raise HostError("QEMU wrote no PNG picture", why="it may have been built without libpng")
    return int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big")
