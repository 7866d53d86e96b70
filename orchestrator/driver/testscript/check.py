"""What a script uses that is not there, told before anything boots. Pure but for the search of imported modules."""

from __future__ import annotations

import ast
import builtins
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache

from orchestrator.driver.shell import python_name
from orchestrator.driver.testscript.check_names import Names, names_of
from orchestrator.driver.testscript.namespace import SYMBOLS
from orchestrator.driver.testscript.script import Script
from orchestrator.driver.testscript.script_base import NOT_SUPPORTED
from orchestrator.driver.testscript.script_machine import ScriptMachine

LOG = frozenset({"log", "info", "debug", "warning", "error", "nested", "subtest"})
DRIVER = frozenset(
    {
        "create_machine",
        "join_all",
        "logger",
        "machines",
        "machines_nspawn",
        "machines_qemu",
        "out_dir",
        "polling_conditions",
        "serial_stdout_off",
        "serial_stdout_on",
        "start_all",
        "subtest",
        "vlans",
    }
)
# Texts that make sense in a machine of NixOS only.
NIXOS_ONLY = {
    r"switch-to-configuration": "machines of NixOS have it, and it needs their other configurations",
    r"/nix/store/": "no file of the Nix store is in this machine",
    r"/run/current-system": "a folder of NixOS",
    r"\bnixos-rebuild\b": "a program of NixOS",
}
SHARED = "/tmp/shared"  # noqa: S108 - a folder of guests
NOT_SHARED = "machines and this host have no common folder: use copy_from_machine and copy_from_host"
_DOTTED = re.compile(r"\$\{\s*(?:[A-Za-z_][\w'-]*(?:\.[\w\"'-]+)+|(?:toString|builtins|if)\b)[^}]*\}")
_PLAIN = re.compile(r"\$\{([a-z][\w'-]*)\}")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a script uses.

    Attributes:
        severity: ``error``: it is not run; ``warning``: it is, and may fail there.
    """

    file: str
    line: int
    symbol: str
    why: str
    severity: str = "error"

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.symbol}: {self.why}"

    def as_dict(self) -> dict[str, object]:
        """As JSON-ready data."""
        return asdict(self)


def check(script: Script, machines: Iterable[str], networks: int = 0, *, nixos: bool = False) -> list[Finding]:
    """What the script cannot have, by line.

    Args:
        machines: names in the topology.
        networks: how many it has.
        nixos: its machines are NixOS.
    """
    found = [Finding(script.shown, problem.line, problem.symbol, problem.why) for problem in script.problems]
    if found:
        return found
    try:
        tree = ast.parse(script.text, script.shown)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 1
        return [Finding(script.shown, line, "syntax", getattr(error, "msg", None) or str(error))]
    looked = _Look(script, tree, sorted(machines), networks, nixos=nixos)
    return sorted(set(looked.findings()), key=lambda one: (one.line, one.symbol, one.why))


class _Look:
    """One look through the tree of a script."""

    def __init__(self, script: Script, tree: ast.Module, machines: list[str], networks: int, *, nixos: bool) -> None:
        self._script = script
        self._tree = tree
        self._machines = machines
        self._nixos = nixos
        variables = {python_name(name) for name in machines}
        if len(machines) == 1:
            variables.add("machine")
        self._names: Names = names_of(tree, variables)
        self._vlans = {f"vlan{number}" for number in range(1, networks + 1)}

    def _finding(self, node: ast.AST, symbol: str, why: str, severity: str = "error") -> Finding:
        return Finding(self._script.shown, getattr(node, "lineno", 1), symbol, why, severity)

    def findings(self) -> Iterator[Finding]:
        for node in ast.walk(self._tree):
            match node:
                case ast.Name(ctx=ast.Load()):
                    yield from self._name(node)
                case ast.Attribute(value=ast.Name()):
                    yield from self._attribute(node)
                case ast.Call(func=ast.Attribute(value=ast.Name())):
                    yield from self._call(node)
                case ast.Import() | ast.ImportFrom():
                    yield from self._import(node)
                case ast.Constant(value=str()):
                    yield from self._text(node)

    # ------------------------------------------------------------------ names

    def _name(self, node: ast.Name) -> Iterator[Finding]:
        name = node.id
        if name in NOT_SUPPORTED and name in SYMBOLS and name not in self._names.bound:
            yield self._finding(node, name, NOT_SUPPORTED[name])
        known = self._names.bound | self._names.machines | SYMBOLS | self._vlans
        if name in known or hasattr(builtins, name) or name.startswith("__"):
            return
        if re.fullmatch(r"vlan\d+", name):
            yield self._finding(node, name, f"the topology has {len(self._vlans)} networks")
        elif name == "machine" and len(self._machines) > 1:
            yield self._finding(node, name, f"which of them? the topology has {', '.join(self._machines)}")
        elif name in self._names.used_as_machines:
            yield self._finding(node, name, f"no such machine in the topology: it has {', '.join(self._machines)}")
        else:
            yield self._finding(node, name, "this name is not defined")

    def _attribute(self, node: ast.Attribute) -> Iterator[Finding]:
        assert isinstance(node.value, ast.Name)
        owner, name = node.value.id, node.attr
        symbol = f"{owner}.{name}"
        if owner in self._names.machines:
            if name in NOT_SUPPORTED:
                yield self._finding(node, symbol, NOT_SUPPORTED[name])
            elif name not in _machine_attributes() and isinstance(node.ctx, ast.Load):
                yield self._finding(node, symbol, "machines have no such method here")
        elif owner in self._names.bound:
            return
        elif owner == "log" and name not in LOG:
            yield self._finding(node, symbol, "log has no such method")
        elif owner == "driver" and name not in DRIVER:
            yield self._finding(node, symbol, "driver has no such attribute here")
        elif owner == "driver" and name in NOT_SUPPORTED:
            yield self._finding(node, symbol, NOT_SUPPORTED[name])

    def _call(self, node: ast.Call) -> Iterator[Finding]:
        assert isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name)
        owner, name = node.func.value.id, node.func.attr
        signature = _signatures().get(name)
        if owner not in self._names.machines or signature is None:
            return
        parameters = signature.parameters
        for keyword in node.keywords:
            if keyword.arg is not None and keyword.arg not in parameters:
                yield self._finding(node, f"{owner}.{name}", f"it has no parameter {keyword.arg}")

    # ------------------------------------------------------------------ imports and texts

    def _import(self, node: ast.Import | ast.ImportFrom) -> Iterator[Finding]:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
        for name in names:
            top = name.partition(".")[0]
            if top and not self._importable(top):
                yield self._finding(node, name, f"the module {top} is not installed in {sys.prefix}")

    def _importable(self, top: str) -> bool:
        folder = self._script.path.parent
        if (folder / f"{top}.py").exists() or (folder / top).is_dir():
            return True
        try:
            return importlib.util.find_spec(top) is not None
        except (ImportError, ValueError):
            return False

    def _text(self, node: ast.Constant) -> Iterator[Finding]:
        text = str(node.value)
        for found in _DOTTED.finditer(text):
            why = "an antiquotation of Nix: write its value in its place"
            yield self._finding(_at(node, text, found.start()), _shortened(found[0]), why)
        for found in _PLAIN.finditer(text):
            if not self._set_by_shell(found[1]):
                why = "if it is an antiquotation of Nix, write its value in its place; no command sets this variable"
                yield self._finding(_at(node, text, found.start()), found[0], why, "warning")
        if not self._nixos:
            for pattern, why in NIXOS_ONLY.items():
                if (hit := re.search(pattern, text)) is not None:
                    yield self._finding(_at(node, text, hit.start()), hit[0], why)
        if (place := text.find(SHARED)) >= 0:
            yield self._finding(_at(node, text, place), SHARED, NOT_SHARED)

    def _set_by_shell(self, name: str) -> bool:
        return re.search(rf"\b(?:{name}=|read\b[^\n]*\b{name}\b|for {name}\b)", self._script.text) is not None


def _at(node: ast.Constant, text: str, place: int) -> ast.AST:
    """The node, or one in the line of a place within a text of several lines."""
    if (node.end_lineno or node.lineno) == node.lineno:
        return node
    return ast.Pass(lineno=node.lineno + text.count("\n", 0, place), col_offset=0)


def _shortened(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= 60 else f"{words[:57]}..."


@cache
def _machine_attributes() -> frozenset[str]:
    return frozenset(name for name in dir(ScriptMachine) if not name.startswith("_"))


@cache
def _signatures() -> Mapping[str, inspect.Signature]:
    return {
        name: inspect.signature(getattr(ScriptMachine, name))
        for name in _machine_attributes()
        if callable(getattr(ScriptMachine, name))
    }
