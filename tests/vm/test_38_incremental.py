"""What a change costs: which saved stage a start begins with, and that it comes to the same as a cold start."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import opened
from host import HERE, Host, edited_topology

from orchestrator.folders import cache_root

WORD = secrets.token_hex(4)  # in no cache yet
STATE = (
    "systemctl list-units --type=service --state=running --plain --no-legend | cut -d ' ' -f 1 | sort; "
    "systemctl --failed --plain --no-legend; cd /opt/alicia && find . -type f -exec sha256sum {} + | sort; "
    "curl -sf http://127.0.0.1/ | sha256sum"
)


class Box:
    def __init__(self, host: Host, app: Path) -> None:
        self.host = host
        self.app = app

    def page(self, text: str) -> None:
        (self.app / "share/alicia/frontend/index.html").write_text(f"page {text} {WORD}\n")

    def up(self, *more: str) -> str:
        return self.host.run("up", f"--layer=app={self.app}", *more, limit=300).expect(0).stderr

    def plan(self, file: Path = HERE / "incremental.toml") -> dict[str, object]:
        done = self.host.run("--file", str(file), "plan", f"--layer=app={self.app}", "--json").expect(0)
        found: dict[str, object] = json.loads(done.stdout)
        return found

    def invocation(self, unit: str) -> str:
        return self.host.guest("box", f"systemctl show --property=InvocationID --value {unit}").strip()


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Box]:
    root = tmp_path_factory.mktemp("incremental")
    (root / "app/share/alicia/frontend").mkdir(parents=True)
    with opened(root / "host", HERE / "incremental.toml") as host:
        box = Box(host, root / "app")
        box.page("one")
        yield box


def test_a_cold_start_saves_both_stages(box: Box) -> None:
    said = box.up("--fresh")
    assert "saved the state base" in said
    assert "saved the state healthy" in said
    assert box.host.guest("box", "curl -s http://127.0.0.1/") == f"page one {WORD}\n"


def test_a_changed_layer_is_brought_into_machines_that_run(box: Box) -> None:
    kept = box.invocation("mock-llm.service")
    box.page("live")
    assert "layer app changed: 1 of 2 services start again" in box.up()
    assert box.host.guest("box", "curl -s http://127.0.0.1/") == f"page live {WORD}\n"
    assert box.invocation("mock-llm.service") == kept, "it goes on"
    assert "changed" not in box.up(), "it is there"


def test_a_changed_layer_starts_again_what_rests_on_it_and_comes_to_the_same(box: Box) -> None:
    kept, again = box.invocation("mock-llm.service"), box.invocation("nginx.service")
    box.host.run("down").expect(0)
    box.page("two")
    decided = box.plan()
    assert (decided["stage"], decided["start_again"]) == ("base", ["web"])
    said = box.up()
    assert "layer app changed: from stage base, 1 of 2 services start again" in said
    assert "saved the state healthy" in said
    assert box.host.guest("box", "curl -s http://127.0.0.1/") == f"page two {WORD}\n"
    assert box.invocation("mock-llm.service") == kept, "it goes on"
    assert box.invocation("nginx.service") != again
    begun = box.host.guest("box", STATE)
    box.up("--fresh")
    assert box.host.guest("box", STATE) == begun
    box.host.run("down").expect(0)


def test_a_changed_check_repeats_nothing(box: Box, tmp_path: Path) -> None:
    file = edited_topology(tmp_path, ('contains = "page"', f'contains = "{WORD}"'), source="incremental.toml")
    assert (box.plan(file)["stage"], box.plan(file)["start_again"]) == ("healthy", [])


def test_states_are_taken_to_another_host(box: Box, tmp_path: Path) -> None:
    """One with the same images: its first start is warm, its second one after a change incremental."""
    file = tmp_path / "box.states"
    box.host.run("snapshot", "export", str(file)).expect(0, "the memory and disks of box, with every secret")
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/images").symlink_to(cache_root() / "images")
    place = {"ORCH_CACHE_DIR": str(tmp_path / "cache")}
    with opened(tmp_path / "other", HERE / "incremental.toml") as other:
        other.run("up", "--warm", f"--layer=app={box.app}", **place).expect(3, "no saved state to start from")
        other.run("snapshot", "import", str(file), **place).expect(0, "imported the state base", "the state healthy")
        up = other.run("up", f"--layer=app={box.app}", limit=120, **place)
        up.expect(0, "start from the saved healthy state", "READY", "!cold start")
        assert other.guest("box", "curl -s http://127.0.0.1/") == f"page two {WORD}\n"
        other.run("down", **place).expect(0)
        box.page("three")
        up = other.run("up", f"--layer=app={box.app}", limit=120, **place)
        box.page("two")
        up.expect(0, "layer app changed: from stage base, 1 of 2 services start again")
        assert other.guest("box", "curl -s http://127.0.0.1/") == f"page three {WORD}\n"


def test_a_changed_environment_of_a_late_service_is_no_boot(box: Box, tmp_path: Path) -> None:
    new = 'uses = ["app"]\nenvironment = { WORD = "new" }'
    file = str(edited_topology(tmp_path, ('uses = ["app"]', new), source="incremental.toml"))
    said = box.host.run("--file", file, "up", f"--layer=app={box.app}", limit=300).expect(0).stderr
    assert "service web changed: from stage base, 1 of 2 services start again" in said
    assert "WORD=new" in box.host.guest("box", "systemctl show --property=Environment nginx.service")
    box.host.run("--file", file, "down").expect(0)


@pytest.mark.long  # its rule is a unit test: test_environment_failed_start.py
def test_services_after_one_that_failed_have_their_layers_in_the_next_start(box: Box, tmp_path: Path) -> None:
    check = '[services.mock.checks.allowed]\nfile = "/run/allowed"\n\n[services.web]'
    file = edited_topology(
        tmp_path, ("[services.web]", check), ("timeout = 30", "timeout = 5"), source="incremental.toml"
    )
    up = ("--file", str(file), "up", f"--layer=app={box.app}")
    assert "service mock" in box.host.run(*up, "--fresh", limit=300).expect(3).stderr
    box.host.run("--file", str(file), "exec", "box", "--", "touch", "/run/allowed").expect(0)
    box.host.run(*up, limit=120).expect(0)
    assert box.host.guest("box", "curl -s http://127.0.0.1/").endswith(f"{WORD}\n")
    box.host.run("--file", str(file), "down").expect(0)


def test_a_layer_that_outgrows_its_device_is_a_cold_start_with_its_reason(box: Box) -> None:
    big = box.app / "big"
    with big.open("wb") as file:
        for _ in range(70):
            file.write(secrets.token_bytes(1 << 20))
    decided = box.plan()
    big.unlink()
    assert decided["stage"] is None
    assert "room for layer app of box" in str(decided["stages"])
