"""Trace context of the W3C: which trace a run belongs to, and which span of it the suite is. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

VARIABLE = "TRACEPARENT"
_PARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The trace of a run.

    Attributes:
        trace: its id, 32 hexadecimal digits.
        parent: id of the span that the run belongs to; empty: it is the first.
        run_id: what the ids of its own spans are made from, so that they are the same whenever they are written.
    """

    trace: str
    parent: str
    run_id: str

    @classmethod
    def of(cls, run_id: str, traceparent: str = "") -> TraceContext:
        """That of a run, in the trace that ``TRACEPARENT`` names, or in one of its own.

        >>> TraceContext.of("r", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").trace
        '4bf92f3577b34da6a3ce929d0e0e4736'
        >>> TraceContext.of("r", "nonsense") == TraceContext.of("r")
        True
        """
        found = _PARENT.fullmatch(traceparent)
        if found and set(found[1]) != {"0"} and set(found[2]) != {"0"}:
            return cls(found[1], found[2], run_id)
        return cls(sha256(run_id.encode("utf-8", "replace")).hexdigest()[:32], "", run_id)

    def span(self, *names: str) -> str:
        """The id of a span of this run, 16 hexadecimal digits."""
        text = "\0".join((self.trace, self.run_id, *names))
        return sha256(text.encode("utf-8", "replace")).hexdigest()[:16]

    @property
    def of_suite(self) -> str:
        """``TRACEPARENT`` for the suite: what it traces is below its phases."""
        return f"00-{self.trace}-{self.span('suite')}-01"
