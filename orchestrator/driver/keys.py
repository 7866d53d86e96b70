"""Keys of a keyboard with the US layout, by QEMU's names. Pure."""

from __future__ import annotations

from orchestrator.errors import UsageError

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
# Words that people use, and the monitor's own where QMP has another.
ALIASES = {"enter": "ret", "escape": "esc", "space": "spc", "control": "ctrl", "super": "meta_l", "del": "delete"}


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
        UsageError: an empty name.
    """
    if len(text) == 1:
        return keys_of(text)
    words = ["minus" if word == "" else ALIASES.get(word, word) for word in text.split("-")]
    if not text or not all(words):
        raise UsageError(f"{text!r} is no key", hint="keys are as in `ctrl-alt-f2`, `ret`, `a`")
    return words


def values_of(keys: list[str]) -> list[dict[str, object]]:
    """Keys as QMP's ``send-key`` takes them.

    >>> values_of(["ctrl", "0x1e"])
    [{'type': 'qcode', 'data': 'ctrl'}, {'type': 'number', 'data': 30}]
    """
    return [
        {"type": "number", "data": int(key, 16)} if key.startswith("0x") else {"type": "qcode", "data": key}
        for key in keys
    ]
