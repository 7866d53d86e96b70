"""validate, config, graph, report, ssh-config: each in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from pathlib import Path

import pytest
from cli_process import ROOT, Cli

from orchestrator.topology.effective import from_dict
from orchestrator.topology.graph import as_json, as_mermaid, as_text
from orchestrator.topology.load import load_topology

EVENTS = ROOT / "tests" / "golden" / "report" / "failed-tests-events.jsonl"
BAD = ROOT / "tests" / "golden" / "topology" / "bad.toml"


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_validate_counts_every_variant_and_warns_of_missing_files(cli: Cli) -> None:
    done = cli("validate")
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "tiny  variant small  2 machines, 1 network, 2 services, 2 checks, 0 test phases",
        "tiny  variant keyed  2 machines, 1 network, 2 services, 2 checks, 0 test phases",
    ]
    assert f'warning: variant keyed: machine "alpha" needs {cli.folder / "key"}' in done.stderr
    (cli.folder / "key").write_text("x")
    assert cli("validate").stderr == ""


def test_validate_one_variant(cli: Cli) -> None:
    assert [line.split()[2] for line in cli("validate", "--variant", "keyed").stdout.splitlines()] == ["keyed"]
    unknown = cli("validate", "--variant", "keyd")
    assert unknown.returncode == 2
    assert '(did you mean "keyed"?)' in unknown.stderr


def test_validate_tells_all_problems_of_all_variants(cli: Cli) -> None:
    file = cli.folder / "orchestrator.toml"
    text = file.read_text()
    file.write_text(text.replace("cpus = 1", "cpus = 99", 1) + 'services.web.unit = "no-suffix"\n')
    done = cli("validate")
    assert (done.returncode, done.stdout) == (2, "")
    paths = [line.split(": ", 1)[0] for line in done.stderr.splitlines()[:-1]]
    assert paths == ["orchestrator.toml:13:8", f"orchestrator.toml:{len(file.read_text().splitlines())}:21"]
    assert done.stderr.splitlines()[-1] == "error: the topology orchestrator.toml has 2 problems"


def test_validate_leaves_no_problem_out(cli: Cli) -> None:
    expected = BAD.with_suffix(".problems").read_text().splitlines()
    as_text = cli("validate", "--file", str(BAD))
    assert as_text.returncode == 2
    assert len(as_text.stderr.splitlines()) == len(expected) + 1
    as_data = json.loads(cli("validate", "--json", "--file", str(BAD)).stdout)
    assert as_data["valid"] is False
    assert len(as_data["problems"]) == len(expected)


def test_validate_without_a_file(cli: Cli) -> None:
    done = cli("validate", "--file", "none.toml")
    assert done.returncode == 2
    assert "there is no topology file none.toml" in done.stderr


def test_config_is_a_topology_again(cli: Cli) -> None:
    wanted = load_topology(cli.folder / "orchestrator.toml", variant="keyed")
    shown = cli("config", "--variant", "keyed")
    assert tomllib.loads(shown.stdout)["variant"] == "keyed"
    again = cli.folder / "again.toml"
    again.write_text(shown.stdout)
    assert load_topology(again).machines == wanted.machines
    assert from_dict(json.loads(cli("config", "--variant", "keyed", "--json").stdout)) == wanted


def test_graph_in_each_form(cli: Cli) -> None:
    topology = load_topology(cli.folder / "orchestrator.toml")
    assert cli("graph").stdout == as_text(topology)
    assert cli("graph", "--format", "mermaid").stdout == as_mermaid(topology)
    assert cli("graph", "--format", "json").stdout == as_json(topology)


# ------------------------------------------------------------------ report


def run_folder(cli: Cli, name: str) -> Path:
    folder = cli.folder / "runs" / name
    folder.mkdir(parents=True)
    shutil.copy(EVENTS, folder / "events.jsonl")
    link = cli.folder / "runs" / "latest"
    link.unlink(missing_ok=True)
    link.symlink_to(name)
    return folder


def test_report_rewrites_the_latest_run(cli: Cli) -> None:
    run_folder(cli, "20260101T000000Z-aaaaaa")
    folder = run_folder(cli, "20260102T000000Z-bbbbbb")
    done = cli("report")
    assert (done.returncode, done.stdout) == (0, f"{folder / 'report' / 'index.html'}\n")
    assert done.stderr == f"{folder.name}: failed\n"
    assert json.loads((folder / "summary.json").read_text())["outcome"] == "failed"
    assert (folder / "junit.xml").is_file()
    assert "</html>" in (folder / "report" / "index.html").read_text()


def test_report_of_another_folder(cli: Cli) -> None:
    folder = run_folder(cli, "20260101T000000Z-aaaaaa")
    assert cli("-q", "report", str(folder)).stderr == ""
    elsewhere = cli("report", "--runs", str(cli.folder / "nowhere"))
    assert elsewhere.returncode == 2
    assert "contains no run" in elsewhere.stderr


def test_report_names_the_runs_there_are(cli: Cli) -> None:
    folder = run_folder(cli, "20260101T000000Z-aaaaaa")
    done = cli("report", "runs/other")
    assert done.returncode == 2
    assert f"there is runs/{folder.name}" in done.stderr
    empty = cli.folder / "empty"
    empty.mkdir()
    assert "it contains no events.jsonl" in cli("report", "empty").stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_report_into_a_folder_that_may_not_be_written(cli: Cli) -> None:
    folder = run_folder(cli, "20260101T000000Z-aaaaaa")
    folder.chmod(0o500)
    done = cli("report")
    assert done.returncode == 3
    assert "cannot be written" in done.stderr


def test_report_where_a_file_stands_in_the_way(cli: Cli) -> None:
    folder = run_folder(cli, "20260101T000000Z-aaaaaa")
    (folder / "report").write_text("not a folder")
    done = cli("report")
    assert done.returncode == 3
    assert "the reports cannot be written" in done.stderr


# ------------------------------------------------------------------ ssh-config


def test_ssh_config_of_a_running_environment(cli: Cli) -> None:
    paths = cli.record(alive=True)
    early = cli("ssh-config")
    assert early.returncode == 3
    assert "has no ssh configuration yet" in early.stderr
    paths.ssh_config.write_text("Host alpha\n  Port 2222\n")
    assert cli("ssh-config").stdout == "Host alpha\n  Port 2222\n"
    assert cli("ssh-config", "--path").stdout == f"{paths.ssh_config}\n"


def test_ssh_config_of_one_that_does_not_run(cli: Cli) -> None:
    done = cli("ssh-config")
    assert (done.returncode, done.stdout) == (3, "")
    assert "environment tiny does not run" in done.stderr
    paths = cli.record(alive=False)
    paths.ssh_config.write_text("Host alpha\n")
    assert cli("ssh-config").returncode == 3
