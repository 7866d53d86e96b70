"""Signals that end a command, and which of them counts as a second one."""

from __future__ import annotations

import signal

from orchestrator.deadline import monotonic

# Seconds within which a signal is the last one once more: nobody presses Ctrl-C that fast. A wrapper hands on what the
# terminal sent to us too, and the kernel reports a dying parent for each of its threads.
SAME_SIGNAL = 0.25
_received: list[tuple[int, float]] = []  # signals of this process that counted, and when


def ending_signals() -> list[signal.Signals]:
    """The signals that shut us down in order; without SIGHUP if it was ignored at our start (nohup)."""
    hung_up = [] if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else [signal.SIGHUP]
    return [signal.SIGINT, signal.SIGTERM, *hung_up]


def counts(number: int) -> int:
    """1 for the first signal, 2 for a second one, 0 for a repetition of the same one.

    A terminal that closes can send SIGHUP several times, itself and through the shell: SIGHUP is never a second one.
    """
    now = monotonic()
    if _received and (now - _received[-1][1] < SAME_SIGNAL or number == signal.SIGHUP):
        return 0
    _received.append((number, now))
    return min(len(_received), 2)


def first_signal() -> int | None:
    """The signal that ended this command, if any."""
    return _received[0][0] if _received else None
