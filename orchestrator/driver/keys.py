"""Keys of a keyboard with the US layout, by QEMU's names, and how they are pressed."""

from __future__ import annotations

import asyncio
import re
from difflib import get_close_matches

from orchestrator.errors import UsageError
from orchestrator.vm.qmp import Monitor

HOLD = 30  # milliseconds that a key is down
BETWEEN = 0.01  # seconds between keys

NAMED = {
    "\n": "ret",
    "\t": "tab",
    "\b": "backspace",
    "\x1b": "esc",
    " ": "spc",
    "-": "minus",
    "=": "equal",
    "[": "bracket_left",
    "]": "bracket_right",
    "\\": "backslash",
    ";": "semicolon",
    "'": "apostrophe",
    "`": "grave_accent",
    ",": "comma",
    ".": "dot",
    "/": "slash",
}
# Which key gives which character with shift.
SHIFTED = dict(zip('!@#$%^&*()_+{}|:"~<>?', "1234567890-=[]\\;'`,./", strict=True))
# Every key of QEMU (QKeyCode).
_NAMES = """
    shift shift_r alt alt_r ctrl ctrl_r menu esc 1 2 3 4 5 6 7 8 9 0 minus equal backspace tab q w e r t y u i o p
    bracket_left bracket_right ret a s d f g h j k l semicolon apostrophe grave_accent backslash z x c v b n m comma
    dot slash asterisk spc caps_lock f1 f2 f3 f4 f5 f6 f7 f8 f9 f10 num_lock scroll_lock kp_divide kp_multiply
    kp_subtract kp_add kp_enter kp_decimal sysrq kp_0 kp_1 kp_2 kp_3 kp_4 kp_5 kp_6 kp_7 kp_8 kp_9 less f11 f12
    print home pgup pgdn end left up down right insert delete stop again props undo front copy open paste find cut
    lf help meta_l meta_r compose pause ro hiragana henkan yen muhenkan katakanahiragana kp_comma kp_equals power
    sleep wake audionext audioprev audiostop audioplay audiomute volumeup volumedown mediaselect mail calculator
    computer ac_home ac_back ac_forward ac_refresh ac_bookmarks lang1 lang2 f13 f14 f15 f16 f17 f18 f19 f20 f21 f22
    f23 f24
    """
KEYS = frozenset(_NAMES.split())
# Words that people use, and the monitor's own where QMP has another.
ALIASES = {"enter": "ret", "escape": "esc", "space": "spc", "control": "ctrl", "super": "meta_l", "del": "delete"}
ALIASES |= {"return": "ret", "win": "meta_l", "pageup": "pgup", "pagedown": "pgdn", "ins": "insert"}


def keys_of(character: str) -> list[str]:
    """The keys that give a character.

    >>> keys_of("A"), keys_of("?"), keys_of("a")
    (['shift', 'a'], ['shift', 'slash'], ['a'])

    Raises:
        UsageError: the US layout has none.
    """
    if character in SHIFTED:
        return ["shift", *keys_of(SHIFTED[character])]
    if character in NAMED:
        return [NAMED[character]]
    if len(character) == 1 and character.isascii() and character.isalnum():
        return ["shift", character.lower()] if character.isupper() else [character]
    raise UsageError(
        f"no key of the US layout gives {character!r}", hint="copy a file, or paste in the browser with Playwright"
    )


def chord(text: str) -> list[str]:
    """The keys of a chord, as ``ctrl-alt-f2``; a single character stands for its keys; ``0x1c`` is a scan code.

    >>> chord("ctrl-alt-delete"), chord("meta_l-ret"), chord("-"), chord("%")
    (['ctrl', 'alt', 'delete'], ['meta_l', 'ret'], ['minus'], ['shift', '5'])

    Raises:
        UsageError: QEMU knows no such key.
    """
    if len(text) == 1:
        return keys_of(text)
    # A - at the end is the key itself.
    words = [_key(word) for word in (f"{text[:-2]}-minus" if text.endswith("--") else text).split("-")]
    unknown = [word for word in words if word not in KEYS and not re.fullmatch("0x[0-9a-fA-F]+", word)]
    if not text or unknown:
        near = get_close_matches(unknown[0], sorted({*KEYS, *ALIASES}), n=3) if unknown else []
        why = f"similar keys are {', '.join(near)}" if near else ""
        raise UsageError(f"{text!r} is not a key", why=why, hint="keys are as in `ctrl-alt-f2`, `ret`, `a`, `0x1c`")
    return words


def _key(word: str) -> str:
    word = word.lower() if len(word) > 1 else word
    return ALIASES.get(word, word)


def values_of(keys: list[str]) -> list[dict[str, object]]:
    """Keys as QMP's ``send-key`` takes them.

    >>> values_of(["ctrl", "0x1e"])
    [{'type': 'qcode', 'data': 'ctrl'}, {'type': 'number', 'data': 30}]
    """
    return [
        {"type": "number", "data": int(key, 16)} if key.startswith("0x") else {"type": "qcode", "data": key}
        for key in keys
    ]


async def press(monitor: Monitor, keys: list[str]) -> None:
    """Press keys together and release them; QEMU takes the next ones when they are up.

    Raises:
        MachineError: QEMU does not answer.
    """
    await monitor.execute("send-key", {"keys": values_of(keys), "hold-time": HOLD})
    await asyncio.sleep(HOLD / 1000)
