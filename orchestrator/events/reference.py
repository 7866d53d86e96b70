"""``docs/events.md`` from the classes of the events: ``python -m orchestrator.events.reference``."""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from enum import StrEnum
from typing import Any, Literal

from orchestrator.events import dev, faults, fleet, machines, run, services, suite
from orchestrator.events.base import FORMAT, Event
from orchestrator.events.read import RENAMED

ROOMS = (
    ("The run", run),
    ("Images, networks, machines", machines),
    ("Services", services),
    ("Faults", faults),
    ("The suite", suite),
    ("`dev`", dev),
    ("A matrix", fleet),
)
HEAD = f"""\
# Events

This page is made from the classes in `orchestrator/events/`.

Whatever happens is an event: one line of `events.jsonl` in the run folder, a JSON object. The terminal, `junit.xml`,
`summary.json` and the HTML report are made from these events and nothing else. `--progress json` prints them.

```
{{"time": "2026-11-23T02:08:24.123Z", "at": 5120.118421, "kind": "machine.state", "subject": "server", "state": "ssh"}}
```

Every event has these fields:

| field | type | meaning |
|---|---|---|
| `time` | string | when, UTC, to the millisecond |
| `at` | number | when, seconds of the host's monotonic clock; only differences mean something |
| `kind` | string | what happened, see below |
| `subject` | string | what it is about; may be empty |

Seconds and sizes are numbers. A field in brackets is left out while it has nothing to say.

## Format

`format` in `run.started` is {FORMAT}. The number grows when a kind or a field gets another name or meaning,
not when one is added: a reader ignores kinds and fields that it does not know.
`orchestrator report` reads all formats up to its own; of a newer one it leaves out what it does not know, and says so.

`summary.json` and `state.json` have numbers of their own. Format 2 of `summary.json` renamed `schema` to `format`,
`host.factor` to `time_scale`, `answer` of a check to `message`, and `signs` to `log_matches` (in it `sign`, `weight`
and `accepted` to `pattern`, `severity` and `waiver`).
"""


def reference() -> str:
    """The whole page."""
    return "\n".join([HEAD, *_rooms(), *_renamed()]) + "\n"


def _rooms() -> Iterator[str]:
    for title, module in ROOMS:
        yield f"## {title}\n"
        for cls in vars(module).values():
            if isinstance(cls, type) and issubclass(cls, Event) and cls.__module__ == module.__name__:
                yield from _kind(cls)


def _kind(cls: type[Event]) -> Iterator[str]:
    text, meanings = described(cls)
    yield f"### `{cls.kind}`\n"
    yield text + "\n"
    if "subject" in meanings:
        yield f"Subject: {meanings['subject']}.\n"
    yield from ("| field | type | meaning |", "|---|---|---|")
    hints = typing.get_type_hints(cls)
    for one in fields(cls):
        if one.name in ("subject", "time", "at"):
            continue
        name = f"`{one.name}`" if one.default is MISSING else f"[`{one.name}`]"
        kind, words = _type(hints[one.name])
        meaning = meanings[one.name] + (f": {words}" if words else "")
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in (name, kind, meaning)) + " |"
    yield ""


def described(cls: type[Any]) -> tuple[str, dict[str, str]]:
    """What a docstring says of the event, and of each field below ``Attributes:``.

    >>> described(run.RunReady)[1]["restored"]
    'whether the machines come from a saved state; absent after `restart`'
    """
    text, _, attributes = inspect.getdoc(cls).partition("\nAttributes:\n")  # type: ignore[union-attr]
    found = re.findall(r"^    (\w+): (.+(?:\n {8,}.+)*)", attributes, re.MULTILINE)
    return _one_line(text), {name: _one_line(meaning) for name, meaning in found}


def _one_line(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def _type(hint: Any) -> tuple[str, str]:
    """A field's type in the words of JSON, and what it can be where that is a list of words."""
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case types.UnionType:
            return _type(next(one for one in arguments if one is not type(None)))
        case origin if origin is tuple:
            return f"array of {_type(arguments[0])[0]}", _parts(arguments[0])
        case origin if origin is Literal:
            return "string", ", ".join(f"`{word}`" for word in arguments)
    if issubclass(hint, StrEnum):
        return "string", ", ".join(f"`{word}`" for word in hint)
    return {bool: "boolean", int: "integer", float: "number", str: "string"}.get(hint, "object"), ""


def _parts(cls: Any) -> str:
    return ", ".join(f"`{one.name}`" for one in fields(cls)) if is_dataclass(cls) else ""


def _renamed() -> Iterator[str]:
    yield "## Older formats\n"
    yield "Format 1 had no number. It is still read; these had other names:\n"
    yield from ("| format 1 | today |", "|---|---|")
    for old, (new, names) in RENAMED.items():
        changed = ", ".join(f"`{before}` → `{after}`" for before, after in names.items())
        yield f"| `{old}`{f': {changed}' if changed else ''} | `{new}` |"


if __name__ == "__main__":
    sys.stdout.write(reference())
