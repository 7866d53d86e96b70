"""How long waits may take on this host.

An emulated guest is about ten times slower than one with hardware
virtualization. Every limit on a guest is therefore written in seconds under
KVM, and scaled here, in one place. Not all work slows down alike, so the
methods are named after the work.

No other module multiplies with the factor. In events, `state.json` and
`summary.json` it is the number ``factor``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TimeScale:
    """What limits are multiplied with. All arguments and results are seconds.

    Attributes:
        factor: 1 under KVM, more where guests are emulated; a user may set less than 1.
    """

    factor: float = 1.0

    @property
    def slow(self) -> bool:
        """Whether guests are slower than under KVM."""
        return self.factor > 1

    def limit(self, seconds: float) -> float:
        """A limit of the topology, or of work that a guest does once: a boot, a start. Times the factor.

        >>> TimeScale(10).limit(60.0)
        600.0
        """
        return seconds * self.factor

    def interval(self, seconds: float) -> float:
        """A pause between two questions, or the limit of a rare one. Times the factor, never shorter than given.

        >>> TimeScale(0.5).interval(0.1)
        0.1
        """
        return seconds * max(1.0, self.factor)

    def transfer(self, seconds: float) -> float:
        """Work of host and guest together: a login, a copy. Half the factor, never shorter than given.

        >>> TimeScale(10).transfer(15.0)
        75.0
        """
        return seconds * max(1.0, self.factor / 2)

    def reply(self, seconds: float) -> float:
        """An answer that a guest gives often, so that its code is translated. A quarter, never shorter than given.

        >>> TimeScale(10).reply(4.0)
        10.0
        """
        return seconds * max(1.0, self.factor / 4)
