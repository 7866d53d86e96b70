"""Another installed package adds what this program has kinds of; one that does not fit is named."""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path

import pytest
from fake_channels import FakeMachine, ok
from fake_qemu import run_async
from installed_package import Install, install  # noqa: F401 - a fixture
from topology_samples import completed, one, problems, write

from orchestrator import plugins
from orchestrator.cli.arguments import build_parser
from orchestrator.deadline import Deadline
from orchestrator.errors import HostError
from orchestrator.events import EventBus
from orchestrator.images.cache import ImageCache
from orchestrator.images.provider import ensure_images
from orchestrator.log_patterns import LOG_PATTERNS, find_in_console, find_in_journal, log_patterns, waivable
from orchestrator.services.channels import run_check
from orchestrator.topology.check_kind import CheckResult, UnknownCheck
from orchestrator.topology.effective import from_dict, to_dict, to_toml
from orchestrator.topology.load import load_topology

PATTERN = """
    import re
    from orchestrator.log_patterns import LogPattern, Severity

    OURS = [
        LogPattern("raid", re.compile("md0: disk failure"), "a disk of the array failed", Severity.FAILING),
        LogPattern("app-panic", re.compile("^panic: "), "the app crashed", Severity.SUSPICIOUS, frozenset({"app"})),
    ]
    SAME = LogPattern("oom-kill", re.compile("x"), "x", Severity.NOTED)
    NONE = "a text"
    """
WAIVER = '[[waivers]]\npattern = "raid"\nreason = "an old disk"\nuntil = 2030-01-01\n'


def test_a_package_adds_log_patterns(install: Install, tmp_path: Path) -> None:  # noqa: F811
    assert one(tmp_path, WAIVER).startswith('log pattern "raid" in waiver 1 is not defined')
    install(PATTERN, log_patterns="ours = {module}:OURS")
    assert log_patterns()[: len(LOG_PATTERNS)] == LOG_PATTERNS
    found = find_in_console("[ 3.1] md0: disk failure on vdb")
    assert found is not None
    assert (found.name, found.explanation) == ("raid", "a disk of the array failed")
    assert (found := find_in_journal("app", "panic: nil")) is not None
    assert found.name == "app-panic"
    assert waivable()[-2:] == ("raid", "app-panic")
    waiver = load_topology(write(tmp_path, completed(WAIVER))).waivers[0]
    assert (waiver.pattern, waiver.until) == ("raid", date(2030, 1, 1))


CHECK = """
    from dataclasses import dataclass
    from typing import Annotated, ClassVar
    from orchestrator.topology import values
    from orchestrator.topology.check_kind import CheckKind, CheckResult, Guest
    from orchestrator.topology.keys import Key

    @dataclass(frozen=True, slots=True)
    class Swap(CheckKind):
        kind: ClassVar[str] = "swap"
        swap: Annotated[str, Key(values.guest_path, "the guest swaps to this file")]
        user: Annotated[str, Key(values.user, "swap: who asks")] = "root"

        @property
        def label(self) -> str:
            return f"swap {self.swap}"

        async def run(self, guest: Guest) -> CheckResult:
            result = await guest.run(["swapon", "--show=NAME", "--noheadings"], user=self.user)
            return CheckResult.of(self.swap in result.text.splitlines(), f"{self.label}: {result.text}")

    @dataclass(frozen=True, slots=True)
    class Clash(Swap):
        kind: ClassVar[str] = "clash"
        clash: Annotated[str, Key(values.guest_path, "x")] = ""
        http: Annotated[str, Key(values.guest_path, "x")] = ""

    @dataclass(frozen=True, slots=True)
    class Mute(CheckKind):
        kind: ClassVar[str] = "mute"
        mute: Annotated[str, Key(values.guest_path, "x")]

    @dataclass(frozen=True, slots=True)
    class Bare(Swap):
        kind: ClassVar[str] = "bare"
        bare: str = ""
    """
SWAP = '[services.web]\nmachine = "server"\nunit = "a.service"\n[services.web.checks.it]\nswap = "/swap"\n'


def test_a_package_adds_a_kind_of_check(install: Install, tmp_path: Path) -> None:  # noqa: F811
    unknown = problems(write(tmp_path, completed(SWAP)))
    assert unknown[1].endswith('"swap" is no key of check "it" in service "web"')
    install(CHECK, checks="swap = {module}:Swap")
    topology = load_topology(write(tmp_path, completed(SWAP)))
    check = topology.services["web"].checks[0]
    assert 'swap = "/swap"\nfrom = "server"\ntimeout = 5\nuser = "root"\n' in to_toml(topology)
    recorded = to_dict(topology)
    assert from_dict(recorded) == topology

    async def attempt() -> CheckResult:
        machine = FakeMachine("server", tmp_path / "journal")
        machine.answers = {"swapon": lambda: ok("/swap\n")}
        return await run_check(check, machine.channels(), factor=1.0, deadline=Deadline.after(5))

    assert run_async(attempt()) == CheckResult(True, "swap /swap: /swap")


def test_an_environment_outlives_the_package_of_its_check(install: Install, tmp_path: Path) -> None:  # noqa: F811
    install(CHECK, checks="swap = {module}:Swap")
    recorded = json.loads(json.dumps(to_dict(load_topology(write(tmp_path, completed(SWAP))))))
    plugins.installed_entry_points.cache_clear()
    plugins.extensions.cache_clear()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sys, "path", [entry for entry in sys.path if "foreign" not in entry])
        check = from_dict(recorded).services["web"].checks[0]
        again = from_dict(json.loads(json.dumps(to_dict(from_dict(recorded))))).services["web"].checks[0]

    async def attempt() -> CheckResult:
        channels = FakeMachine("server", tmp_path / "journal").channels()
        return await run_check(check, channels, factor=1.0, deadline=Deadline.after(5))

    text = "a check of kind swap cannot be made: this program has no such kind"
    assert run_async(attempt()) == CheckResult(False, text)
    assert again == check


def test_checks_that_an_earlier_version_recorded_are_unknown(tmp_path: Path) -> None:
    recorded = json.loads(json.dumps(to_dict(load_topology(write(tmp_path, completed(""))))))
    recorded["services"]["web"]["checks"] = [{"name": "it", "kind": "tcp", "machine": "server", "target": "a:1"}]
    recorded["images"]["server"] = {"name": "server", "debian": "/r.toml", "nixos_flake": None}
    found = from_dict(recorded)
    assert found.services["web"].checks[0].spec == UnknownCheck("tcp")
    assert found.images["server"].sources == {}


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("other = {module}:Swap", "the entry point is called other, and the kind swap"),
        ("tcp = {module}:Swap", "there is a tcp already"),
        ("clash = {module}:Clash", "its key http has another meaning already"),
        ("mute = {module}:Mute", "Mute does not say how to label, run"),
        ("bare = {module}:Bare", "Bare.bare is not Annotated with a Key"),
        ("key = {module}:Key", "is no class below CheckKind"),
    ],
)
def test_a_kind_that_does_not_fit_is_named(install: Install, tmp_path: Path, value: str, why: str) -> None:  # noqa: F811
    name = install(CHECK, checks=value).replace("_", "-")
    with pytest.raises(HostError) as caught:
        load_topology(write(tmp_path, completed(SWAP)))
    assert caught.value.what == f"{name} 1.5 cannot add {value.split()[0]} to this program"
    assert why in caught.value.why


PROVIDER = """
    from dataclasses import dataclass
    from pathlib import Path
    from typing import Annotated, ClassVar
    from orchestrator.images.contract import BuiltImage
    from orchestrator.images.provider_kind import Build, ImageProvider
    from orchestrator.topology.keys import Key
    from orchestrator.topology.value_types import HostPath

    @dataclass(frozen=True, slots=True)
    class Ready(ImageProvider):
        kind: ClassVar[str] = "ready"
        title: ClassVar[str] = "ready made"
        ready_image: Annotated[Path, Key(HostPath(), "a folder with bin/run-NAME-vm")]

        async def build(self, job: Build) -> BuiltImage:
            return BuiltImage(job.name, self.ready_image, "key", self.kind, True, 0.0)
    """


def test_a_package_adds_an_image_provider(install: Install, tmp_path: Path) -> None:  # noqa: F811
    install(PROVIDER, images="ready = {module}:Ready")
    script = tmp_path / "made" / "bin" / "run-x-vm"
    script.parent.mkdir(parents=True)
    script.touch(mode=0o755)
    text = '[images.server]\nready_image = "made"\n[images.client]\nready_image = "made"\n'
    topology = load_topology(write(tmp_path, completed(text)))
    assert '[images.server]\nready_image = "made"\n' in to_toml(topology)
    bus, deadline, cache = EventBus(), Deadline.after(20), ImageCache(tmp_path / "cache")
    built = run_async(ensure_images(topology, provider="auto", bus=bus, deadline=deadline, cache=cache))
    assert built["server"].run_script == script
    assert build_parser().parse_args(["up", "--images", "ready"]).images == "ready"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("same = {module}:SAME", "there is a log pattern oom-kill already"),
        ("none = {module}:NONE", "'a' is no LogPattern"),
        ("gone = {module}:GONE", "has no attribute 'GONE'"),
        ("gone = {module}_gone:OURS", "No module named"),
    ],
)
def test_a_package_that_does_not_fit_is_named(install: Install, value: str, why: str) -> None:  # noqa: F811
    name = install(PATTERN, log_patterns=value).replace("_", "-")
    with pytest.raises(HostError) as caught:
        log_patterns()
    assert caught.value.what == f"{name} 1.5 cannot add {value.split()[0]} to this program"
    assert why in caught.value.why
    assert caught.value.hint.startswith(f"uninstall {name}")
