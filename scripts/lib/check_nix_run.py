"""The steps of scripts/check-nix: find Nix and nixpkgs, parse, evaluate, compare, ask the real programs."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from check_nix_assertions import problems
from check_nix_facts import MACHINES, SAMPLES, derivation_text, kept, run_script, sources_digest
from check_nix_kernel import KEPT, generate, kernel_problems, read_kept, source_version
from check_nix_parity import accepted_differences, differences, judged
from check_nix_paths import NOT_KNOWABLE, path_problems
from check_nix_sides import debian_client, debian_server, nixos_client, nixos_server
from check_nix_tools import Outcome, check_firewall, check_nginx, check_postgresql, check_sshd, check_systemd

OLDEST = (2, 18)
EVALUATION_LIMIT = 900.0  # seconds; about ten on an idle machine
FETCH_LIMIT = 600.0
SHOWN = 40  # lines of a difference
MARKS = {"passed": "ok", "failed": "FAILED", "skipped": "not checked"}


@dataclass
class Report:
    """What was and was not checked, printed as it happens."""

    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, name: str, outcome: Outcome) -> None:
        first, *rest = outcome.detail.splitlines() or [""]
        print(f"{MARKS[outcome.state]:<12}{name}: {first}", flush=True)
        for line in rest:
            print(f"            {line}")
        if outcome.state == "failed":
            self.failed.append(name)
        elif outcome.state == "skipped":
            self.skipped.append(f"{name} ({first})")

    def passed(self, name: str, detail: str) -> None:
        self.add(name, Outcome("passed", detail))

    def judge(self, name: str, wrong: list[str], detail: str) -> None:
        """Failed with these lines, or passed with ``detail`` when there are none."""
        self.add(name, Outcome("failed", "\n".join(wrong)) if wrong else Outcome("passed", detail))

    def finish(self) -> int:
        """The last lines, and the exit code."""
        if self.skipped:
            print("\nnot checked here:", *self.skipped, sep="\n  ")
        print("\nnot knowable without building and starting a machine:", *NOT_KNOWABLE, sep="\n  ")
        if self.failed:
            print("\nwrong:", *self.failed, sep="\n  ", file=sys.stderr)
        return 1 if self.failed else 0


@dataclass(frozen=True, slots=True)
class Nix:
    """The tools: version as text, nixpkgs as a path or None with the reason."""

    version: str
    nixpkgs: str | None
    why_not: str


def check(
    root: Path, report: Report, machines: tuple[str, ...], *, update: bool, kernel_sources: Sequence[Path] = ()
) -> None:
    """Everything, in an order in which the cheap comes first.

    Args:
        kernel_sources: of Linux; nixpkgs' program configures each.
    """
    golden = root / "tests/golden/nix"
    nix = find_nix(root, report)
    if nix is not None:
        parse(root, report)
    facts: dict[str, Any] = {}
    if nix is None or nix.nixpkgs is None:
        why = "no Nix on PATH" if nix is None else nix.why_not
        report.add("evaluation", Outcome("skipped", f"{why}; the facts of the last evaluation stand in for it"))
        facts = {name: _kept_facts(golden, name) for name in machines}
        about = json.loads((golden / "about.json").read_text(encoding="utf-8"))
        stale = [] if about["sources"] == sources_digest(root) else ["made from other sources; evaluate them again"]
        report.judge("kept facts", stale, f"of these sources; nixpkgs {about['nixpkgs']}, Nix {about['nix']}")
    else:
        for name in machines:
            raw = evaluate(root, nix.nixpkgs, name, f"facts.{name}", report)
            if raw is not None:
                facts[name] = kept(raw)
                _compare(golden, name, facts[name], nix, report, update=update)
        if set(machines) == set(MACHINES):
            for name in SAMPLES:
                text = evaluate(root, nix.nixpkgs, name, f"runScripts.{name}", report)
                if text is not None:
                    _compare(golden, name, run_script(derivation_text(text)), nix, report, update=update)
            flake_outputs(root, nix.nixpkgs, report)
        if kernel_sources:
            kernel_answers(root, golden, nix.nixpkgs, kernel_sources, report, update=update)
        if update:
            write_about(root, golden, facts, nix)
        else:
            report.judge("kept facts", _staleness(root, golden), "of these sources")
    answers = read_kept(golden)
    for name, one in facts.items():
        report.judge(f"{name}: assertions", problems(name, one), "all hold")
        modules = len({*one["boot"]["initrdModules"], *one["boot"]["availableInitrdModules"]})
        report.judge(
            f"{name}: kernel",
            list(kernel_problems(one["boot"], answers)),
            f"{modules} modules of the initial RAM disk are built, as Linux {', '.join(answers['answers'])} say",
        )
        report.judge(f"{name}: paths and commands", list(path_problems(root, one)), "each is explained")
    parity(root, report, facts)
    for name, one in facts.items():
        report.add(f"{name}: sshd -G", check_sshd(one["sshd"]))
        if one["firewall"] is not None:
            report.add(f"{name}: nft -c", check_firewall(one["firewall"]))
        if "nginx" in one:
            major = one["postgresql"]["version"].split(".")[0]
            report.add(f"{name}: nginx -t", check_nginx(one["nginx"]["text"]))
            report.add(f"{name}: systemd-analyze verify", check_systemd(one["units"]))
            report.add(
                f"{name}: PostgreSQL", check_postgresql(one["postgresql"]["conf"], one["postgresql"]["hba"], major)
            )


def find_nix(root: Path, report: Report) -> Nix | None:
    """Nix on PATH and the nixpkgs it would use; None without Nix."""
    if shutil.which("nix-instantiate") is None:
        report.add("syntax", Outcome("skipped", "no nix-instantiate on PATH"))
        return None
    said = _run(["nix-instantiate", "--version"], 60).stdout.strip()
    version = said.rpartition(" ")[2]
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    report.judge("Nix", [] if numbers >= OLDEST else [f"{version} is older than 2.18"], version)
    found = _run(["nix-instantiate", "--find-file", "nixpkgs"], 60)
    if found.returncode == 0:
        return Nix(version, found.stdout.strip(), "")
    if shutil.which("nix") is None:
        return Nix(version, None, "no nixpkgs in NIX_PATH, and no `nix` to read flake.lock with")
    expression = f'(builtins.getFlake "git+file://{root}?dir=nixos-images").inputs.nixpkgs.outPath'
    features = ["--extra-experimental-features", "nix-command flakes"]
    locked = _run(["nix", *features, "eval", "--raw", "--impure", "--expr", expression], FETCH_LIMIT)
    if locked.returncode == 0:
        return Nix(version, locked.stdout.strip(), "")
    last = (locked.stderr.strip().splitlines() or ["no answer"])[-1].strip()
    return Nix(version, None, f"no nixpkgs in NIX_PATH, and that of flake.lock cannot be fetched: {last}")


def parse(root: Path, report: Report) -> None:
    """`nix-instantiate --parse` on every file."""
    files = sorted((root / "nixos-images").rglob("*.nix"))
    done = _run(["nix-instantiate", "--parse", *map(str, files)], 120)
    report.judge("syntax", [] if done.returncode == 0 else done.stderr.splitlines(), f"{len(files)} files parse")


def evaluate(root: Path, nixpkgs: str, name: str, attribute: str, report: Report) -> Any:
    """The value of one attribute of nixos-images; None when the evaluation fails. A warning is a failure, too."""
    argv = [
        "nix-instantiate",
        "--eval",
        "--strict",
        "--json",
        "--read-write-mode",
        "--show-trace",
        "--arg",
        "nixpkgs",
        nixpkgs,
        "--argstr",
        "system",
        "x86_64-linux",
        str(root / "nixos-images"),
        "-A",
        attribute,
    ]
    done = _run(argv, EVALUATION_LIMIT)
    said = done.stderr.splitlines()
    warned = [line for line in said if re.search(r"warning:", line) and "build-users-group" not in line]
    if done.returncode != 0:
        report.add(f"{name}: evaluation", Outcome("failed", "\n".join(said[-SHOWN:])))
        return None
    report.judge(f"{name}: evaluation", warned, "without a warning")
    return json.loads(done.stdout)


def flake_outputs(root: Path, nixpkgs: str, report: Report) -> None:
    """What flake.nix gives besides the machines: packages, apps, checks, the shell, all down to their derivations."""
    found = evaluate(root, nixpkgs, "flake.nix", "flake", report)
    if found is None:
        return
    missing = {*MACHINES, "server"} - set(found["machines"])
    wrong = [f"no nixosConfigurations.{name}" for name in sorted(missing)]
    wrong += [f"no packages.{name}" for name in ("orchestrator", "standin") if name not in found["packages"]]
    wrong += [f"no checks.{name}-vm" for name in MACHINES if f"{name}-vm" not in found["checks"]]
    if found["packages"].get("app") != found["packages"].get("standin"):
        wrong.append("another application than the stand-in, though none was chosen")
    report.judge("flake.nix: outputs", wrong, f"{len(found['machines'])} machines, packages, apps, checks, shell")


def kernel_answers(
    root: Path, golden: Path, nixpkgs: str, sources: Sequence[Path], report: Report, *, update: bool
) -> None:
    """Let nixpkgs' program configure kernels, and compare (or keep) what it answers."""
    stated = evaluate(root, nixpkgs, "kernel", "kernelConfig", report)
    if stated is None:
        return
    found: dict[str, dict[str, str]] = {}
    for source in sources:
        try:
            with tempfile.TemporaryDirectory(prefix="check-nix-") as work:
                found[source_version(source)] = generate(Path(nixpkgs), stated, source, Path(work))
        except ValueError as error:
            report.add(f"kernel: configuration of {source}", Outcome("failed", str(error)))
            return
    new = {"stated": hashlib.sha256(stated.encode()).hexdigest(), "answers": found}
    if update:
        (golden / KEPT).write_text(json.dumps(new, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    wrong = [] if new == read_kept(golden) else ["the kept answers are other ones; if that is meant: --update"]
    report.judge("kernel: answers", wrong, f"as kept, on Linux {', '.join(found)}")


def parity(root: Path, report: Report, facts: Mapping[str, Any]) -> None:
    """Debian's files against the facts; with all machines at hand, an entry that nobody needed fails, too."""
    table = tomllib.loads((root / "nixos-images/accepted-differences.toml").read_text(encoding="utf-8"))
    accepted = accepted_differences(table)
    used: set[int] = set()
    for name, one in facts.items():
        kind, _, variant = name.partition("-")
        if kind == "server":
            sides = debian_server(root, variant), nixos_server(one)
        elif not variant:
            sides = debian_client(root), nixos_client(one)
        else:
            continue  # the Debian image has no desktop
        left, needed = judged(differences(*sides), accepted)
        used |= needed
        known = len(sides[0].keys() | sides[1].keys())
        report.judge(f"{name}: same as Debian", [str(one) for one in left], f"{known} facts, the rest is accepted")
    if {"server-mock", "server-minimal", "server-full", "client"} <= facts.keys():
        unused = [f"no longer needed: {', '.join(e.names)}" for n, e in enumerate(accepted) if n not in used]
        report.judge("accepted differences", unused, f"{len(accepted)} entries, each is needed")


def write_about(root: Path, golden: Path, facts: Mapping[str, Any], nix: Nix) -> None:
    """The note beside the kept facts: what they were made with."""
    one = next(iter(facts.values()))["nixpkgs"]
    about = {"nixpkgs": f"{one['release']} {one['revision']}", "nix": nix.version, "sources": sources_digest(root)}
    (golden / "about.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def as_text(facts: Mapping[str, Any]) -> str:
    """How the facts of a machine are kept."""
    return json.dumps(facts, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _kept_facts(golden: Path, name: str) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((golden / f"{name}.json").read_text(encoding="utf-8"))
    return facts


def _staleness(root: Path, golden: Path) -> list[str]:
    about = json.loads((golden / "about.json").read_text(encoding="utf-8"))
    return [] if about["sources"] == sources_digest(root) else ["made from other sources: scripts/check-nix --update"]


def _compare(golden: Path, name: str, facts: Mapping[str, Any], nix: Nix, report: Report, *, update: bool) -> None:
    path = golden / f"{name}.json"
    new = as_text(facts)
    if update:
        golden.mkdir(parents=True, exist_ok=True)
        path.write_text(new, encoding="utf-8")
        report.passed(f"{name}: kept facts", "written")
        return
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    lines = list(difflib.unified_diff(old.splitlines(), new.splitlines(), "kept", "evaluated", lineterm="", n=1))
    hint = [f"kept facts differ from this evaluation ({nix.nixpkgs}); if that is meant: --update"] if lines else []
    report.judge(f"{name}: kept facts", [*hint, *lines[:SHOWN]], "as evaluated")


def _run(argv: list[str], limit: float) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            argv,
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 124, "", f"no answer within {limit:.0f} s")
