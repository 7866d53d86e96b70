"""docs/api.md, made from the docstrings: ``python -m orchestrator.cli.api_reference > docs/api.md``."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterator
from textwrap import dedent

from orchestrator import sync
from orchestrator.driver.generate import CLASSES, VALUES

HEAD = """# API reference

<!-- Made by `python -m orchestrator.cli.api_reference > docs/api.md`. Change the docstrings, not this page. -->

`orchestrator.sync` has plain calls, `orchestrator.api` the same names to be awaited, on any event loop. The
[tutorial](driver.md) shows them at work.

All limits (`timeout`) are seconds on a host with KVM. They are multiplied by the [time factor](glossary.md) of a slower
host. A `datetime.timedelta` is taken too; `None` is no limit.

Every error is an `OrchestratorError` with `what`, `why`, `where`, `evidence` and `hint`. `CommandFailed` and
`WaitFailed` are an `AssertionError` as well, so that a test runner counts them as failures.
"""
OPERATORS = {"__getitem__": "environment[name]", "__iter__": "iter(environment)", "__truediv__": "path / name"}


def reference() -> str:
    """The whole page."""
    return "\n".join([HEAD, *("\n".join(_class(name)) for name in (*CLASSES, *VALUES))])


def _class(name: str) -> Iterator[str]:
    cls = getattr(sync, name)
    yield f"## {name}\n"
    yield _text(inspect.getdoc(cls) or "")
    for key, member in vars(cls).items():
        if key in OPERATORS or (not key.startswith("_") and _shown(member)):
            yield from _member(key, member)


def _shown(member: object) -> bool:
    return isinstance(member, property | classmethod) or inspect.isfunction(member)


def _member(name: str, member: object) -> Iterator[str]:
    if isinstance(member, property):
        assert member.fget is not None
        yield f"### `{name}`: `{inspect.signature(member.fget).return_annotation}`\n"
        yield _text(inspect.getdoc(member) or "")
        return
    function = member.__func__ if isinstance(member, classmethod) else member
    assert inspect.isfunction(function)
    text = _signature(function)
    yield f"### `{OPERATORS[name]}`\n" if name in OPERATORS else f"### `{name}{text}`\n"
    yield _text(inspect.getdoc(function) or "")


def _signature(function: Callable[..., object]) -> str:
    """The parameters as a call has them, and what comes back."""
    signature = inspect.signature(function)
    shown, keywords = [], False
    for parameter in list(signature.parameters.values())[1:]:
        if parameter.kind is parameter.KEYWORD_ONLY and not keywords:
            shown.append("*")
        keywords = keywords or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        shown.append(f"{star}{parameter.name}: {parameter.annotation}{default}")
    return f"({', '.join(shown)}) → {signature.return_annotation}"


def _text(docstring: str) -> str:
    """A docstring as Markdown: literals, examples, and lists of arguments."""
    text = docstring.replace("``", "`")
    text = re.sub(
        r"::\n\n((?:    .*\n?|\n)+)", lambda found: f":\n\n```python\n{dedent(found[1]).strip()}\n```\n", text
    )
    for section in ("Args", "Returns", "Raises", "Attributes"):
        text = re.sub(rf"^{section}:\n((?:    .*\n?)+)", lambda found, s=section: _list(s, found[1]), text, flags=re.M)  # type: ignore[misc]
    return f"{text.strip()}\n"


def _list(section: str, lines: str) -> str:
    """A section of a docstring: a list of its entries, or a sentence."""
    items: list[str] = []
    for line in dedent(lines).splitlines():
        if line.startswith(" ") and items:
            items[-1] += f" {line.strip()}"
        else:
            items.append(line)
    if section == "Returns":
        return f"**{section}** {' '.join(items)}\n"
    shown = [re.sub(r"^([\w, ]+?):", r"`\1`:", item) for item in items]
    return f"**{section}**\n\n" + "\n".join(f"- {item}" for item in shown) + "\n"


if __name__ == "__main__":
    sys.stdout.write(reference())
