"""What was typed at a prompt, and a test for pytest made of it."""

from __future__ import annotations

import ast
import textwrap
from collections.abc import Collection, Iterator
from pathlib import Path

from orchestrator.errors import UsageError

# What is of use at the prompt only.
INTERACTIVE = frozenset({"save_test", "exit", "quit", "help", "shell_interact", "console_interact"})
# Names at the prompt → what they are in a test with the fixture ``environment``.
OF_ENVIRONMENT = {
    "env": "environment",
    "services": "environment.services",
    "start_all": "environment.start_all",
}
INDENT = "    "


class Typed:
    """The statements that were typed and did not fail.

    Args:
        environment: its name, for the test's docstring.
        machines: the names of its machines at the prompt.
    """

    def __init__(self, environment: str, machines: Collection[str]) -> None:
        self.statements: list[str] = []
        self._environment = environment
        self._machines = machines

    def add(self, source: str) -> None:
        """Statements that were run without an error."""
        self.statements.append(source)

    def save_test(self, name: str) -> None:
        """Write the statements typed so far that did not fail as a test for pytest.

        Args:
            name: of the file, as ``test_login.py``; pytest finds only such names.

        Raises:
            UsageError: there is nothing to write, or the file exists already.
        """
        path = Path(name)
        text = module_text(self._environment, self._machines, self.statements)
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise UsageError(f"{path} exists already", hint="another name") from None
        except OSError as error:
            raise UsageError(f"{path} cannot be written", why=str(error)) from error
        print(f"{path}: run it with `pytest {path}`")  # noqa: T201 - at the prompt


def module_text(environment: str, machines: Collection[str], statements: Collection[str]) -> str:
    """A module with one test. Pure.

    Raises:
        UsageError: none of the statements is of use in a test.
    """
    imports, body, used = [], [], set[str]()
    for source in statements:
        for node in _nodes(source):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                imports.append(ast.unparse(node))
                continue
            body.append(_text(source, node))
            used |= {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
    if not body:
        raise UsageError("there is nothing to write", why="no statement that did not fail was typed so far")
    bound = [f"{name} = {value}" for name, value in OF_ENVIRONMENT.items() if name in used]
    fixtures = [*(["environment"] if bound else []), *(name for name in machines if name in used)]
    lines = [f'"""Typed at the prompt of environment {environment}."""', "", *dict.fromkeys(imports)]
    lines += ["", ""] if imports else [""]
    lines += [f"def test_typed({', '.join(fixtures)}):"]
    return "\n".join(lines) + "\n" + textwrap.indent("\n".join([*bound, *body]), INDENT) + "\n"


def _nodes(source: str) -> Iterator[ast.stmt]:
    """The statements of a source that belong in a test; none where it is no Python, as IPython's commands."""
    try:
        found = ast.parse(source).body
    except (SyntaxError, ValueError):
        return
    for node in found:
        called = [each for each in ast.walk(node) if isinstance(each, (ast.Call, ast.Await))]
        names = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        names |= {each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute)}
        only_shown = isinstance(node, ast.Expr) and not called
        if not only_shown and not names & INTERACTIVE:
            yield node


def _text(source: str, node: ast.stmt) -> str:
    """A statement as it was typed; in other words where its text cannot be indented, or shares a line."""
    decorators = getattr(node, "decorator_list", [])
    first = min([node.lineno, *(each.lineno for each in decorators)])
    lines = source.splitlines()[first - 1 : node.end_lineno]
    whole = ast.get_source_segment(source, node) or ""
    alone = decorators or "\n".join(lines).strip() == whole.strip()
    long_strings = any(
        isinstance(each, (ast.Constant, ast.JoinedStr)) and each.end_lineno != each.lineno for each in ast.walk(node)
    )
    return "\n".join(lines) if alone and not long_strings else ast.unparse(node)
