"""Signals that end a command: which they are, and which of them is a second one."""

from __future__ import annotations

import signal

from orchestrator.deadline import monotonic

# Seconds within which a signal is the last one once more: nobody presses Ctrl-C that fast. A wrapper hands on what the
# terminal sent to us too, and the kernel tells of a dying parent for each of its threads.
SAME_SIGNAL = 0.25
_received: list[tuple[int, float]] = []  # signals of this process that counted, and when


def ending_signals() -> list[signal.Signals]:
    """Those that end us in order. SIGHUP is not among them where it was ignored at our start (nohup)."""
    hung_up = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hung_up]


def counts(number: int) -> int:
    """Which one this signal is: 1 for the first, 2 for one that insists, 0 for one that says nothing new.

    A terminal that closes may tell of it several times, through the shell and by itself: SIGHUP never insists.
    """
    now = monotonic()
    if _received and (now - _received[-1][1] < SAME_SIGNAL or number == signal.SIGHUP):
        return 0
    _received.append((number, now))
    return min(len(_received), 2)


def first_signal() -> int | None:
    """The one that ended this command, if any did."""
    return _received[0][0] if _received else None
