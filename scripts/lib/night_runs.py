"""Run folders of invented nights, as a real run leaves them: for tests, measures and simulations."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

DAY = 86_400.0
FIRST = 1_790_000_000.0  # when the first night begins, seconds since the epoch


@dataclass(frozen=True)
class InventedRun:
    """One run. ``tests``: title → its attempts, of ``p`` (passed) and ``f`` (failed)."""

    number: int
    tests: Mapping[str, str]
    revisions: Mapping[str, str] = field(default_factory=dict)
    outcome: str = ""
    started: float | None = None
    error: str = "expected 1, found 2"
    seconds: float = 1.0
    command: str = "orchestrator run"
    environment: str = "shop"

    @property
    def at(self) -> float:
        return FIRST + self.number * DAY if self.started is None else self.started

    @property
    def run_id(self) -> str:
        return f"{datetime.fromtimestamp(self.at, UTC):%Y%m%dT%H%M%SZ}-{self.number % 0x1000000:06x}"

    def events(self) -> list[dict[str, object]]:
        failed = any(attempts.endswith("f") for attempts in self.tests.values())
        outcome = self.outcome or ("failed" if failed else "passed")
        code = {"passed": 0, "failed": 1, "interrupted": None}.get(outcome, 3)
        service = {"machine": "server", "kind": "daemon", "unit": "nginx.service", "depends_on": []}
        found: list[dict[str, object]] = [
            {
                "kind": "run.started",
                "subject": self.environment,
                "format": 2,
                "command": self.command,
                "run_id": self.run_id,
                "run_folder": "",
                "variant": "",
                "provider": "debian",
                "topology": "orchestrator.toml",
                "machines": [{"name": "server", "image": "server", "cpus": 1, "memory": 1024}],
                "services": [{"name": "nginx", **service}],
                "version": "1",
            },
            {"kind": "host.accelerator", "accelerator": "tcg", "reason": "", "time_scale": 10.0, "qemu": "10.0"},
            {"kind": "image.state", "subject": "server", "state": "cached", "key": self.revisions.get("image", "i1")},
        ]
        found += [
            {"kind": "run.revision", "subject": name, "digest": digest}
            for name, digest in {"suite": "s1", "layer app": "a1", **self.revisions}.items()
            if name != "image"
        ]
        found.append({"kind": "service.state", "subject": "nginx", "machine": "server", "state": "starting"})
        found.append({"kind": "service.state", "subject": "nginx", "machine": "server", "state": "healthy"})
        found += [event for title, attempts in self.tests.items() for event in self._test(title, attempts)]
        if outcome != "interrupted":
            found.append({"kind": "run.finished", "outcome": outcome, "exit_code": code, "elapsed": 60.0})
        return found

    def _test(self, title: str, attempts: str) -> list[dict[str, object]]:
        same = {"subject": title, "phase": "all", "id": title, "file": "a.spec.ts", "line": 1}
        found: list[dict[str, object]] = [{"kind": "test.planned", **same}]
        for retry, one in enumerate(attempts):
            found.append({"kind": "test.begin", **same, "index": 1, "total": len(self.tests)})
            status = {"status": "passed"} if one == "p" else {"status": "failed", "error": self.error}
            found.append({"kind": "test.end", **same, **status, "duration": self.seconds, "retry": retry})
        return found

    def write(self, runs: Path) -> Path:
        """The run folder, with the events alone; every other file is made of them."""
        folder = runs / self.run_id
        folder.mkdir(parents=True)
        stamp = f"{datetime.fromtimestamp(self.at, UTC):%Y-%m-%dT%H:%M:%S}"
        lines = []
        for index, event in enumerate(self.events()):
            when = {"time": f"{stamp}.{index % 1000:03d}Z", "at": float(index), "subject": ""}
            lines.append(json.dumps({**when, **event}))
        (folder / "events.jsonl").write_text("\n".join(lines) + "\n")
        return folder


def invent(runs: Path, nights: int, tests: int, failing: Sequence[int] = ()) -> list[Path]:
    """So many nights of so many tests, that pass; the first fails in the nights named."""
    made = []
    for night in range(nights):
        results = {f"page {number} works": "p" for number in range(tests)}
        if night in failing:
            results["page 0 works"] = "f"
        made.append(InventedRun(night, results, {"layer app": f"a{night // 7}"}).write(runs))
    return made
