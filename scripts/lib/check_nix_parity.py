"""Debian's image and NixOS's evaluation reduced to the same flat facts, compared. Pure.

Both sides become a mapping from a name like ``unit alicia.service / Service.User`` to a value. Names on one side only
and values that differ are differences; each must be accepted, with a reason, in nixos-images/accepted-differences.toml.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from check_nix_texts import (
    Directive,
    blocks,
    environment_file,
    environment_of,
    nginx_tree,
    postgresql_settings,
    sshd_settings,
    unit_sections,
)

Flat = dict[str, Any]

# Where each side keeps what stack.toml calls @app@, @mocks@, @stack@, and the like.
PLACES = (
    (re.compile(r"/nix/store/alicia-(?:standin|app)|/opt/alicia(?=/)"), "@app@"),
    (re.compile(r"/nix/store/alicia-mocks|/opt/mocks"), "@mocks@"),
    (re.compile(r"/nix/store/alicia-stack-scripts|/usr/local/lib/alicia-stack"), "@stack@"),
    (re.compile(r"/nix/store/nginx-[^/ ]+/conf/mime\.types|/etc/nginx/mime\.types"), "@mime.types@"),
)
SETS = frozenset({"After", "Before", "Wants", "Requires"})
ALIASES = {"RateLimitInterval": "RateLimitIntervalSec"}  # older names that systemd still reads
SECONDS = {"0s": "0"}
TRUTH = {"true": "yes", "on": "yes", "false": "no", "off": "no"}
PROGRAM = re.compile(r"(?:/nix/store/[^/ ]+|/usr/lib/postgresql/\d+)?/(?:s?bin)/(?=[\w.-]+)")


@dataclass(frozen=True, slots=True)
class Difference:
    """One name whose value is not the same; a side without it has None."""

    name: str
    debian: Any
    nixos: Any

    def __str__(self) -> str:
        return f"{self.name}\n    Debian: {_shown(self.debian)}\n    NixOS:  {_shown(self.nixos)}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """Names (shell patterns) that may differ; ``only`` limits it to what just one side has."""

    names: tuple[str, ...]
    reason: str
    only: str | None = None

    def covers(self, one: Difference) -> bool:
        side = "nixos" if one.debian is None else "debian" if one.nixos is None else None
        if self.only is not None and side != self.only:
            return False
        return any(fnmatchcase(one.name, _literal(pattern)) for pattern in self.names)


def _literal(pattern: str) -> str:
    """Only ``*`` is special: names hold brackets of their own."""
    return pattern.replace("[", "[[]").replace("?", "[?]")


def _shown(value: Any) -> str:
    return "–" if value is None else str(value)


def accepted_differences(table: Mapping[str, Any]) -> list[Accepted]:
    """The content of accepted-differences.toml.

    Raises:
        ValueError: an entry without names or reason, or with a key of another name.
    """
    entries = []
    for number, entry in enumerate(table.get("difference", []), 1):
        if not entry.get("names") or not str(entry.get("reason", "")).strip():
            raise ValueError(f"accepted difference {number} needs names and a reason")
        if unknown := set(entry) - {"names", "reason", "only"}:
            raise ValueError(f"accepted difference {number}: unknown {', '.join(sorted(unknown))}")
        if entry.get("only") not in (None, "debian", "nixos"):
            raise ValueError(f"accepted difference {number}: only is debian or nixos")
        entries.append(Accepted(tuple(entry["names"]), entry["reason"], entry.get("only")))
    return entries


def differences(debian: Flat, nixos: Flat) -> list[Difference]:
    """What is not the same, by name."""
    names = sorted(debian.keys() | nixos.keys())
    return [
        Difference(name, debian.get(name), nixos.get(name)) for name in names if debian.get(name) != nixos.get(name)
    ]


def judged(found: Iterable[Difference], accepted: Sequence[Accepted]) -> tuple[list[Difference], set[int]]:
    """The differences nobody accepted, and the numbers of the entries that were needed."""
    left, used = [], set()
    for one in found:
        covering = [number for number, entry in enumerate(accepted) if entry.covers(one)]
        used.update(covering)
        if not covering:
            left.append(one)
    return left, used


def canonical(text: str) -> str:
    """The places of either distribution by the same names."""
    for pattern, name in PLACES:
        text = pattern.sub(name, text)
    return text


def unit_facts(unit: str, text: str) -> Flat:
    """``unit U / Section.Key`` → value; variables one by one, ordering as a sorted list."""
    facts: Flat = {}
    for section, keys in unit_sections(text).items():
        for key, values in keys.items():
            if section == "Service" and key == "Environment":
                continue
            name = f"unit {unit} / {section}.{key}"
            cleaned = [TRUTH.get(value, PROGRAM.sub("", canonical(value))) for value in values]
            if key in SETS:
                cleaned = sorted({word for value in cleaned for word in value.split()})
            facts[name] = cleaned
        if section == "Service":
            variables = environment_of(keys)
            facts |= {f"unit {unit} / Environment.{key}": canonical(value) for key, value in variables.items()}
    return facts


_JSON_BLANKS = re.compile(r"([,:]) (?=[\"{\[\d-])")  # as json.dumps writes them and builtins.toJSON does not


def nginx_facts(text: str) -> Flat:
    """Every directive of ``nginx.conf`` by its place."""
    facts: Flat = {}

    def add(place: str, body: Sequence[Directive]) -> None:
        for one in body:
            if one.body is None:
                arguments = canonical(one.arguments)
                if one.name == "return":
                    arguments = _JSON_BLANKS.sub(r"\1", arguments)
                facts.setdefault(f"nginx {place} / {one.name}", []).append(arguments)

    tree = nginx_tree(text)
    add("main", tree)
    for events in blocks(tree, "events"):
        add("events", events.body or ())
    for http in blocks(tree, "http"):
        add("http", http.body or ())
        for kind in ("map", "types"):
            for table in blocks(http.body or (), kind):
                entries = [canonical(" ".join(one.words)) for one in table.body or ()]
                facts[f"nginx {' '.join(table.words)}"] = entries
        for server in blocks(http.body or (), "server"):
            add("server", server.body or ())
            for location in blocks(server.body or (), "location"):
                facts[f"nginx location {location.arguments}"] = "present"
                add(f"location {location.arguments}", location.body or ())
    # Of these one a line may stand in any order.
    return {
        name: sorted(value) if isinstance(value, list) and " map " not in name else value
        for name, value in facts.items()
    }


def environment_facts(target: str, mode: str, group: str, text: str) -> Flat:
    """A file of variables: who may read it, and each variable."""
    facts: Flat = {f"file {target} / access": f"{mode} root:{group}"}
    return facts | {f"file {target} / {name}": value for name, value in environment_file(text).items()}


def settings_facts(conf: str, hba: str) -> Flat:
    """PostgreSQL's settings, and its access rules in order."""
    facts: Flat = {f"postgresql.conf / {key}": value for key, value in postgresql_settings(conf).items()}
    rules = [" ".join(line.split()) for line in hba.splitlines() if line.strip() and not line.startswith("#")]
    return facts | {"pg_hba.conf": rules}


def sshd_facts(text: str) -> Flat:
    return {f"sshd / {key.lower()}": value for key, value in sshd_settings(text).items()}


def ini_facts(name: str, text: str) -> Flat:
    """A file of systemd's syntax: ``NAME / Section.Key`` → values."""
    return {
        f"{name} / {section}.{ALIASES.get(key, key)}": [(TRUTH | SECONDS).get(value, value) for value in values]
        for section, keys in unit_sections(text).items()
        for key, values in keys.items()
    }


_ACCEPT_PORTS = re.compile(r"^\s*tcp dport \{ ([\d, ]+) \} accept", re.MULTILINE)
_ACCEPT_FROM = re.compile(r"^\s*ip saddr (\S+) tcp dport (\d+) accept", re.MULTILINE)


def firewall_facts(rules: str | None) -> Flat:
    """Ports open to everybody, ports open to one address, what happens to the rest, and every other rule."""
    if rules is None:
        return {"firewall / policy": "none"}
    policy = re.search(r"hook input priority filter; policy (\w+)", rules)
    known = re.compile(rf"{_ACCEPT_PORTS.pattern}|{_ACCEPT_FROM.pattern}")
    other = [" ".join(line.split()) for line in rules.splitlines() if not known.match(line)]
    return {
        "firewall / policy": policy[1] if policy else None,
        "firewall / open": sorted(int(port) for found in _ACCEPT_PORTS.findall(rules) for port in found.split(",")),
        "firewall / open to one": sorted(f"{address} {port}" for address, port in _ACCEPT_FROM.findall(rules)),
        "firewall / other rules": sorted({line for line in other if re.search(r"\b(accept|drop)\b", line)}),
    }
