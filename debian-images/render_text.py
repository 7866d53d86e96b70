"""Data to text: unit files, environment files, PostgreSQL's and nginx's configuration. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

Directives = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing the layer puts into the guest.

    Attributes:
        kind: ``file``, ``directory`` or ``symlink``.
        content: text of a file; None when ``source`` names a host file.
        to: where a symbolic link points.
    """

    kind: str
    target: str
    content: str | None = None
    source: Path | None = None
    mode: str = "0644"
    owner: str = "root"
    group: str = "root"
    to: str = ""


def text_file(target: str, content: str, mode: str = "0644", owner: str = "root", group: str = "root") -> Item:
    """A file with this content; leading line breaks are cut, so that a literal may begin on its own line."""
    return Item("file", target, content=content.lstrip("\n"), mode=mode, owner=owner, group=group)


def link(target: str, to: str) -> Item:
    return Item("symlink", target, to=to)


def folder(target: str, mode: str = "0755", owner: str = "root", group: str = "root") -> Item:
    return Item("directory", target, mode=mode, owner=owner, group=group)


def substitute(text: str, names: Mapping[str, str]) -> str:
    """Fill in ``@name@``.

    Raises:
        KeyError: a name nobody gave, so that none reaches a guest unfilled.
    """
    return re.sub(r"@([a-z][a-z.-]*)@", lambda match: names[match[1]], text)


def unit_text(sections: Mapping[str, Directives], names: Mapping[str, str]) -> str:
    """A unit file. The table ``Environment`` becomes Environment= lines of the Service section.

    A list gives one line per item, a truth value yes or no.
    """
    blocks = []
    for section, directives in sections.items():
        if section == "Environment":
            continue
        lines = [f"[{section}]"]
        for key, value in directives.items():
            lines += [
                f"{key}={substitute(_value(one), names)}" for one in (value if isinstance(value, list) else [value])
            ]
        if section == "Service":
            environment = sections.get("Environment", {})
            lines += [f"Environment={quoted(f'{key}={value}', names)}" for key, value in environment.items()]
        blocks.append("\n".join(lines) + "\n")
    return "\n".join(blocks)


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def quoted(assignment: str, names: Mapping[str, str]) -> str:
    """``"NAME=value"`` for Environment=, specifiers and quotes escaped."""
    text = substitute(assignment, names).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"'


def environment_file(variables: Mapping[str, str]) -> str:
    """The text of an EnvironmentFile=. Every value is quoted, a reader may be a shell as well."""
    lines = []
    for name, value in variables.items():
        escaped = re.sub(r'(["\\$`])', r"\\\1", value)
        lines.append(f'{name}="{escaped}"\n')
    return "".join(lines)


def postgresql_conf(settings: Mapping[str, object], paths: Mapping[str, str]) -> str:
    """``postgresql.conf``: the settings, then the places of the distribution."""
    lines = [f"{name} = {_setting(value)}\n" for name, value in {**settings, **paths}.items()]
    return "".join(lines)


def _setting(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, int):
        return str(value)
    return "'" + str(value).replace("'", "''") + "'"


def nginx_conf(nginx: Mapping[str, object], *, variant: str, user: str, names: Mapping[str, str]) -> str:
    """The whole ``nginx.conf``.

    Raises:
        ValueError: a directive stands twice where nginx allows it once.
    """
    http = [
        "include /etc/nginx/mime.types",
        "default_type application/octet-stream",
        "access_log /var/log/nginx/access.log",
        *_texts(nginx["http"]),
    ]
    headers = _table(nginx["headers"])
    server = [
        *[f"listen {address}" for address in _texts(nginx["listen"])],
        f"root {nginx['root']}",
        *_texts(nginx["server"]),
        *[f"proxy_hide_header {name}" for name in headers],
        *[f'add_header {name} "{value}" always' for name, value in headers.items()],
    ]
    lines = [
        f"user {user};",
        "worker_processes auto;",
        "pid /run/nginx.pid;",
        "error_log /var/log/nginx/error.log;",
        "events { worker_connections 1024; }",
        "http {",
        *_block(http, "    "),
        "    types {",
        *_block([f"{mime} {extensions}" for mime, extensions in _table(nginx["types"]).items()], " " * 8),
        "    }",
    ]
    for source, table in _table(nginx["maps"]).items():
        assert isinstance(table, Mapping)
        lines += [
            f"    map {source} {table['variable']} {{",
            *_block(_texts(table["entries"]), " " * 8),
            "    }",
        ]
    lines += ["    server {", *_block(server, " " * 8)]
    for location in _tables(nginx["locations"]):
        if variant not in _texts(location.get("variants", [variant])):
            continue
        directives = _block(_texts(location["directives"]), " " * 12)
        lines += [f"        location {location['match']} {{", *directives, "        }"]
    lines += ["    }", "}"]
    return substitute("\n".join(lines) + "\n", names)


_REPEATABLE = {"add_header", "proxy_hide_header", "proxy_set_header", "listen", "include"}


def _block(directives: Sequence[str], indent: str) -> list[str]:
    seen: set[str] = set()
    for directive in directives:
        words = directive.split()
        name = " ".join(words[:2]) if words[0] in _REPEATABLE else words[0]
        if name in seen:
            raise ValueError(f"nginx would refuse or double `{name}`")
        seen.add(name)
    return [f"{indent}{directive};" for directive in directives]


def config_json(values: Mapping[str, object]) -> str:
    """The body of /config.json, fit for single quotes in nginx.conf.

    Raises:
        ValueError: a value holds what nginx would take for its own syntax.
    """
    text = json.dumps(dict(values))
    if re.search(r"['$\\]", text):
        raise ValueError(f"not to be quoted in nginx.conf: {text}")
    return text


def _texts(value: object) -> list[str]:
    assert isinstance(value, list)
    return [str(one) for one in value]


def _table(value: object) -> Mapping[str, object]:
    assert isinstance(value, Mapping)
    return value


def _tables(value: object) -> Iterable[Mapping[str, object]]:
    assert isinstance(value, list)
    return value
