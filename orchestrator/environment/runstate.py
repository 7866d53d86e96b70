"""The states of a machine that a command drives, and methods that only some of them allow."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Runstate(Enum):
    """Where a machine is, for the command that drives it.

    ====================  =========================================================  ====================
    state                 what is there                                              next
    ====================  =========================================================  ====================
    ``IDLE``              nothing that this command knows of                         launch, reattach
    ``LAUNCHED``          QEMU runs                                                  boot, load
    ``CONNECTED``         QMP answers; the guest boots, is paused, or is rebooting   hand-over
    ``READY``             the agent answers and the guest is set up                  reboot
    ``CLOSED``            this command has let go of it; the machine goes on
    ====================  =========================================================  ====================
    """

    IDLE = "idle"
    LAUNCHED = "launched"
    CONNECTED = "connected"
    READY = "ready"
    CLOSED = "closed"


class StateError(RuntimeError):
    """A method was called in a state that does not allow it: a bug in this program."""


class HasRunstate(Protocol):
    """What `require` can guard methods of."""

    name: str

    @property
    def runstate(self) -> Runstate: ...


S = TypeVar("S", bound=HasRunstate)


def require(*allowed: Runstate) -> Callable[[Callable[Concatenate[S, P], T]], Callable[Concatenate[S, P], T]]:
    """Let a method be called in these states only; in others it raises `StateError`."""

    def guard(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
        @wraps(method)
        def checked(self: S, /, *args: P.args, **keywords: P.kwargs) -> T:
            if self.runstate not in allowed:
                needed = " or ".join(state.value for state in allowed)
                raise StateError(f"machine {self.name} is {self.runstate.value}; {method.__name__} needs {needed}")
            return method(self, *args, **keywords)

        return checked

    return guard
