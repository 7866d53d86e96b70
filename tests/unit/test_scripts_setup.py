"""scripts/e2e and scripts/lib on invented hosts: programs are small fakes that write down how they were called.

What `orchestrator host-setup` does once Python runs is in test_host_setup.py and test_cli_host_setup.py.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = (
    "awk",
    "bash",
    "cat",
    "chmod",
    "cp",
    "cut",
    "dirname",
    "env",
    "flock",
    "grep",
    "head",
    "mkdir",
    "readlink",
    "rm",
    "sed",
    "sha256sum",
    "sleep",
    "sort",
    "stat",
    "tail",
    "tee",
    "tr",
    "uname",
)

FAKE_ID = '#!/bin/sh\n[ "$1" = -u ] && echo ${FAKE_UID:-0} || echo ${FAKE_USER:-root}\n'

# Installing is making a Python; what it was told is written down.
FAKE_APT = """#!/bin/sh
echo "apt-get $*" >> "$HOST/calls"
case " $* " in
    *" install "*)
        [ ! -e "$HOST/unreachable" ] || { echo "E: Failed to fetch x  Could not connect to mirror"; exit 100; }
        cp "$HOST/python" "$HOST/bin/fake-python" ;;
esac
"""
FAKE_PYTHON = """#!/bin/sh
echo "python $*" >> "$HOST/calls"
case "$*" in
    "-m venv"*) mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; echo "#!$4/bin/python" > "$4/bin/pip" ;;
    *"-m pip"*)
        [ ! -e "$HOST/mismatch" ] || { echo "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES"; exit 1; }
        cp "$HOST/orchestrator" "$(dirname "$0")/orchestrator" ;;
esac
"""
# A host that lacks something until host-setup has run; a file says that it cannot be installed.
FAKE_ORCHESTRATOR = """#!/bin/sh
case "$*" in
    *host-setup*--check*) [ -e "$HOST/ready" ] || exit 3 ;;
    *host-setup*)
        echo "orchestrator $*" >> "$HOST/calls"
        [ ! -e "$HOST/refused" ] || { echo "error: nothing was installed" >&2; exit 3; }
        : > "$HOST/ready"; echo "installed" ;;
    *) echo "ran $*" ;;
esac
"""


@dataclass
class Host:
    """A host that has nothing but a shell, and a checkout on it."""

    folder: Path
    checkout: Path
    environment: dict[str, str]

    def fake(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.unlink(missing_ok=True)  # it may link to a real tool, which must not be written through
        path.write_text(text)
        path.chmod(0o755)

    def e2e(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run([str(self.checkout / "scripts" / "e2e"), *options], **environment)

    def shell_functions(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run shell text with the libraries loaded."""
        head = f"set -euo pipefail; root={self.checkout}; me=test; . $root/scripts/lib/setup.sh; "
        return self.run(["/bin/bash", "-c", head + script], **environment)

    def run(self, argv: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def calls(self) -> list[str]:
        """What was called since the last question."""
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        file.unlink(missing_ok=True)
        return [line for line in lines if not line.startswith("python -c")]


@pytest.fixture
def host(tmp_path: Path) -> Host:
    folder, checkout = tmp_path / "host", tmp_path / "checkout"
    (folder / "bin").mkdir(parents=True)
    checkout.mkdir()
    for name in ("pyproject.toml", "requirements.lock", "requirements-dev.lock"):
        shutil.copy(ROOT / name, checkout)
    shutil.copytree(ROOT / "scripts", checkout / "scripts", ignore=shutil.ignore_patterns("__pycache__", "bench"))
    for tool in TOOLS:
        found = shutil.which(tool)
        if found:
            (folder / "bin" / tool).symlink_to(found)
    for name, text in {"python": FAKE_PYTHON, "orchestrator": FAKE_ORCHESTRATOR}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    made = Host(
        folder,
        checkout,
        {
            "PATH": str(folder / "bin"),
            "HOME": str(folder),
            "HOST": str(folder),
            "SETUP_PYTHON": str(folder / "bin" / "fake-python"),
            "SETUP_SBIN": "",
        },
    )
    for name, text in {"id": FAKE_ID, "apt-get": FAKE_APT}.items():
        made.fake(name, text)
    return made


def test_a_bare_host_is_set_up_and_the_second_run_installs_nothing(host: Host) -> None:
    first = host.e2e("--variant", "minimal")
    assert first.returncode == 0, first.stderr
    assert first.stdout == "ran run --variant minimal\n"
    calls = host.calls()
    assert any(call.endswith("install --no-install-recommends python3-venv ca-certificates") for call in calls)
    assert any("--require-hashes" in call for call in calls)
    assert calls[-1] == "orchestrator host-setup --images=auto"

    second = host.e2e("--grep", "a b")
    assert (second.returncode, second.stdout, second.stderr) == (0, "ran run --grep a b\n", "")
    assert host.calls() == []


def test_a_host_with_python_leaves_all_the_rest_to_the_package(host: Host) -> None:
    host.fake("fake-python", FAKE_PYTHON)
    done = host.e2e("--images", "nixos")
    assert done.returncode == 0, done.stderr
    calls = host.calls()
    assert not any("apt-get" in call for call in calls)
    assert calls[-1] == "orchestrator host-setup --images=nixos"


def test_what_the_package_cannot_install_stops_the_script(host: Host) -> None:
    (host.folder / "refused").touch()
    done = host.e2e()
    assert (done.returncode, done.stdout) == (3, "")
    assert "error: nothing was installed" in done.stderr


def test_a_changed_lock_installs_python_packages_only(host: Host) -> None:
    assert host.e2e("--setup-only").returncode == 0
    host.calls()
    with (host.checkout / "requirements.lock").open("a") as lock:
        lock.write("# changed\n")
    assert host.e2e("--setup-only").returncode == 0
    calls = host.calls()
    assert any("-m pip" in call for call in calls)
    assert not any("apt-get" in call or "-m venv" in call for call in calls)


def test_a_moved_checkout_gets_a_new_environment(host: Host) -> None:
    assert host.e2e("--setup-only").returncode == 0
    host.calls()
    host.checkout = host.checkout.rename(host.checkout.with_name("moved"))
    assert host.e2e("--setup-only").returncode == 0
    assert any("-m venv" in call for call in host.calls())


def test_setup_only_starts_nothing(host: Host) -> None:
    done = host.e2e("--setup-only")
    assert (done.returncode, done.stdout) == (0, "")
    assert "the command is" in done.stderr


def test_without_python_and_apt_nothing_is_installed(host: Host) -> None:
    (host.folder / "bin" / "apt-get").unlink()
    done = host.e2e()
    assert done.returncode == 3
    assert "Python 3.11 or newer" in done.stderr
    assert host.calls() == []


def test_without_rights_the_administrator_is_told_every_command(host: Host) -> None:
    done = host.e2e(FAKE_UID="1000", FAKE_USER="bob")
    assert done.returncode == 3
    assert "bob may not install packages" in done.stderr
    assert "apt-get install --no-install-recommends python3-venv ca-certificates" in done.stderr
    assert host.calls() == []


def test_an_unreachable_mirror_names_command_log_and_next_step(host: Host) -> None:
    (host.folder / "unreachable").touch()
    done = host.e2e()
    assert done.returncode == 3
    assert "error: apt-get install failed (exit code 100)" in done.stderr
    assert "command: apt-get install --no-install-recommends" in done.stderr
    assert "Could not connect to mirror" in done.stderr
    assert "cannot be reached" in done.stderr
    log = host.checkout / "build" / "setup.log"
    assert f"whole log: {log}" in done.stderr
    assert "Failed to fetch" in log.read_text()


def test_packages_that_are_not_the_locked_ones_are_refused(host: Host) -> None:
    (host.folder / "mismatch").touch()
    done = host.e2e()
    assert done.returncode == 3
    assert "error: pip install failed (exit code 1)" in done.stderr
    assert "PIP_INDEX_URL" in done.stderr
    assert not (host.checkout / ".venv" / ".setup-run").exists()


def test_help_needs_no_setup(host: Host) -> None:
    for script in ("e2e", "test", "lock"):
        done = host.run([str(host.checkout / "scripts" / script), "--help"])
        assert done.returncode == 0
        assert f"scripts/{script} [" in done.stdout
        assert "Exit codes:" in done.stdout
    assert host.calls() == []


@pytest.mark.parametrize(
    ("options", "variable", "expected"),
    [
        ("", "", "--images=auto"),
        ("--images nixos", "", "--images=nixos"),
        ("--images=debian", "nixos", "--images=debian"),
        ("--variant minimal", "nixos", "--images=nixos"),
    ],
)
def test_the_options_of_the_run_say_which_images(host: Host, options: str, variable: str, expected: str) -> None:
    done = host.shell_functions(f"images_option {options}", ORCH_IMAGES=variable or "auto")
    assert done.stdout.strip() == expected
