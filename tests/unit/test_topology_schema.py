"""The JSON Schema accepts what the loader accepts, and says where a wrong value stands."""

from __future__ import annotations

import json
import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from installed_package import Install, install  # noqa: F401 - a fixture
from topology_samples import GOLDEN, REPOSITORY, SHIPPED, completed

from orchestrator.topology.keys import FIXED_KEYS
from orchestrator.topology.reference import SCHEMA_FILE, schema_text
from orchestrator.topology.schema import json_schema

SCHEMA: dict[str, Any] = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
TOPOLOGIES = [SHIPPED, *sorted((REPOSITORY / "tests/vm").glob("*.toml")), *sorted(GOLDEN.glob("*.toml"))]
GOOD = [path for path in TOPOLOGIES if path.name != "bad.toml"]
DOCUMENTED = re.findall(r"^```toml\n(.*?)^```", (REPOSITORY / "docs/topology.md").read_text(), re.MULTILINE | re.DOTALL)
SCHEMA_LINE = re.compile(r"\A#:schema (\S+)\n")


def plain(value: object) -> object:
    """TOML as JSON has it: a date is a string."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, date) else value


def faults(text: str, schema: dict[str, Any] = SCHEMA) -> dict[str, str]:
    """Place → message of what the schema does not accept."""
    validator = jsonschema.Draft7Validator(schema)
    found = validator.iter_errors(plain(tomllib.loads(text)))
    return {".".join(str(part) for part in error.absolute_path): error.message for error in found}


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert set(FIXED_KEYS) - {""} < set(SCHEMA["definitions"])


def test_the_shipped_file_is_of_these_descriptions() -> None:
    assert SCHEMA_FILE.read_text(encoding="utf-8") == schema_text(), "python -m orchestrator.topology.reference"


@pytest.mark.parametrize("path", GOOD, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_topology_of_the_repository_fits(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == {}


@pytest.mark.parametrize("example", DOCUMENTED, ids=range(len(DOCUMENTED)))
def test_every_example_of_the_documentation_fits(example: str) -> None:
    assert faults(completed(example)) == {}


@pytest.mark.parametrize("path", [path for path in GOOD if "effective" not in path.name], ids=lambda path: path.stem)
def test_a_topology_names_the_schema(path: Path) -> None:
    line = SCHEMA_LINE.match(path.read_text(encoding="utf-8"))
    assert line, "the first line is for editors"
    assert (path.parent / line[1]).resolve() == SCHEMA_FILE


def test_a_bad_file_is_marked_at_its_places() -> None:
    found = faults((GOLDEN / "bad.toml").read_text(encoding="utf-8"))
    assert set(found) == {
        "",  # a key that there is not
        "images.base.nixos_flake",
        "images.empty",
        "machines",  # a name that is none
        "machines.client.ports.1",
        "machines.server.cpus",
        "machines.server.files.0.mode",
        "machines.server.files.0.target",
        "machines.server.files.1",
        "machines.server.memory",
        "machines.2nd.egress",
        "machines.third.egress",
        "name",
        "networks.lan.kind",
        "services.web.after_restore",
        "services.web.checks.health",
        "services.web.checks.two",
        "services.web.logs.0",
        "services.web.timeout",
        "services.web.unit",
        "suite",
        "suite.command",
        "suite.environment",
        "waivers.0",
        "waivers.0.pattern",
        "waivers.0.until",
        "waivers.1.pattern",
        "waivers.1.until",
    }


@pytest.mark.parametrize(
    ("check", "good"),
    [
        ('tcp = "a:1"', True),
        ('tcp = "a:1"\nstatus = 200', False),
        ('http = "http://a/"\nstatus = 200\ntimeout = "1m30s"', True),
        ('http = "http://a/"\nstatus = 99', False),
        ('tcp = "a:1"\nfile = "/x"', False),
        ('timeout = "5s"', False),
        ("exec = []", False),
        ('exec = ["true"]\ntimeout = "5 s"', False),
    ],
)
def test_a_check_is_of_one_kind(check: str, good: bool) -> None:
    text = f'[services.web]\nmachine = "server"\nunit = "web.service"\n[services.web.checks.it]\n{check}\n'
    assert (faults(completed(text)) == {}) is good


@pytest.mark.parametrize(
    ("change", "good"),
    [
        ('services.web = "absent"', True),
        ('services.web.checks.it = "absent"', True),
        ("services.web.timeout = 5", True),
        ("machines.server.cpus = 2", True),
        ('machines.server.ports = "absent"', True),
        ("machines.server.image = { absent = true }", False),
        ('machines.server.cpus = "absent"', False),
        ('name = "other"', False),
        ('services.web.unti = "a.service"', False),
    ],
)
def test_a_variant_changes_parts(change: str, good: bool) -> None:
    assert (faults(completed(f"[variants.v]\n{change}\n")) == {}) is good


def test_an_editor_shows_what_a_key_means() -> None:
    memory = SCHEMA["definitions"]["machines.NAME"]["properties"]["memory"]
    assert memory["description"] == 'at least `"256MiB"`'
    assert "regular expression" not in memory
    assert SCHEMA["definitions"]["waivers"]["properties"]["pattern"]["enum"][:2] == ["oops", "oom-kill"]


KIND = """
    from dataclasses import dataclass
    from typing import Annotated, ClassVar
    from orchestrator.topology import values
    from orchestrator.topology.check_kind import CheckKind, CheckResult, Guest
    from orchestrator.topology.keys import Key

    @dataclass(frozen=True, slots=True)
    class Swap(CheckKind):
        kind: ClassVar[str] = "swap"
        swap: Annotated[str, Key(values.guest_path, "the file is swapped to")]

        @property
        def label(self) -> str:
            return self.swap

        async def run(self, guest: Guest) -> CheckResult:
            return CheckResult((await guest.run(["swapon", "--show"])).code == 0, "swaps")
    """


def test_the_schema_has_what_other_packages_add(install: Install) -> None:  # noqa: F811
    text = completed('[services.web]\nmachine = "server"\nunit = "a.service"\nchecks.it.swap = "/swap"\n')
    assert set(faults(text, json_schema())) == {"services.web.checks.it"}
    install(KIND, checks="swap = {module}:Swap")
    assert faults(text, json_schema()) == {}
    assert schema_text() == SCHEMA_FILE.read_text(encoding="utf-8"), "the shipped one has only ours"
