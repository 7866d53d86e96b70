"""Configuration texts to data: units, nginx, PostgreSQL, sshd, environment files, Nix derivations. Pure."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

Section = dict[str, list[str]]


def derivation_environment(text: str) -> dict[str, str]:
    """The environment of a builder, from the text of a ``.drv`` file.

    Attributes given by structured attributes are unpacked, as far as they are strings.

    Raises:
        ValueError: this is no derivation.
    """
    if not text.startswith("Derive("):
        raise ValueError(f"no derivation: {text[:40]!r}")
    try:
        fields = ast.literal_eval(text.removeprefix("Derive"))  # its lists, tuples and strings are Python's, too
    except SyntaxError as error:
        raise ValueError(f"a derivation that cannot be read: {error}") from error
    environment: dict[str, str] = dict(fields[6])
    if packed := environment.get("__json"):
        environment |= {key: value for key, value in json.loads(packed).items() if isinstance(value, str)}
    return environment


def unit_sections(text: str) -> dict[str, Section]:
    """Section → key → its values in order. An empty value clears the list, as systemd does."""
    sections: dict[str, Section] = {}
    section: Section = {}
    for line in text.replace("\\\n", " ").splitlines():
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line[0] == "[":
            section = sections.setdefault(line.strip("[]"), {})
            continue
        key, _, value = line.partition("=")
        values = section.setdefault(key.strip(), [])
        if value.strip():
            values.append(value.strip())
        else:
            values.clear()
    return sections


def environment_of(section: Section) -> dict[str, str]:
    """The variables of Environment= lines."""
    words = [word for value in section.get("Environment", []) for word in shlex.split(value)]
    return {name: value.replace("%%", "%") for name, _, value in (word.partition("=") for word in words)}


def environment_file(text: str) -> dict[str, str]:
    """The variables of an EnvironmentFile= whose values are quoted as a shell would read them."""
    return {name: value for name, _, value in (word.partition("=") for word in shlex.split(text))}


def postgresql_settings(text: str) -> dict[str, str]:
    """``postgresql.conf``: setting → value without quotes; on and off for every spelling of a truth value."""
    settings = {}
    for line in text.splitlines():
        if found := re.fullmatch(r"\s*([a-z_.]+)\s*=\s*(?:'((?:[^']|'')*)'|(\S+))\s*(?:#.*)?", line):
            name, quoted, plain = found.groups()
            value = quoted.replace("''", "'") if quoted is not None else plain
            settings[name] = {"yes": "on", "true": "on", "no": "off", "false": "off"}.get(value, value)
    return settings


def sshd_settings(text: str) -> dict[str, str]:
    """``sshd_config``: the first value of each keyword counts."""
    settings: dict[str, str] = {}
    for line in text.splitlines():
        words = line.strip().split(None, 1)
        if len(words) == 2 and not words[0].startswith("#"):
            settings.setdefault(words[0], words[1].strip())
    return settings


@dataclass(frozen=True, slots=True)
class Directive:
    """One nginx directive; ``body`` is None for one that ends in a semicolon."""

    words: tuple[str, ...]
    body: tuple[Directive, ...] | None = None

    @property
    def name(self) -> str:
        return self.words[0]

    @property
    def arguments(self) -> str:
        return " ".join(self.words[1:])


def nginx_tree(text: str) -> tuple[Directive, ...]:
    """``nginx.conf`` as a tree, quotes taken off.

    Raises:
        ValueError: braces or semicolons do not fit.
    """
    tokens = list(_nginx_tokens(text))
    position = 0

    def block(inside: bool) -> tuple[Directive, ...]:
        nonlocal position
        found: list[Directive] = []
        words: list[str] = []
        while position < len(tokens):
            token, quoted = tokens[position]
            position += 1
            if quoted or token not in ";{}":
                words.append(token)
            elif token == ";":
                if not words:
                    raise ValueError("a semicolon without a directive")
                found.append(Directive(tuple(words)))
                words = []
            elif token == "{":
                head, words = tuple(words), []
                found.append(Directive(head, block(inside=True)))
            elif inside and not words:
                return tuple(found)
            else:
                raise ValueError(f"an unexpected }} after {words or 'the last block'}")
        if inside or words:
            raise ValueError(f"the end came too early, after {words}")
        return tuple(found)

    return block(inside=False)


_NGINX_TOKEN = re.compile(
    r"""\s+ | \#[^\n]* | (?P<single>'(?:\\.|[^'\\])*') | (?P<double>"(?:\\.|[^"\\])*")
      | (?P<mark>[;{}]) | (?P<word>(?:\$\{[^}]*\}|\\.|[^\s;{}'"\\])(?:\$\{[^}]*\}|\\.|[^\s;{}\\])*)""",
    re.VERBOSE | re.DOTALL,
)


def _nginx_tokens(text: str) -> Iterator[tuple[str, bool]]:
    position = 0
    while position < len(text):
        found = _NGINX_TOKEN.match(text, position)
        if found is None:
            raise ValueError(f"unreadable at {text[position : position + 30]!r}")
        position = found.end()
        if quoted := found["single"] or found["double"]:
            yield quoted[1:-1], True
        elif token := found["mark"] or found["word"]:
            yield token, False


def blocks(tree: Sequence[Directive], name: str) -> list[Directive]:
    """The blocks of that name directly in ``tree``."""
    return [one for one in tree if one.name == name and one.body is not None]


def nginx_server(tree: Sequence[Directive]) -> tuple[Directive, ...]:
    """The body of the one server.

    Raises:
        ValueError: there is none, or more than one.
    """
    servers = [server for http in blocks(tree, "http") for server in blocks(http.body or (), "server")]
    if len(servers) != 1:
        raise ValueError(f"{len(servers)} servers in nginx.conf, expected one")
    return servers[0].body or ()


def inherited(tree: Sequence[Directive], name: str) -> dict[str, list[str]]:
    """Location → the arguments of a directive that hold there: its own, or the server's when it has none.

    That is nginx's rule for add_header, proxy_set_header and the like.
    """
    server = nginx_server(tree)

    def own(body: Sequence[Directive]) -> list[str]:
        return [one.arguments for one in body if one.name == name]

    outer = own(server)
    return {one.arguments: own(one.body or ()) or outer for one in blocks(server, "location")}
