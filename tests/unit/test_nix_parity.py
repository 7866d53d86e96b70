"""The NixOS machines, as they were last evaluated, against the files of the Debian image."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts/lib"))

from check_nix_facts import sources_digest
from check_nix_parity import (
    accepted_differences,
    differences,
    judged,
)
from check_nix_sides import (
    debian_client,
    debian_server,
    nixos_client,
    nixos_server,
)
from nix_facts import GOLDEN, ROOT, SERVERS, facts

TABLE = tomllib.loads((ROOT / "nixos-images/accepted-differences.toml").read_text(encoding="utf-8"))
ACCEPTED = accepted_differences(TABLE)


def variant(machine: str) -> str:
    return machine.partition("-")[2]


@pytest.mark.parametrize("machine", SERVERS)
def test_the_servers_differ_only_where_a_reason_is_given(machine: str) -> None:
    debian, nixos = debian_server(ROOT, variant(machine)), nixos_server(facts(machine))
    assert len(debian.keys() & nixos.keys()) > 150  # else the two would not be about the same things
    left, _ = judged(differences(debian, nixos), ACCEPTED)
    assert not left, "\n".join(map(str, left))


def test_the_clients_differ_only_where_a_reason_is_given() -> None:
    left, _ = judged(differences(debian_client(ROOT), nixos_client(facts("client"))), ACCEPTED)
    assert not left, "\n".join(map(str, left))


def test_no_reason_is_given_for_what_does_not_differ() -> None:
    used = judged(differences(debian_client(ROOT), nixos_client(facts("client"))), ACCEPTED)[1]
    for machine in SERVERS:
        used |= judged(differences(debian_server(ROOT, variant(machine)), nixos_server(facts(machine))), ACCEPTED)[1]
    assert [entry.names for number, entry in enumerate(ACCEPTED) if number not in used] == []


def test_the_kept_facts_are_of_these_sources() -> None:
    about = json.loads((GOLDEN / "about.json").read_text(encoding="utf-8"))
    assert about["sources"] == sources_digest(ROOT), "stack or modules changed: scripts/check-nix --update, with Nix"
    assert about["nix"]
    assert about["nixpkgs"]


@pytest.mark.parametrize(
    ("where", "old", "new", "name"),
    [
        (("units", "alicia.service"), "User=alicia", "User=root", "unit alicia.service / Service.User"),
        (("units", "alicia.service"), "LLM_MODEL=qwen3-8b", "LLM_MODEL=other", "Environment.ALICIA_LLM_MODEL"),
        (("units", "alicia.service"), "ProtectSystem=strict\n", "", "unit alicia.service / Service.ProtectSystem"),
        (("units", "alicia-migrate.service"), " postgresql-setup.service", "", "Unit.After"),
        (("units", "postgresql.service"), "OOMScoreAdjust=-900", "OOMScoreAdjust=0", "Service.OOMScoreAdjust"),
        (("postgresql", "conf"), "work_mem = '4MB'", "work_mem = '8MB'", "postgresql.conf / work_mem"),
        (("postgresql", "hba"), "trust", "peer", "pg_hba.conf"),
        (("nginx", "text"), "proxy_buffering off", "proxy_buffering on", "nginx location ^~ /api/ / proxy_buffering"),
        (("nginx", "text"), "SAMEORIGIN", "DENY", "nginx server / add_header"),
        (("nginx", "text"), "~^/assets/ $asset_cache", "~^/assets/ no-cache", "nginx map $uri $cache_control"),
        (("firewall",), "80, 8888", "80", "firewall / open"),
        (("firewall",), "10.0.2.2", "10.0.0.0/8", "firewall / open to one"),
        (("sshd",), "PasswordAuthentication no", "PasswordAuthentication yes", "sshd / passwordauthentication"),
        (("network",), "10.0.2.15/24", "10.0.2.16/24", "user network / Network.Address"),
        (("etc", "alicia/env", "mode"), "0640", "0644", "file /etc/alicia/env / access"),
        (("etc", "alicia/env", "text"), "test-api-key", "other", "file /etc/alicia/env / ALICIA_LLM_API_KEY"),
    ],
)
def test_a_drift_is_seen(where: tuple[str, ...], old: str, new: str, name: str) -> None:
    machine = facts("server-mock")
    place = machine
    for key in where[:-1]:
        place = place[key]
    assert old in place[where[-1]]
    place[where[-1]] = place[where[-1]].replace(old, new)
    left, _ = judged(differences(debian_server(ROOT, "mock"), nixos_server(machine)), ACCEPTED)
    assert any(name in one.name for one in left), [one.name for one in left]


def test_an_entry_needs_names_and_a_reason() -> None:
    with pytest.raises(ValueError, match="needs names and a reason"):
        accepted_differences({"difference": [{"names": ["a"], "reason": " "}]})
    with pytest.raises(ValueError, match="unknown when"):
        accepted_differences({"difference": [{"names": ["a"], "reason": "b", "when": 1}]})
    with pytest.raises(ValueError, match="debian or nixos"):
        accepted_differences({"difference": [{"names": ["a"], "reason": "b", "only": "arch"}]})


def test_an_entry_for_one_side_does_not_cover_a_changed_value() -> None:
    only = accepted_differences({"difference": [{"names": ["x [1] / *"], "reason": "r", "only": "nixos"}]})
    left, used = judged(differences({"x [1] / a": 1}, {"x [1] / a": 2, "x [1] / b": 3}), only)
    assert [one.name for one in left] == ["x [1] / a"]
    assert used == {0}
