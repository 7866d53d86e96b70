"""What the mock says to a chat request: a text, or calls of tools. Pure.

An answer never holds a word of the question: a page that shows both would have
two elements for one text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

Table = Mapping[str, Any]


class Invalid(Exception):
    """The request is not understood; answered as 400."""


@dataclass(frozen=True)
class Call:
    """A call of one of the tools that were offered; ``arguments`` are JSON."""

    identity: str
    name: str
    arguments: str

    def as_dict(self) -> dict[str, object]:
        return {
            "id": self.identity,
            "type": "function",
            "function": {"name": self.name, "arguments": self.arguments},
        }


@dataclass(frozen=True)
class Answer:
    """Text or calls, never both."""

    text: str = ""
    calls: tuple[Call, ...] = ()

    @property
    def reason(self) -> str:
        """``finish_reason``."""
        return "tool_calls" if self.calls else "stop"

    def message(self) -> dict[str, object]:
        if self.calls:
            return {"role": "assistant", "content": None, "tool_calls": [call.as_dict() for call in self.calls]}
        return {"role": "assistant", "content": self.text}

    def deltas(self) -> Iterator[dict[str, object]]:
        """The pieces of a streamed answer, the role first."""
        if not self.calls:
            yield {"role": "assistant", "content": ""}
            first, *rest = self.text.split(" ")
            yield {"content": first}
            for word in rest:
                yield {"content": f" {word}"}
            return
        yield {"role": "assistant", "content": None}
        for index, call in enumerate(self.calls):
            named = {"name": call.name, "arguments": ""}
            yield {"tool_calls": [{"index": index, "id": call.identity, "type": "function", "function": named}]}
            yield {"tool_calls": [{"index": index, "function": {"arguments": call.arguments}}]}


def answer_of(data: Table) -> Answer:
    """The answer to the body of ``/v1/chat/completions``.

    A tool is called where ``tool_choice`` demands one (``required``, or a function by
    name), and where it is left open but the user's last message names a tool. Once
    the results of tools are the last messages, a text follows.

    Raises:
        Invalid: there is no message of the user, or a tool is demanded that is not offered.
    """
    messages = data.get("messages")
    question = last_user_text(messages)
    assert isinstance(messages, list)
    last = messages[-1]
    answered = isinstance(last, dict) and last.get("role") == "tool"
    tool = None if answered else _chosen(data, question)
    if tool is None:
        return Answer(chat_answer(question))
    name = str(tool["name"])
    identity = "call_" + sha256(f"{name}\n{question}".encode("utf-8", "replace")).hexdigest()[:24]
    return Answer(calls=(Call(identity, name, json.dumps(_sample({"type": "object", **_schema(tool)}))),))


def chat_answer(question: str) -> str:
    """What the mock says to a message: told apart by a number that only this text gives.

    >>> chat_answer("Hello")
    'This is reply 185f8db3 of the mock.'
    """
    return f"This is reply {sha256(question.encode('utf-8', 'replace')).hexdigest()[:8]} of the mock."


def last_user_text(messages: object) -> str:
    """The text of the last message of the user; content may be a text or a list of parts.

    Raises:
        Invalid: ``messages`` is not a list with a user message.
    """
    if not isinstance(messages, list) or not messages:
        raise Invalid("messages must be a list that is not empty")
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            if isinstance(content, list):
                return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    raise Invalid("messages hold no message of the user")


def _chosen(data: Table, question: str) -> Table | None:
    """The function to be called; None for none."""
    tools = _functions(data.get("tools"))
    choice = data.get("tool_choice", "auto" if tools else "none")
    if choice == "none":
        return None
    if choice == "required":
        if not tools:
            raise Invalid("tool_choice is required, but no tools are offered")
        return next((tool for name, tool in tools.items() if name in question), next(iter(tools.values())))
    if choice == "auto" or choice is None:
        return next((tool for name, tool in tools.items() if name in question), None)
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str) or name not in tools:
        raise Invalid("tool_choice names no tool that is offered")
    return tools[name]


def _functions(tools: object) -> dict[str, Table]:
    found: dict[str, Table] = {}
    for tool in tools if isinstance(tools, list) else []:
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict) and isinstance(function.get("name"), str) and function["name"]:
            found[function["name"]] = function
    return found


def _schema(tool: Table) -> Table:
    parameters = tool.get("parameters")
    return parameters if isinstance(parameters, Mapping) else {}


def _sample(schema: object, depth: int = 0) -> object:
    """A value that a JSON Schema accepts, as small as it can be; schemas of tools only."""
    if not isinstance(schema, Mapping) or depth > 8:
        return None
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    for constant in ("const", "default"):
        if constant in schema:
            return schema[constant]
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = kind[0] if kind else "null"
    if kind == "object":
        properties = schema.get("properties")
        required = schema.get("required")
        known = properties if isinstance(properties, Mapping) else {}
        names = required if isinstance(required, list) else []
        return {str(name): _sample(known.get(name, {}), depth + 1) for name in names}
    if kind == "array":
        least = schema.get("minItems")
        count = min(least, 8) if isinstance(least, int) else 0
        return [_sample(schema.get("items", {}), depth + 1) for _ in range(count)]
    if kind in ("integer", "number"):
        least = schema.get("minimum", 0)
        return least if isinstance(least, int | float) else 0
    return {"boolean": True, "null": None}.get(str(kind), "mock")
