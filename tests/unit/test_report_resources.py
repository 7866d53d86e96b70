"""What machines used of the host, and what a start waited for."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

from event_records import recorded
from fake_qemu import run_async
from simulated_time import run_simulated
from timeline_scene import Scene

from orchestrator.report.critical import critical_path
from orchestrator.report.fold import fold
from orchestrator.report.write import write_report
from orchestrator.vm.samples import Sample, look, parse_samples, read_usage, take_samples, usage_of


def test_a_living_process_is_looked_at() -> None:
    sample = look(os.getpid())
    assert sample is not None and sample.cpu > 0.01 and sample.memory > 1_000_000 and sample.read > 0
    assert parse_samples([sample.line()]) == [
        Sample(round(sample.at, 3), round(sample.cpu, 2), sample.memory, sample.read, sample.written)
    ]
    assert look(2**22 + 1) is None, "there is no such process"


def test_a_sample_a_second(tmp_path: Path) -> None:
    async def scenario() -> None:
        sampling = asyncio.ensure_future(take_samples(os.getpid(), tmp_path / "samples.csv"))
        await asyncio.sleep(9.5)
        sampling.cancel()

    run_simulated(scenario())
    assert len((tmp_path / "samples.csv").read_text().splitlines()) == 10


def test_a_disk_that_is_full_ends_nothing(tmp_path: Path) -> None:
    async def scenario() -> bool:
        sampling = asyncio.ensure_future(take_samples(os.getpid(), tmp_path / "no" / "samples.csv"))
        await asyncio.sleep(0.05)
        going_on = not sampling.done()
        sampling.cancel()
        return going_on

    assert run_async(scenario())


def test_a_machine_that_was_started_again_counts_from_zero() -> None:
    looks = [Sample(1, 10, 5, 0, 0), Sample(2, 12, 6, 100, 50), Sample(3, 0.1, 1, 0, 0), Sample(4, 1.1, 2, 10, 0)]
    usage = usage_of(looks)
    assert (usage.times, usage.cpu, usage.memory) == ((2, 4), (2.0, 1.0), (6, 2))
    assert (usage.read, usage.written) == ((100.0, 10.0), (50.0, 0.0))


def test_the_peaks_are_in_the_summary_and_the_curves_in_the_page(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "run")
    scene.begin()
    scene.event(60.0, "run.finished", "shop", outcome="passed", exit_code=0)
    samples = scene.folder / "machines" / "server" / "samples.csv"
    samples.parent.mkdir(parents=True)
    half = 512 * 1024 * 1024
    samples.write_text(f"110.0,0.0,{half},0,0\n111.0,1.0,{half},5,0\nhalf a li\n112.0,1.5,{half * 2},5,7\n112.9")
    assert read_usage(samples).cpu == (1.0, 0.5)
    write_report(scene.folder)
    machines = {one["name"]: one for one in json.loads((scene.folder / "summary.json").read_text())["machines"]}
    peak = {"cpus": 1.0, "memory": half * 2, "read_per_second": 5, "written_per_second": 7}
    assert machines["server"]["peak"] == peak and "peak" not in machines["client"]
    page = (scene.folder / "report" / "index.html").read_text()
    assert '"samples":{"server":{"t":[11000,12000],"cpu":[0.5,0.25],"mem":[0.5,1.0]}}' in page


def test_what_ready_waited_for() -> None:
    """Two services start at once; the slower one, and what it needed, is the way."""
    services = [
        {"name": "database", "machine": "server", "kind": "daemon", "depends_on": []},
        {"name": "cache", "machine": "server", "kind": "daemon", "depends_on": []},
        {"name": "backend", "machine": "server", "kind": "daemon", "depends_on": ["database", "cache"]},
    ]
    plan = {"machines": [{"name": "server", "image": "s", "cpus": 1, "memory": 1}], "services": services}
    told = [
        ("run.started", "shop", plan, 100.0),
        ("machine.state", "server", {"state": "starting"}, 102.0),
        ("service.state", "database", {"machine": "server", "state": "starting"}, 110.0),
        ("service.state", "cache", {"machine": "server", "state": "starting"}, 110.0),
        ("service.state", "cache", {"machine": "server", "state": "healthy"}, 111.0),
        ("service.state", "database", {"machine": "server", "state": "healthy"}, 115.0),
        ("service.state", "backend", {"machine": "server", "state": "starting"}, 115.0),
        ("service.state", "backend", {"machine": "server", "state": "healthy"}, 118.0),
        ("run.ready", "shop", {"elapsed": 19.0}, 119.0),
    ]
    view = fold(recorded(kind, subject, data, at) for kind, subject, data, at in told)
    path = [(leg.what, leg.seconds) for leg in critical_path(view)]
    assert path == [
        ("the plan and the images", 2.0),
        ("machine server", 8.0),
        ("service database", 5.0),
        ("service backend", 3.0),
        ("the last proof", 1.0),
    ]
    assert sum(seconds for _, seconds in path) == 19.0, "without a gap"


def test_a_service_may_wait_for_its_machine_too() -> None:
    """A restored machine is reached by SSH later than by its agent: its services are proven then."""
    services = [
        {"name": "network", "machine": "server", "kind": "target", "depends_on": []},
        {"name": "web", "machine": "server", "kind": "daemon", "depends_on": ["network"]},
    ]
    plan = {"machines": [{"name": "server", "image": "s", "cpus": 1, "memory": 1}], "services": services}
    told = [
        ("run.started", "shop", plan, 100.0),
        ("machine.state", "server", {"state": "starting"}, 100.0),
        ("service.state", "network", {"machine": "server", "state": "checking"}, 103.0),
        ("service.state", "network", {"machine": "server", "state": "healthy"}, 104.0),
        ("machine.state", "server", {"state": "ready"}, 109.0),
        ("service.state", "web", {"machine": "server", "state": "checking"}, 109.0),
        ("service.state", "web", {"machine": "server", "state": "healthy"}, 111.0),
        ("run.ready", "shop", {"elapsed": 11.0}, 111.0),
    ]
    path = critical_path(fold(recorded(kind, subject, data, at) for kind, subject, data, at in told))
    assert [(leg.what, leg.seconds) for leg in path] == [
        ("machine server", 3.0),
        ("service network", 1.0),
        ("machine server", 5.0),
        ("service web", 2.0),
    ]


def test_a_start_that_was_never_ready_has_no_path() -> None:
    assert critical_path(fold([recorded("run.started", "shop", {"machines": [{"name": "m"}]}, 1.0)])) == []
