"""The frame filter: what becomes of frames, by seed and by time. Only `relay` needs real sockets."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

import pytest

from orchestrator.faults.frame_filter import Frames, Settings, Shaper, relay

A, B, C = (bytes.fromhex(f"5254000000{n:02x}") for n in (1, 2, 3))


def frame(number: int, target: bytes = A, source: bytes = B, size: int = 100) -> bytes:
    return target + source + b"\x08\x00" + number.to_bytes(4, "big") + bytes(size - 18)


def lost(settings: Settings, count: int = 10_000) -> list[int]:
    shaper = Shaper(settings)
    return [number for number in range(count) if not shaper.pass_on(frame(number), number * 0.001)]


def test_ten_thousand_frames_lose_the_same_twice_with_one_seed_and_others_with_another() -> None:
    first, second = lost(Settings(seed=7, loss=30)), lost(Settings(seed=7, loss=30))
    assert first == second
    assert len(first) == pytest.approx(3000, rel=0.05)
    assert lost(Settings(seed=8, loss=30)) != first


def test_losses_come_in_bursts_of_the_wanted_length_and_stay_the_wanted_share() -> None:
    gone = lost(Settings(seed=1, loss=20, burst=5), 50_000)
    known = frozenset(gone)
    bursts = sum(number - 1 not in known for number in gone)
    assert len(gone) / 50_000 == pytest.approx(0.20, rel=0.1)
    assert len(gone) / bursts == pytest.approx(5, rel=0.15)


def test_everything_is_lost_at_100_percent() -> None:
    assert len(lost(Settings(loss=100), 500)) == 500


def test_each_frame_comes_later_and_jitter_keeps_the_order() -> None:
    shaper = Shaper(Settings(seed=3, delay=0.1, jitter=0.05))
    times = [shaper.pass_on(frame(n), n * 0.01)[0][0] for n in range(1000)]
    delays = [due - n * 0.01 for n, due in enumerate(times)]
    assert times == sorted(times)
    assert min(delays) >= 0.05
    assert sum(delays) / len(delays) == pytest.approx(0.125, abs=0.03)  # order moves the mean up


def test_a_normal_delay_has_its_mean_and_is_never_negative() -> None:
    shaper = Shaper(Settings(seed=3, delay=0.1, jitter=0.02, normal=True))
    delays = [shaper.pass_on(frame(n), float(n))[0][0] - n for n in range(2000)]
    assert sum(delays) / len(delays) == pytest.approx(0.1, rel=0.05)
    assert min(delays) >= 0


def test_a_rate_spaces_frames_and_what_does_not_fit_into_the_queue_is_lost() -> None:
    shaper = Shaper(Settings(rate=80_000, queue=0.1))  # a frame of 100 bytes takes 10 ms
    due = [shaper.pass_on(frame(n), 0.0) for n in range(30)]
    kept = [one[0][0] for one in due if one]
    assert kept == pytest.approx([0.01 * (n + 1) for n in range(len(kept))])
    assert len(kept) == 11
    assert shaper.counts.full == 19


def test_duplicates_come_at_once_and_behind_a_rate_cost_twice() -> None:
    shaper = Shaper(Settings(duplicate=100))
    assert shaper.pass_on(frame(1), 5.0) == [(5.0, frame(1))] * 2
    slow = Shaper(Settings(duplicate=100, rate=80_000))
    assert [due for due, _ in slow.pass_on(frame(1), 0.0)] == pytest.approx([0.02, 0.02])


def test_one_bit_behind_the_header_is_another() -> None:
    shaper = Shaper(Settings(seed=2, corrupt=100))
    for number in range(200):
        [(_, changed)] = shaper.pass_on(frame(number), 0.0)
        difference = int.from_bytes(changed, "big") ^ int.from_bytes(frame(number), "big")
        assert difference.bit_count() == 1
        assert changed[:14] == frame(number)[:14]


def test_a_frame_that_is_held_is_overtaken_and_holds_up_nobody() -> None:
    shaper = Shaper(Settings(seed=1, reorder=20, gap=0.05))
    order = sorted((due, n) for n in range(100) for due, _ in shaper.pass_on(frame(n), n * 0.01))
    numbers = [n for _, n in order]
    assert numbers != sorted(numbers)
    held = shaper.counts.held
    assert 10 <= held <= 30
    late = [n for due, n in order if due > n * 0.01]
    assert len(late) == held


def test_nothing_passes_between_addresses_that_do_not_reach_each_other() -> None:
    shaper = Shaper(Settings.of({"unreached": ["52:54:00:00:00:03"]}))
    assert shaper.pass_on(frame(1, A, B), 0.0)
    assert not shaper.pass_on(frame(2, C, B), 0.0)
    assert not shaper.pass_on(frame(3, A, C), 0.0)
    assert shaper.pass_on(frame(4, b"\xff" * 6, B), 0.0), "a broadcast of somebody who is reached"
    assert shaper.counts.cut == 2


def test_frames_are_taken_apart_wherever_they_are_cut() -> None:
    stream = b"".join(len(one).to_bytes(4, "big") + one for one in map(frame, range(20)))
    for step in (1, 3, 7, 104, 5000):
        frames = Frames()
        pieces = [stream[at : at + step] for at in range(0, len(stream), step)]
        assert [one for piece in pieces for one in frames.feed(piece)] == [frame(n) for n in range(20)]


def test_what_is_no_stream_of_frames_is_refused() -> None:
    with pytest.raises(ValueError, match="a frame of"):
        list(Frames().feed(b"\xff\xff\xff\xff rest"))


def test_the_relay_passes_frames_on_at_their_time_until_qemu_ends() -> None:
    source, qemu_out = socket.socketpair()
    qemu_in, target = socket.socketpair()
    thread = threading.Thread(target=relay, args=(source, target, Shaper(Settings(delay=0.05))))
    thread.start()
    begun = time.monotonic()
    for number in range(3):
        qemu_out.sendall((100).to_bytes(4, "big") + frame(number))
    frames, got = Frames(), list[bytes]()
    qemu_in.settimeout(5)
    while len(got) < 3:
        got += frames.feed(qemu_in.recv(1 << 16))
    assert time.monotonic() - begun >= 0.05
    assert got == [frame(n) for n in range(3)]
    qemu_out.close()
    thread.join(5)
    assert not thread.is_alive()
    for one in (source, target, qemu_in):
        with suppress(OSError):
            one.close()
