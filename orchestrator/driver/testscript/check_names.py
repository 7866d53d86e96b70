"""Which names a script binds itself, and which of them are machines. Pure.

A name that is bound anywhere counts as bound everywhere: the check must not find what is not wrong.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.driver.testscript.namespace import TYPES
from orchestrator.driver.testscript.script_machine import ScriptMachine

LISTS = frozenset({"machines", "machines_qemu"})
METHODS = frozenset(name for name in dir(ScriptMachine) if not name.startswith("_"))


@dataclass(frozen=True, slots=True)
class Names:
    """The names of a script.

    Attributes:
        bound: what it binds: assignments, imports, parameters, loops.
        machines: names that can only be machines, those of the topology among them.
        used_as_machines: names on which methods of machines are called.
    """

    bound: frozenset[str]
    machines: frozenset[str]
    used_as_machines: frozenset[str]


def names_of(tree: ast.Module, variables: set[str]) -> Names:
    """All names of a script.

    Args:
        variables: those of the topology's machines.
    """
    bound = set(_bound(tree))
    own = set(_machines_bound(tree, variables - bound)) - _otherwise_bound(tree)
    used = {
        node.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in METHODS
    }
    return Names(frozenset(bound), frozenset((variables - bound) | own), frozenset(used))


def _bound(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                yield name
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.arg(arg=name):
                yield name
            case ast.alias(name=name, asname=other):
                yield other or name.partition(".")[0]
            case ast.ExceptHandler(name=str() as name):
                yield name
            case ast.MatchAs(name=str() as name) | ast.MatchStar(name=str() as name):
                yield name
            case ast.MatchMapping(rest=str() as name):
                yield name


def _machines_bound(tree: ast.AST, variables: set[str]) -> Iterator[str]:
    """Names that the script binds to machines: loops over them, and parameters of their type."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.For(target=ast.Name(id=name), iter=found) | ast.comprehension(target=ast.Name(id=name), iter=found)
            ) if _are_machines(found, variables):
                yield name
            case ast.arg(arg=name, annotation=ast.Name(id=kind)) if kind in TYPES:
                yield name


def _are_machines(node: ast.AST, variables: set[str]) -> bool:
    match node:
        case ast.Name(id=name):
            return name in LISTS
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return bool(items) and all(isinstance(item, ast.Name) and item.id in variables for item in items)
    return False


def _otherwise_bound(tree: ast.AST) -> set[str]:
    """Names that are also bound to something else, so that nothing can be said of them."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=targets):
                found |= {one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name)}
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.NamedExpr(target=ast.Name(id=name)):
                found.add(name)
            case ast.arg(arg=name, annotation=kind) if not (isinstance(kind, ast.Name) and kind.id in TYPES):
                found.add(name)
            case ast.For(target=target, iter=iterated) if not _are_machines(iterated, {*_loads(iterated)}):
                found |= {one.id for one in ast.walk(target) if isinstance(one, ast.Name)}
            case ast.withitem(optional_vars=ast.Name(id=name)):
                found.add(name)
    return found


def _loads(node: ast.AST) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Name):
            yield one.id
