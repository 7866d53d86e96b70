"""What each kind asks of QEMU and of the guest, and when it says that it is not in effect."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from fault_scene import MAC, FakePlace
from simulated_time import run_simulated

from orchestrator.errors import FaultError
from orchestrator.faults.kinds._disks import Disk, chosen
from orchestrator.faults.kinds.bandwidth import Bandwidth
from orchestrator.faults.kinds.clock_skew import ClockSkew
from orchestrator.faults.kinds.disconnect import Disconnect
from orchestrator.faults.kinds.disk_error import DiskError
from orchestrator.faults.kinds.disk_full import DiskFull
from orchestrator.faults.kinds.disk_slow import DiskSlow
from orchestrator.faults.kinds.freeze import Freeze
from orchestrator.faults.kinds.kill import Kill
from orchestrator.faults.kinds.loss import Loss
from orchestrator.faults.kinds.mtu import Mtu
from orchestrator.faults.kinds.panic import Panic
from orchestrator.faults.kinds.partition import Partition
from orchestrator.faults.kinds.pause import Pause
from orchestrator.faults.kinds.power_cut import PowerCut
from orchestrator.faults.kinds.stop import Stop
from orchestrator.topology.fault_kind import FaultKind

ROOT = {
    "device": "drive1",
    "qdev": "/machine/peripheral-anon/device[1]/virtio-backend",
    "inserted": {"node-name": "#block1", "ro": False, "bps": 1024, "iops": 0},
}
LAYER = {"device": "", "qdev": "layer-app", "inserted": {"node-name": "layer-app", "ro": True}}


def begun(kind: FaultKind, place: FakePlace) -> Mapping[str, object]:
    return run_simulated(kind.begin(place))


def told(kind: FaultKind, place: FakePlace, kept: Mapping[str, object] | None = None) -> str:
    return run_simulated(kind.read_back(place, kept or {}))


def test_the_cable_is_pulled_and_the_guest_must_have_seen_it() -> None:
    place = FakePlace(scripts=["0"])
    begun(Disconnect(), place)
    assert place.calls[0] == ("set_link", {"name": "net-lan", "up": False})
    assert told(Disconnect(), place) == "the guest has no carrier"
    with pytest.raises(FaultError, match="not in effect"):
        told(Disconnect(), FakePlace(scripts=["1"]))


@pytest.mark.parametrize("state", ["running", "prelaunch"])
def test_a_machine_is_paused_only_if_qemu_says_so(state: str) -> None:
    assert told(Pause(), FakePlace({"query-status": {"status": "paused"}})) == "QEMU says paused"
    with pytest.raises(FaultError):
        told(Pause(), FakePlace({"query-status": {"status": state}}))


def test_power_is_cut_at_one_instruction_and_comes_back_at_the_end() -> None:
    place = FakePlace({"query-status": {"status": "prelaunch"}})
    begun(PowerCut(), place)
    told(PowerCut(), place)
    run_simulated(PowerCut().end(place, {}))
    assert [call[0] for call in place.calls] == ["stop", "system_reset", "query-status", "cont"]  # type: ignore[index]


def test_a_panic_that_does_not_come_is_told_after_a_while() -> None:
    with pytest.raises(FaultError, match="not in effect"):
        told(Panic(), FakePlace({"query-status": {"status": "running"}}))
    assert "guest-panicked" in told(Panic(), FakePlace({"query-status": {"status": "guest-panicked"}}))


def test_a_kill_that_killed_nothing_is_told() -> None:
    place = FakePlace(scripts=["run-1"])
    kept = begun(Kill(), place)
    assert place.calls[0][1] == ("web.service", "SIGKILL")  # type: ignore[index]
    assert told(Kill(), FakePlace(scripts=["failed", "run-1"]), kept) == "web.service is failed"
    assert told(Kill(), FakePlace(scripts=["active", "run-2"]), kept) == "web.service is active"
    with pytest.raises(FaultError, match="not in effect"):
        told(Kill(), FakePlace(scripts=["active", "run-1"]), kept)
    assert told(Kill(signal="SIGHUP"), FakePlace(scripts=["active", "run-1"]), kept) == "web.service is active"


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [(Stop(), "inactive", "active"), (Freeze(), "frozen", "running"), (Mtu(mtu=600), "600", "1500")],
)
def test_what_the_guest_says_decides(kind: FaultKind, good: str, bad: str) -> None:
    assert good in told(kind, FakePlace(scripts=[good]))
    with pytest.raises(FaultError, match="not in effect"):
        told(kind, FakePlace(scripts=[bad]))


def test_the_mtu_of_before_comes_back() -> None:
    place = FakePlace(scripts=["1500"])
    kept = begun(Mtu(mtu=600), place)
    run_simulated(Mtu(mtu=600).end(place, kept))
    assert [words for _, words in place.calls] == [(MAC,), (MAC, "600"), (MAC, "1500")]  # type: ignore[misc]


def test_the_disk_that_may_be_written_to_is_meant_or_the_named_one() -> None:
    root = Disk("drive1", str(ROOT["qdev"]), "#block1")
    assert chosen([LAYER, ROOT], "") == root
    assert chosen([LAYER, ROOT], "drive1") == root
    assert chosen([LAYER], "") is None
    assert chosen([LAYER, ROOT], "drive2") is None


def test_a_disk_gets_a_rate_and_loses_it() -> None:
    slow, place = DiskSlow(bytes_per_second=1024), FakePlace({"query-block": [LAYER, ROOT]})
    begun(slow, place)
    assert "bps 1024" in told(slow, place)
    run_simulated(slow.end(place, {}))
    set_to = [call[1] for call in place.calls if call[0] == "block_set_io_throttle"]  # type: ignore[index]
    assert [(one["device"], one["bps"], one["iops"]) for one in set_to] == [("drive1", 1024, 0), ("drive1", 0, 0)]
    with pytest.raises(FaultError):
        told(DiskSlow(iops=5), place)


def test_errors_are_put_below_a_disk_while_the_machine_is_paused() -> None:
    place = FakePlace({"query-block": [ROOT], "query-status": {"status": "running"}})
    kept = begun(DiskError(operation="write"), place)
    assert [call[0] for call in place.calls] == [  # type: ignore[index]
        "query-block",
        "blockdev-add",
        "query-status",
        "stop",
        "qom-set",
        "cont",
    ]
    assert place.calls[1][1]["inject-error"][0]["iotype"] == "write"  # type: ignore[index]
    with pytest.raises(FaultError, match="not in effect"):
        told(DiskError(operation="write"), place, kept)
    swapped = {**ROOT, "inserted": {"node-name": "orch-it", "ro": False}}
    assert "blkdebug" in told(DiskError(operation="write"), FakePlace({"query-block": [swapped]}), kept)
    run_simulated(DiskError(operation="write").end(place, kept))
    assert place.calls[-1] == ("blockdev-del", {"node-name": "orch-it"})


def test_a_clock_that_did_not_move_is_told() -> None:
    skew = ClockSkew(offset=-3600.0)
    place = FakePlace(scripts=["1000.00\nchrony.service"])
    kept = begun(skew, place)
    assert kept == {"epoch": 1000.0, "setters": "chrony.service"}
    assert "-3599.9 s off" in told(skew, FakePlace(scripts=["-2599.90"]), kept)
    with pytest.raises(FaultError, match="not in effect"):
        told(skew, FakePlace(scripts=["1000.10"]), kept)
    run_simulated(skew.end(place, kept))
    assert place.calls[-1][1] == ("+3600.000000", "chrony.service")  # type: ignore[index]


def test_a_disk_that_is_not_full_is_told() -> None:
    with pytest.raises(FaultError, match="not in effect"):
        told(DiskFull(), FakePlace(scripts=[str(1 << 30)]))
    assert "1024 bytes are free in /" in told(DiskFull(), FakePlace(scripts=["1024"]))


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        (Loss(percent=20.0, burst=3, seed=7), {"loss": 20.0, "burst": 3, "seed": 7}),
        (Bandwidth(rate=1e6), {"rate": 1e6, "queue": 0.5, "seed": 1}),
        (Partition(groups=(("server",), ("client",))), {"unreached": ["52:54:00:00:00:01"], "seed": 1}),
        (Partition(groups=(("server", "client"),)), {"unreached": [], "seed": 1}),
    ],
)
def test_what_the_frame_filter_is_told(kind: FaultKind, settings: object) -> None:
    place = FakePlace()
    begun(kind, place)
    assert place.calls == [("filter", settings, "both")]
