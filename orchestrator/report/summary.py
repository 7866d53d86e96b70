"""``summary.json``: the run in numbers, for scripts and for comparing nights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from orchestrator.events import utc_text
from orchestrator.report.critical import critical_path
from orchestrator.report.model import FaultView, MachineView, RunView, ServiceView
from orchestrator.report.model_tests import STATUSES
from orchestrator.vm.samples import Usage

SUMMARY_FORMAT = 2  # grows when a key changes its meaning; docs/events.md tells what changed


def summary(
    view: RunView, artifacts: Sequence[str] = (), usage: Mapping[str, Usage] | None = None
) -> dict[str, object]:
    """The summary as JSON-ready data.

    Args:
        artifacts: the files of the run folder, as relative paths.
        usage: what each machine used of the host.

    Returns:
        ``format``; ``outcome`` (``passed``, ``suspicious``, ``failed``, ``error``,
        ``interrupted``, ``nothing-ran``), ``exit_code`` (null when the run was killed), ``cause`` (one
        sentence, empty if passed); ``run_id``, ``environment``, ``command``, ``variant``,
        ``provider``, ``version``; ``host`` (``accelerator``, ``time_scale``, ``qemu``);
        ``started`` and ``ended`` (UTC text); ``seconds`` (``total``, ``ready`` or null);
        ``waited_for`` (the critical path of the start: ``what``, ``seconds``);
        ``images`` (``name``, ``provider``, ``key``, ``state``, ``seconds``);
        ``revisions`` (``kind``, ``digest``, ``label``, ``folder``: what the run is made of);
        ``machines`` and ``services`` (``name``, ``state``, ``seconds`` from start to up or
        null; machines also ``peak``: ``cpus``, bytes of ``memory``, bytes a second ``read_per_second``
        and ``written_per_second``; services also ``machine``, ``depends_on``, ``checks``); ``tests`` (``total``
        and a count per status; ``phases`` with the same per phase; ``cases`` with
        ``title``, ``phase``, ``status``, ``seconds``, ``attempts``); ``faults`` (``name``,
        ``kind``, ``on``, ``seconds``, ``reason``, ``recovered`` and ``within`` in seconds or null,
        ``path``); ``failures``
        (the error tree's fields, ``subject``, ``at``); ``log_matches``; ``warnings``;
        ``artifacts``. Seconds are floats.
    """
    return {
        "format": SUMMARY_FORMAT,
        "outcome": view.outcome,
        "exit_code": view.exit_code,
        "cause": view.cause,
        "run_id": view.run_id,
        "environment": view.environment,
        "command": view.command,
        "variant": view.variant,
        "provider": view.provider,
        "version": view.version,
        "host": {"accelerator": view.accelerator, "time_scale": view.time_scale, "qemu": view.qemu},
        "started": _time(view.started),
        "ended": _time(view.ended),
        "seconds": {"total": _seconds(view.elapsed), "ready": _seconds(view.ready_after)},
        "images": [
            {"name": i.name, "provider": i.provider, "key": i.key, "state": i.state, "seconds": i.seconds}
            for i in view.images
        ],
        "waited_for": [{"what": leg.what, "seconds": _seconds(leg.seconds)} for leg in critical_path(view)],
        "revisions": [asdict(revision) for revision in view.revisions],
        "machines": [_machine(machine, (usage or {}).get(machine.name)) for machine in view.machines],
        "services": [_service(service) for service in view.services],
        "tests": _tests(view),
        "faults": [_fault(one) for one in view.faults],
        "failures": [{**asdict(f), "at": _time(f.at)} for f in view.failures],
        "log_matches": [{**asdict(s), "at": _time(s.at)} for s in view.log_matches],
        "warnings": [note.message for note in view.notes if note.level == "warning"],
        "artifacts": list(artifacts),
    }


def summary_json(view: RunView, artifacts: Sequence[str] = (), usage: Mapping[str, Usage] | None = None) -> str:
    """The text of ``summary.json``."""
    return json.dumps(summary(view, artifacts, usage), indent=2, ensure_ascii=False) + "\n"


def _tests(view: RunView) -> dict[str, object]:
    return {
        **_counts(view),
        "phases": [
            {
                "name": phase.name,
                "exit_code": phase.exit_code,
                "seconds": _seconds(phase.end - phase.start),
                "total": phase.total,
                **{status: phase.count(status) for status in STATUSES},
            }
            for phase in view.phases
        ],
        "cases": [
            {
                "title": test.title,
                "phase": test.phase,
                "status": test.status,
                "seconds": _seconds(test.duration),
                "attempts": [attempt.status for attempt in test.attempts],
            }
            for test in view.tests
        ],
    }


def _counts(view: RunView) -> dict[str, int]:
    return {"total": sum(p.total for p in view.phases), **{status: view.count(status) for status in STATUSES}}


def _service(service: ServiceView) -> dict[str, object]:
    checks = [{"name": c.name, "ok": c.ok, "message": c.message, "attempts": c.attempts} for c in service.checks]
    return {
        "name": service.name,
        "machine": service.machine,
        "state": service.state,
        "seconds": _seconds(service.seconds),
        "depends_on": list(service.depends_on),
        "checks": checks,
    }


def _machine(one: MachineView, usage: Usage | None) -> dict[str, object]:
    return {"name": one.name, "state": one.state, "seconds": _seconds(one.seconds), **_peaks(usage)}


def _peaks(usage: Usage | None) -> dict[str, object]:
    """The most of a second, and what it came to; nothing where nobody looked."""
    if usage is None or not usage.times:
        return {}
    peak = {
        "cpus": round(max(usage.cpu), 2),
        "memory": max(usage.memory),
        "read_per_second": round(max(usage.read)),
        "written_per_second": round(max(usage.written)),
    }
    return {"peak": peak}


def _fault(one: FaultView) -> dict[str, object]:
    return {
        "name": one.name,
        "kind": one.kind,
        "on": one.on,
        "seconds": _seconds(one.seconds),
        "reason": one.reason,
        "recovered": _seconds(one.recovered),
        "within": _seconds(one.within),
        "path": one.path,
    }


def _seconds(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _time(at: float) -> str | None:
    try:
        return utc_text(at) if at else None
    except (ValueError, OverflowError, OSError):
        return None
