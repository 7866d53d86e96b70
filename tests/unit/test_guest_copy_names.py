"""Where a copy goes: the same rule on both sides."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orchestrator.errors import UsageError
from orchestrator.guest.copy_names import NOTHING, Facts, Source, facts_of, last_name, resolve_target

FOLDER, FILE, OTHER = Facts(False, "d"), Facts(False, "f"), Facts(False, "o")
LINK_TO_FOLDER, LINK_TO_FILE, DANGLING = Facts(True, "d"), Facts(True, "f"), Facts(True, "n")


@pytest.mark.parametrize(
    ("typed", "there", "inside", "folder", "expected"),
    [
        # a new name; a slash at its end is a folder's
        ("/t/new", NOTHING, NOTHING, False, "/t/new"),
        ("/t/new", NOTHING, NOTHING, True, "/t/new"),
        ("/t/new/", NOTHING, NOTHING, False, "/t/new/a"),
        ("/t/new/", NOTHING, NOTHING, True, "/t/new"),
        # into a folder, also through a link
        ("/t", FOLDER, NOTHING, False, "/t/a"),
        ("/t/", FOLDER, NOTHING, True, "/t/a"),
        ("/t", LINK_TO_FOLDER, NOTHING, False, "/t/a"),
        ("/", FOLDER, NOTHING, False, "/a"),
        # in place of what is there
        ("/t", FILE, NOTHING, False, "/t"),
        ("/t", LINK_TO_FILE, NOTHING, False, "/t"),
        ("/t", FOLDER, FILE, False, "/t/a"),
        ("/t", FOLDER, LINK_TO_FILE, False, "/t/a"),
        ("/t", FOLDER, LINK_TO_FOLDER, False, "/t/a"),
        ("/t", FOLDER, FOLDER, True, "/t/a"),
        ("/t", OTHER, NOTHING, False, "/t"),
    ],
)
def test_settled(typed: str, there: Facts, inside: Facts, folder: bool, expected: str) -> None:
    assert resolve_target(typed, Source("a", folder), there, inside) == expected


@pytest.mark.parametrize(
    ("typed", "there", "inside", "folder", "why"),
    [
        ("/t", FILE, NOTHING, True, "a folder would take its place"),
        ("/t", LINK_TO_FILE, NOTHING, True, "a folder would take its place"),
        ("/t/", FILE, NOTHING, False, "is not a folder"),
        ("/t", FOLDER, FOLDER, False, "/t/a is a folder, and a file would take its place"),
        ("/t", FOLDER, FILE, True, "/t/a is not a folder"),
        ("/t", FOLDER, LINK_TO_FOLDER, True, "/t/a is a link"),
        ("/t", DANGLING, NOTHING, False, "is a link that leads nowhere"),
        ("/t", OTHER, NOTHING, True, "a folder would take its place"),
        ("/t", FOLDER, OTHER, True, "/t/a is not a folder"),
    ],
)
def test_refused(typed: str, there: Facts, inside: Facts, folder: bool, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        resolve_target(typed, Source("a", folder), there, inside)


def test_several_sources_need_a_folder() -> None:
    assert resolve_target("/t", Source("a", False, several=True), NOTHING, NOTHING) == "/t/a"
    assert resolve_target("/t", Source("a", True, several=True), FOLDER, NOTHING) == "/t/a"
    with pytest.raises(UsageError, match="is not a folder"):
        resolve_target("/t", Source("a", False, several=True), FILE, NOTHING)


def test_the_content_of_a_folder() -> None:
    assert resolve_target("/t", Source("", True), FOLDER, FOLDER) == "/t"
    assert resolve_target("/t/", Source("", True), NOTHING, NOTHING) == "/t"


@pytest.mark.parametrize(
    ("path", "name"),
    [("a", "a"), ("x/a", "a"), ("x/a//", "a"), (".", ""), ("x/.", ""), ("..", ""), ("x/..", ""), ("/", "")],
)
def test_the_name_of_a_source(path: str, name: str) -> None:
    assert last_name(path) == name


def test_facts_of_this_host(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "f").touch()
    os.mkfifo(tmp_path / "o")
    for name in ("d", "f", "o", "n"):
        (tmp_path / f"l{name}").symlink_to(name)
        assert facts_of(str(tmp_path / name)) == Facts(False, name)
        assert facts_of(str(tmp_path / f"l{name}")) == Facts(True, name)
    assert facts_of(str(tmp_path / "f/below")) == facts_of("\0") == facts_of("x" * 5000) == NOTHING
