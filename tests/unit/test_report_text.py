"""Text of guests is harmless once cleaned."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.text import clean, clean_lines

XML_CHARS = re.compile("[\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*")


@pytest.mark.parametrize(
    ("dirty", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[?25l\x1b[2J\x1b[1;1Hhome", "home"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;never ended\nnext line", " next line"),
        ("\x9b31mC1\x9d0;t\x9c", "C1"),
        ("\x1bPdevice\x1b\\x", "x"),
        ("\x1b(Bascii", "ascii"),
        ("a\x00b\x08c\x7fd", "abcd"),
        ("50%\r100%\r\n", "50% 100% "),
        ("abc\u202etxt.exe\u2066", "abctxt.exe"),
        ("lone \ud800 surrogate", "lone \ufffd surrogate"),
        (b"caf\xc3\xa9 \xff\xfe", "café \ufffd\ufffd"),
        ("fine · text 漢字 🙂", "fine · text 漢字 🙂"),
    ],
)
def test_control_sequences_vanish(dirty: str | bytes, expected: str) -> None:
    assert clean(dirty, 100) == expected


def test_multiline_keeps_newlines_and_tabs() -> None:
    assert clean("a\r\n\tb\x1b[1m", 100, multiline=True) == "a\n\tb"


def test_long_text_is_cut_within_the_limit() -> None:
    assert clean("x" * 50_000_000, 10) == "xxxxxxxxx…"
    assert clean("x", 0) == ""
    assert clean("abc", 3) == "abc"


@given(st.one_of(st.text(st.characters(), max_size=400), st.binary(max_size=400)), st.integers(0, 80), st.booleans())
def test_result_is_bounded_and_fit_for_xml(dirty: str | bytes, limit: int, multiline: bool) -> None:
    result = clean(dirty, limit, multiline=multiline)
    assert len(result) <= limit
    assert XML_CHARS.fullmatch(result)
    assert "\x1b" not in result
    assert clean(result, limit, multiline=multiline) == result


def test_last_lines_are_kept_and_the_rest_counted() -> None:
    assert clean_lines([f"line {i}" for i in range(10)], count=3, limit=40) == (
        "… 8 earlier lines left out",
        "line 8",
        "line 9",
    )
    assert clean_lines(["a\nb", b"c"], count=5, limit=5) == ("a", "b", "c")
