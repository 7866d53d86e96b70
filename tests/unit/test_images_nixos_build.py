"""A build by Nix that goes wrong, takes long, or leaves something else than was asked for: what the user is told.

As in test_images_nixos.py a shell script stands in for nixos-rebuild; here it does what a test puts into ``script``.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from event_records import notes, of
from test_images_nixos import FLAKE, ensure, place, topology

from orchestrator.deadline import Deadline
from orchestrator.errors import ImageError, OrchestratorError, TimeLimit
from orchestrator.events import Event, EventBus
from orchestrator.events.machines import ImageOutput
from orchestrator.events.services import Heartbeat
from orchestrator.images import nixos
from orchestrator.images.cache import ImageCache
from orchestrator.images.nixos import NixImage, fits
from orchestrator.images.nixos_output import Output
from orchestrator.images.provider import ensure_images
from orchestrator.images.providers.nixos import NixosImage
from orchestrator.topology.model import Image

__all__ = ["place"]  # the fixture


def does(place: Path, script: str) -> None:
    (place / "script").write_text(script)


def failure(place: Path, events: list[Event] | None = None) -> OrchestratorError:
    with pytest.raises(OrchestratorError) as raised:
        ensure(place, [] if events is None else events)
    return raised.value


def test_a_stale_result_is_never_the_new_build(place: Path) -> None:
    first, _ = ensure(place, [])
    assert (first / "bin/run-server-vm").is_file()
    does(place, "exit 0\n")  # succeeds, and leaves no link
    error = failure(place)
    assert "left no result link" in error.what
    assert Path(error.where[0]).is_file()


def test_a_link_to_nothing_says_where_it_points(place: Path) -> None:
    does(place, "ln -sfn /nix/store/gone-nixos-vm result; exit 0\n")
    error = failure(place)
    assert "left a link to nothing" in error.what
    assert "points to /nix/store/gone-nixos-vm, which is not there" in error.why


def test_the_result_of_another_machine_is_refused(place: Path) -> None:
    does(place, "name=wrong\n")
    error = failure(place)
    assert "Nix built another machine, wrong" in error.what
    assert "run-wrong-vm" in error.why
    assert "nixos_flake" in error.hint


def test_a_result_without_a_run_script_is_not_told_to_build_again(place: Path) -> None:
    does(place, 'mkdir -p "$STORE/empty/bin"; ln -sfn "$STORE/empty" result; exit 0\n')
    error = failure(place)
    assert "no run-<name>-vm" in error.what
    assert "images build" not in error.hint
    assert "server-nixos.log" in error.hint


@pytest.mark.parametrize(
    ("script", "image", "good"),
    [
        ("server", NixImage("server", nixos_flake="d#server-minimal"), True),
        ("server", NixImage("small", nixos_flake="d#server"), True),
        ("server", NixImage("web", nixos_flake="github:a/b#e2e-server"), True),
        ("e2e-server", NixImage("server", nixos_flake="d#x"), True),
        ("nixos", NixImage("server", nixos_flake="d#server"), True),
        ("server", NixImage("web", nixos_config=Path("/etc/server.nix")), True),
        ("client", NixImage("server", nixos_flake="d#server-client-free"), True),  # a part of the name: nobody can tell
        ("client", NixImage("server", nixos_flake="d#server"), False),
        ("wrong", NixImage("server", nixos_config=Path("/etc/web.nix")), False),
        ("serv", NixImage("server", nixos_flake="d#server"), False),
    ],
)
def test_which_names_belong_together(script: str, image: NixImage, good: bool) -> None:
    assert fits(script, image) is good


@pytest.mark.parametrize(
    "said",
    [
        "error: builder for '/nix/store/abc-thing.drv' failed with exit code 2;",
        "error: Cannot build '/nix/store/abc-thing.drv'.",
    ],
)
def test_the_hint_for_a_failed_builder_is_its_log(place: Path, said: str) -> None:
    after = "error: 1 dependencies of derivation '/nix/store/abc-nixos-vm.drv' failed to build"
    filler = "".join(f'echo "filler {n}" >&2\n' for n in range(40))
    does(place, f'echo "{said}" >&2\n{filler}echo "{after}" >&2\nexit 1\n')
    error = failure(place)
    assert error.hint == "nix log /nix/store/abc-thing.drv"
    assert error.evidence[-1] == after


def test_output_is_shown_while_it_comes_and_a_warning_is_one(place: Path) -> None:
    does(
        place,
        'echo "evaluation warning: this is old" >&2\necho "evaluation warning: this is old" >&2\n'
        """echo "warning: Git tree '/x' is dirty" >&2\n""",
    )
    events: list[Event] = []
    ensure(place, events)
    lines = of(events, ImageOutput)
    # The warning is told above all views already; told twice it would look like two.
    assert [event.shown for event in lines] == [False, True, True, True]
    told = notes(events)
    assert told == ["evaluation warning: this is old"]


def test_a_silent_build_gives_signs_of_life(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nixos, "SILENCE", 0.05)
    does(place, 'echo "evaluating" >&2\nuntil [ -e "$STORE/../go" ]; do sleep 0.05; done\n')
    events: list[Event] = []

    def on_event(event: Event) -> None:
        events.append(event)
        if isinstance(event, Heartbeat) and event.detail == "evaluating":
            (place / "go").touch()

    bus = EventBus()
    bus.subscribe(on_event)
    cache = ImageCache(place / "cache")
    asyncio.run(
        ensure_images(topology(place, FLAKE), provider="nixos", bus=bus, deadline=Deadline.after(30), cache=cache)
    )
    beat = of(events, Heartbeat)[0]
    assert beat.what == "nixos-rebuild of image server"
    assert beat.timeout == 30


def test_a_time_limit_names_image_log_and_option(place: Path) -> None:
    does(place, "exec sleep 600\n")
    with pytest.raises(TimeLimit) as raised:
        asyncio.run(
            ensure_images(
                topology(place, FLAKE),
                provider="nixos",
                bus=EventBus(),
                deadline=Deadline.after(0.5),
                cache=ImageCache(place / "cache"),
            )
        )
    error = raised.value
    assert "image server was not built within" in error.what
    assert error.where == (str(place / "cache/logs/server-nixos.log"),)
    assert "--wait-timeout" in error.hint
    assert "--timeout" in error.hint


def test_no_build_begins_after_one_that_failed(place: Path) -> None:
    does(place, 'echo "error: boom" >&2\nexit 1\n')
    plan = topology(place, FLAKE)
    client = Image("client", {"nixos": NixosImage("nix dir#client")})
    plan = replace(
        plan,
        images={**plan.images, "client": client},
        machines={**plan.machines, "client": replace(plan.machines["server"], name="client", image="client")},
    )
    with pytest.raises(ImageError, match="image server"):
        asyncio.run(
            ensure_images(
                plan, provider="nixos", bus=EventBus(), deadline=Deadline.after(30), cache=ImageCache(place / "cache")
            )
        )
    assert len((place / "arguments").read_text().splitlines()) == 1


BUILDER = """
import asyncio, sys
from pathlib import Path
from test_images_nixos import ensure
print(ensure(Path(sys.argv[1]), []))
"""


def test_two_processes_take_turns(place: Path) -> None:
    """Each removes the link before its build: at once, one would take away the other's."""
    does(
        place,
        'mkdir "$STORE/../inside" || { echo "two at once" >&2; exit 1; }\n'
        'until [ -e "$STORE/../go" ]; do sleep 0.02; done\nrmdir "$STORE/../inside"\n',
    )
    here = Path(__file__).parent
    environment = {**os.environ, "PYTHONPATH": f"{here}:{here.parents[1]}"}
    argv = [sys.executable, "-c", BUILDER, str(place)]
    both = [
        subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    locks = place / "cache/locks"
    while not list(locks.glob("server-*.lock")) or not (place / "inside").exists():
        assert any(one.poll() is None for one in both)
        time.sleep(0.02)
    (place / "go").touch()
    for one in both:
        said, _ = one.communicate(timeout=60)
        assert one.returncode == 0, said
        assert "nixos-" in said
    assert len((place / "arguments").read_text().splitlines()) == 2


def test_the_tail_is_bounded_and_what_matters_is_kept() -> None:
    output = Output()
    output.add("building '/nix/store/a.drv'...")
    output.add("error: builder for '/nix/store/a.drv' failed with exit code 1;")
    for number in range(100):
        output.add(f"line {number}")
    assert output.built
    assert len(output.tail) == 30
    assert output.hint == "nix log /nix/store/a.drv"
