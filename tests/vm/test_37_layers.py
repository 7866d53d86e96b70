"""Folders of the host in a machine: whose they are there, through reboots and saved states, and what a change costs."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import opened
from host import HERE, Host, edited_topology

ODD = ("a b", "ü", "new\nline", "-dash", "quote\"'$x`\\", ".hidden", "100%")
FIRST, SECOND = (f"the {word} {secrets.token_hex(4)}" for word in ("first", "second"))  # in no cache yet
LONG = "pictures-of-a-long-name"


@dataclass(frozen=True, slots=True)
class Box:
    host: Host
    tools: Path
    pictures: Path

    def up(self, *more: str) -> str:
        """Bring it up with the folders of the test; what it says."""
        layers = (f"--layer=tools={self.tools}", f"--layer={LONG}={self.pictures}")
        return self.host.run("up", *layers, *more, limit=300).expect(0).stderr

    def seen(self, place: str) -> dict[str, str]:
        """What the guest sees below a folder: mode, user, group, target of a link, by name."""
        text = self.host.guest("box", f"cd '{place}' && find . -mindepth 1 -printf '%P\\0%M %u %g %l\\0'")
        words = text.split("\0")[:-1]
        return {name: facts.strip() for name, facts in zip(words[::2], words[1::2], strict=True)}

    def prove(self, word: str) -> None:
        """All of it is there, as it should be."""
        tools = self.seen("/srv/more tools")
        assert {tools.pop(name) for name in ODD} == {"-rw-r--r-- root root"}
        assert tools == {
            "bin": "drwxr-xr-x root root",
            "bin/hello": "-rwxr-xr-x root root",
            "bin/again": "lrwxrwxrwx root root hello",
            "away": "lrwxrwxrwx root root /nowhere/at all",
            "empty": "drwxr-xr-x root root",
        }
        assert self.seen("/srv/pictures") == {"one": "-rw-r--r-- www-data www-data"}
        assert self.host.guest("box", "stat -c '%U %A' '/srv/more tools' /srv/pictures") == (
            "root drwxr-xr-x\nwww-data drwxr-xr-x\n"
        )
        odd = "; ".join(f"cat {quoted(name)}" for name in ODD)
        script = f"'/srv/more tools/bin/again'; cd '/srv/more tools'; {odd}; cat /srv/pictures/one"
        assert self.host.guest("box", script) == f"hello from {word}\n{''.join(f'<{name}>' for name in ODD)}picture\n"
        self.host.guest("box", "! touch /srv/pictures/two 2>/dev/null && ! chmod 700 '/srv/more tools' 2>/dev/null")


def quoted(name: str) -> str:
    return "./'" + name.replace("'", "'\\''") + "'"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    root = tmp_path_factory.mktemp("layers")
    tools, pictures = root / "more, tools=x", root / "pictures"
    for folder in (tools / "bin", tools / "empty", tools / "left out", pictures):
        folder.mkdir(parents=True, mode=0o700)
    for name in ODD:
        (tools / name).write_text(f"<{name}>")
    (tools / "left out/file").touch()
    (tools / "bin/hello.pyc").touch()
    (tools / "bin/hello").write_text(f"#!/bin/sh\necho hello from {FIRST}\n")
    (tools / "bin/again").symlink_to("hello")
    (tools / "away").symlink_to("/nowhere/at all")
    (pictures / "one").write_text("picture\n")
    for path in (*tools.rglob("*"), *pictures.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() or path.name == "hello" else 0o600)
            if os.geteuid() == 0:
                os.chown(path, 12345, 54321)
    with opened(root / "host", HERE / "layers.toml") as host:
        yield Box(host, tools, pictures)


def test_two_layers_are_there_and_everything_is_their_owners(box: Box) -> None:
    told = box.up("--fresh")
    assert "layer tools: made a disk" in told
    box.prove(FIRST)


def test_they_are_there_after_a_reset_and_a_reboot_of_the_guest(box: Box) -> None:
    box.host.run("reset").expect(0)
    box.prove(FIRST)
    # The guest goes down by itself, at once; nobody of ours has asked for it.
    box.host.run("exec", "box", "--", "systemctl", "--force", "--force", "reboot")
    assert "it was rebooted, and not by this program; it is set up again" in box.up()
    box.prove(FIRST)


def test_they_are_in_a_saved_state(box: Box) -> None:
    box.host.run("down").expect(0)
    assert "start from the saved healthy state" in box.up()
    box.prove(FIRST)


def test_another_content_is_the_same_image(box: Box) -> None:
    before = [event["key"] for event in box.host.events("image.state")]
    box.host.run("down").expect(0)
    (box.tools / "bin/hello").write_text(f"#!/bin/sh\necho hello from {SECOND}\n")
    told = box.up()
    assert "layer tools changed: from stage base, 1 of 1 services start again" in told
    assert "cold start" not in told
    box.prove(SECOND)
    images = box.host.events("image.state")
    assert [event["state"] for event in images] == ["cached"], "nothing was built"
    assert [event["key"] for event in images] == before


def test_an_owner_that_the_image_does_not_have(box: Box, tmp_path: Path) -> None:
    file = edited_topology(tmp_path, ('"www-data"', '"www-date"'), source="layers.toml")
    done = box.host.run("--file", str(file), "-n", "no-owner", "up")
    done.expect(3, "image small has no user www-date", 'did you mean "www-data"')
