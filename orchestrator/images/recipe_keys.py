"""Every key of a recipe, described once: type, default, meaning. Pure.

The reader knows the keys from here; the JSON Schema and the tables of docs/images.md are made of them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from orchestrator.quantities import MIB, parse_size
from orchestrator.topology import values
from orchestrator.topology.document import Node, quote
from orchestrator.topology.keys import REQUIRED, Key
from orchestrator.topology.value_types import Array, Entries, HostPath, InvalidValue, Shape, value

ARCHITECTURES: Final = ("amd64", "arm64")
ENVIRONMENT: Final = "Environment"  # the section that no unit file has

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+(:[a-z0-9]+)?(/[a-z0-9.~-]+|=[A-Za-z0-9.+~:-]+)?")
_IMAGE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_SUITE = re.compile(r"[a-z][a-z0-9./-]*")
_PYTHON = re.compile(r"3\.[0-9]{1,2}")


@value("size", pattern="^[0-9]")
def disk_size(node: Node) -> int:
    """Bytes, at least 1 MiB."""
    try:
        found = parse_size(node.value) if isinstance(node.value, str) else 0
    except ValueError:
        found = 0
    if found < MIB:
        raise InvalidValue(f'expected a size from 1MiB, like "512MiB" or "3GiB", found {node.describe()}')
    return found


@value("package", pattern="^[a-z0-9]")
def package(node: Node) -> str:
    """The name of a Debian package, with ``=version`` or ``/suite`` where one is wanted."""
    return values.matching(node, _PACKAGE, "the name of a Debian package")


@value("name", pattern=f"^{_IMAGE_NAME.pattern}$")
def image_name(node: Node) -> str:
    return values.matching(node, _IMAGE_NAME, "letters, digits and _.-")


@value("release", pattern=f"^{_SUITE.pattern}$")
def suite(node: Node) -> str:
    return values.matching(node, _SUITE, 'the name of a release like "trixie"')


@value("3.N", pattern=f"^{_PYTHON.pattern}$")
def python_version(node: Node) -> str:
    return values.matching(node, _PYTHON, 'a version like "3.13"')


@value("number", type="integer", minimum=0, maximum=65533)
def account_id(node: Node) -> int:
    return values.integer(node, 0, 65533)


@value("text", pattern="^\\S+$")
def link_target(node: Node) -> str:
    """Where a symbolic link points."""
    found = values.single_line(node)
    if re.search(r'[\s"]', found):
        raise InvalidValue(f"a link cannot point to a path with blanks or quotes: {quote(found)}")
    return found


def _tables(pattern: str, text: str = "tables") -> Shape:
    return Shape(text, {"type": "object", "additionalProperties": {"$ref": f"#/definitions/{pattern}"}})


_SECTIONS = Shape(
    "tables of sections",
    {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": {"type": "object"}}},
)
_UNITS = Array(values.unit, "list of units")
_OWNERSHIP = {
    "mode": Key(values.mode, "permissions, as an octal string"),
    "owner": Key(values.user, "", '`"root"`'),
    "group": Key(values.user, "", '`"root"`'),
}

_RECIPE = {
    "name": Key(image_name, "of the run script `bin/run-NAME-vm`", "the file's name"),
    "include": Key(
        Array(values.host_path, "list of host paths"),
        "recipes that come first: files, `orchestrator:base` or `orchestrator:browser`. The name of a template ends in"
        " `.j2`",
    ),
    "suite": Key(suite, "the release of Debian", '`"trixie"`'),
    "architecture": Key(
        Shape(", ".join(f'`"{one}"`' for one in ARCHITECTURES), {"enum": list(ARCHITECTURES)}),
        "of the guest's processor",
        "that of the host",
    ),
    "mirror": Key(values.single_line, "where the packages come from", "`http://deb.debian.org/debian`"),
    "packages": Key(Array(package, "list of packages"), "what is installed; recommended packages are not"),
    "dpkg_exclude": Key(Array(values.nonempty), "paths that no package installs, with `*`"),
    "apt": Key(_tables("apt.NAME"), "further sources of packages, see `apt.NAME`"),
    "size": Key(disk_size, "of the root file system; the image is sparse", '`"2GiB"`'),
    "memory": Key(values.memory, "what the run script asks for; the topology overrides it", '`"1GiB"`'),
    "cpus": Key(values.cpus, "what the run script asks for; the topology overrides it", "`1`"),
    "kernel_parameters": Key(Array(values.single_line), "appended to the kernel's command line"),
    "groups": Key(_tables("groups.NAME"), "see `groups.NAME`"),
    "users": Key(_tables("users.NAME"), "see `users.NAME`"),
    "run": Key(
        Entries(values.nonempty, "table of scripts"),
        "shell scripts by name, run as root in the new system in this order, after packages and accounts. Files that"
        " are not `early` come later",
    ),
    "files": Key(_tables("files.PATH"), "see `files.PATH`"),
    "folders": Key(_tables("folders.PATH"), "see `folders.PATH`"),
    "links": Key(Entries(link_target, "table of paths"), "symbolic links: path = what it points to"),
    "units": Key(
        _SECTIONS,
        "unit files by name, each a table of sections. A list gives a line for each item. The table `Environment`"
        " becomes `Environment=` lines of the service",
    ),
    "drop_ins": Key(_SECTIONS, "drop-ins to units of packages, as `units`"),
    "enable": Key(_UNITS, "units that the boot starts, as `systemctl enable` does"),
    "disable": Key(_UNITS, "units that the boot does not start, whatever their package says"),
    "mask": Key(_UNITS, "units that cannot be started at all"),
    "npm": Key(_tables("npm.NAME"), "see `npm.NAME`"),
    "python": Key(_tables("python.NAME"), "see `python.NAME`"),
    "variables": Key(Shape("table", {"type": "object"}), "what templates can use, with `variant` and `name`"),
    "data": Key(
        Entries(values.host_path, "table of host paths"), "TOML or JSON files that templates can use as variables"
    ),
    "layer": Key(Shape("table", {"$ref": "#/definitions/layer"}), "a program that makes further files, see `layer`"),
}

RECIPE_KEYS: Final[Mapping[str, Mapping[str, Key]]] = MappingProxyType(
    {
        "": _RECIPE,
        "apt.NAME": {
            "uris": Key(values.single_line, "where the repository is", REQUIRED),
            "suites": Key(values.nonempty, "one release of it", REQUIRED),
            "components": Key(Array(values.nonempty), "", '`["main"]`'),
            "key": Key(HostPath(), "the file of the key that signs it (`.asc` or `.gpg`)", REQUIRED),
        },
        "groups.NAME": {
            "gid": Key(account_id, "its number", "the next free one"),
            "system": Key(values.flag, "whether its number is one of the system's", "`false`"),
        },
        "users.NAME": {
            "uid": Key(account_id, "its number", "the next free one"),
            "system": Key(values.flag, "whether its number is one of the system's", "`false`"),
            "home": Key(values.guest_path, "", "`/home/NAME`, for users of the system `/nonexistent`"),
            "create_home": Key(values.flag, "", "`true`, for users of the system `false`"),
            "shell": Key(values.guest_path, "", "`/bin/bash`, for users of the system `/usr/sbin/nologin`"),
            "comment": Key(values.single_line, "the name for people"),
            "groups": Key(Array(values.user), "further groups; the user's own group is always made"),
        },
        "files.PATH": {
            "content": Key(values.string, "its text; a line break at the beginning is cut"),
            "source": Key(HostPath(), "a file that is copied as it is"),
            "template": Key(HostPath(), "a Jinja2 template, filled in with the variables"),
            "early": Key(values.flag, "whether it exists before the packages are configured", "`false`"),
            **_OWNERSHIP,
        },
        "folders.PATH": {
            "source": Key(HostPath(), "a folder that is copied; files keep their executable bit"),
            "exclude": Key(Array(values.nonempty), "names that are left out at every depth"),
            **_OWNERSHIP,
        },
        "npm.NAME": {
            "lock": Key(HostPath(), "a `package-lock.json` (version 2 or 3)", REQUIRED),
            "target": Key(values.guest_path, "the folder that gets `node_modules`", REQUIRED),
            "only": Key(
                Shape("tables", {"type": "object", "additionalProperties": {"type": "array"}}),
                "package = list of its files and folders that are wanted",
                "everything",
            ),
        },
        "python.NAME": {
            "lock": Key(HostPath(), "requirements with hashes, wheels only", REQUIRED),
            "target": Key(values.guest_path, "a folder for `sys.path` or PYTHONPATH", REQUIRED),
            "python": Key(python_version, "the guest's Python", "that of the release"),
        },
        "layer": {
            "program": Key(
                HostPath(),
                "called as `python PROGRAM ARGUMENTS --variant V --out DIR`; writes `manifest.json` into DIR",
                REQUIRED,
            ),
            "arguments": Key(Array(values.string), ""),
        },
    }
)
