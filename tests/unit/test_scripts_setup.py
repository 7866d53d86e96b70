"""scripts/e2e and scripts/lib on invented hosts: programs are small fakes that write down how they were called."""

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

# Installing is making programs; what it was told is written down.
FAKE_APT = """#!/bin/sh
echo "apt-get $*" >> "$HOST/calls"
case " $* " in
    *" update "*) [ ! -e "$HOST/locked" ] || { rm "$HOST/locked"; echo "E: Could not get lock /x"; exit 100; }
        [ ! -e "$HOST/backports" ] || cp "$HOST/madison-with-backports" "$HOST/madison" ;;
    *" install "*)
        [ ! -e "$HOST/unreachable" ] || { echo "E: Failed to fetch x  Could not connect to mirror"; exit 100; }
        for word in "$@"; do
            case $word in
                qemu-system-x86) program qemu-system-x86_64 'echo QEMU emulator version 10.0.2' ;;
                qemu-utils) program qemu-img 'echo qemu-img version 10.0.2' ;;
                vde2) program vde_switch : ;;
                openssh-client) program ssh-keygen : ;;
                mmdebstrap) program mmdebstrap : ;;
                e2fsprogs) program mke2fs : ;;
                uidmap) program newuidmap : ;;
            esac
        done ;;
esac
"""
FAKE_PROGRAM = '#!/bin/sh\nprintf "#!/bin/sh\\n%s\\n" "$2" > "$HOST/bin/$1"; chmod +x "$HOST/bin/$1"\n'
FAKE_APT_CACHE = """#!/bin/sh
case $1 in
    policy) echo "  Candidate: $(cat "$HOST/candidate")" ;;
    madison) cat "$HOST/madison" ;;
esac
"""
FAKE_PYTHON = """#!/bin/sh
echo "python $*" >> "$HOST/calls"
case "$*" in
    "-m venv"*) mkdir -p "$4/bin"; cp "$0" "$4/bin/python"; echo "#!$4/bin/python" > "$4/bin/pip" ;;
    *"-m pip"*)
        [ ! -e "$HOST/mismatch" ] || { echo "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES"; exit 1; }
        made=$(dirname "$0")/orchestrator
        printf '#!/bin/sh\\necho "ran $*"\\n' > "$made"; chmod +x "$made" ;;
esac
"""
BOOKWORM_MADISON = (
    "qemu-system-x86 | 1:7.2+dfsg-7+deb12u16 | http://mirror.example/debian bookworm/main amd64 Packages\n"
)
BACKPORTS_LINE = (
    "qemu-system-x86 | 1:10.0.2+ds-2~bpo12+1 | http://mirror.example/debian bookworm-backports/main amd64 Packages\n"
)


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
    (folder / "os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    (folder / "candidate").write_text("1:7.2+dfsg-7+deb12u16\n")
    (folder / "madison").write_text(BOOKWORM_MADISON + BACKPORTS_LINE)
    made = Host(
        folder,
        checkout,
        {
            "PATH": str(folder / "bin"),
            "HOME": str(folder),
            "HOST": str(folder),
            "SETUP_OS_RELEASE": str(folder / "os-release"),
            "SETUP_PYTHON": str(folder / "bin" / "fake-python"),
            "SETUP_SUBUID": str(folder / "subuid"),
            "SETUP_SUBGID": str(folder / "subuid"),
            "SETUP_SBIN": "",
            "SETUP_BACKPORTS": str(folder / "backports"),
        },
    )
    (folder / "subuid").write_text("")
    for name, text in {
        "id": FAKE_ID,
        "apt-get": FAKE_APT,
        "apt-cache": FAKE_APT_CACHE,
        "program": FAKE_PROGRAM,
        "fake-python": FAKE_PYTHON,
    }.items():
        made.fake(name, text)
    return made


def test_a_bare_host_is_set_up_and_the_second_run_installs_nothing(host: Host) -> None:
    first = host.e2e("--variant", "minimal")
    assert first.returncode == 0, first.stderr
    assert first.stdout == "ran run --variant minimal\n"
    assert "qemu-system-x86 " in first.stderr
    assert "10 or newer" in first.stderr
    calls = host.calls()
    installs = [call for call in calls if " install " in call]
    assert any("-t bookworm-backports qemu-system-x86 qemu-utils" in call for call in installs)
    assert all("backports" not in call or "vde2" not in call for call in installs)
    assert any("--require-hashes" in call for call in calls)

    second = host.e2e("--grep", "a b")
    assert (second.returncode, second.stdout, second.stderr) == (0, "ran run --grep a b\n", "")
    assert host.calls() == []


def test_backports_are_added_once_and_only_where_they_are_missing(host: Host) -> None:
    (host.folder / "madison").write_text(BOOKWORM_MADISON)
    (host.folder / "madison-with-backports").write_text(BOOKWORM_MADISON + BACKPORTS_LINE)
    done = host.e2e("--setup-only")
    assert done.returncode == 0, done.stderr
    assert "adding" in done.stderr
    added = (host.folder / "backports").read_text()
    assert "URIs: http://mirror.example/debian\nSuites: bookworm-backports\n" in added
    assert any("-t bookworm-backports qemu-system-x86" in call for call in host.calls())


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


def test_another_distribution_gets_a_list_and_nothing_is_installed(host: Host) -> None:
    (host.folder / "os-release").write_text("ID=fedora\nVERSION_ID=43\n")
    done = host.e2e()
    assert done.returncode == 3
    assert "this is no Debian 12 or 13 with apt (fedora); nothing was installed" in done.stderr
    assert "vde2" in done.stderr
    assert host.calls() == []


def test_without_rights_the_administrator_is_told_every_command(host: Host) -> None:
    done = host.e2e(FAKE_UID="1000", FAKE_USER="bob")
    assert done.returncode == 3
    assert "bob may not install packages" in done.stderr
    assert "bookworm-backports main' > /etc/apt/sources.list.d/" in done.stderr
    assert "apt-get install --no-install-recommends -t bookworm-backports qemu-system-x86 qemu-utils" in done.stderr
    assert "uidmap" in done.stderr
    assert "usermod --add-subuids 100000-165535 --add-subgids 100000-165535 bob" in done.stderr
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


def test_locked_package_lists_are_waited_for(host: Host) -> None:
    (host.folder / "locked").touch()
    host.fake("sleep", "#!/bin/sh\n")
    assert host.e2e("--setup-only").returncode == 0
    assert len([call for call in host.calls() if call.endswith(" update")]) == 2


def test_a_mirror_without_a_new_qemu_is_an_error_that_says_so(host: Host) -> None:
    (host.folder / "os-release").write_text("ID=debian\nVERSION_ID=13\n")
    (host.folder / "madison").write_text(BOOKWORM_MADISON)
    done = host.e2e()
    assert done.returncode == 3
    assert "offer no QEMU 10" in done.stderr
    assert "7.2+dfsg" in done.stderr


def test_help_needs_no_setup(host: Host) -> None:
    for script in ("e2e", "test", "lock"):
        done = host.run([str(host.checkout / "scripts" / script), "--help"])
        assert done.returncode == 0
        assert f"scripts/{script} [" in done.stdout
        assert "Exit codes:" in done.stdout
    assert host.calls() == []


@pytest.mark.parametrize(
    ("candidate", "madison", "expected"),
    [
        ("1:10.0.13+ds-0+deb13u1", "", (0, "")),
        ("1:7.2+dfsg-7", BOOKWORM_MADISON + BACKPORTS_LINE, (0, "-t bookworm-backports\n")),
        ("1:7.2+dfsg-7", BOOKWORM_MADISON, (1, "")),
        ("(none)", "", (1, "")),
    ],
)
def test_where_qemu_comes_from(host: Host, candidate: str, madison: str, expected: tuple[int, str]) -> None:
    (host.folder / "madison").write_text(madison)
    done = host.shell_functions(f"apt-cache madison x | qemu_source '{candidate}'")
    assert (done.returncode, done.stdout) == expected


def test_backports_come_from_the_mirror_in_use(host: Host) -> None:
    security = BOOKWORM_MADISON.replace("mirror.example/debian", "security.example/debian-security")
    (host.folder / "madison").write_text(security + BOOKWORM_MADISON)
    done = host.shell_functions("backports_source bookworm $(apt-cache madison x | mirror_of bookworm)")
    assert "URIs: http://mirror.example/debian\nSuites: bookworm-backports\n" in done.stdout


@pytest.mark.parametrize(
    ("options", "variable", "nix", "wanted"),
    [
        ("", "", False, True),
        ("", "", True, False),
        ("--images nixos", "", False, False),
        ("--images=debian", "", True, True),
        ("--variant minimal", "nixos", False, False),
        ("--images debian", "nixos", True, True),
    ],
)
def test_who_needs_the_debian_tools(host: Host, options: str, variable: str, nix: bool, wanted: bool) -> None:
    if nix:
        host.fake("nix", "#!/bin/sh\n")
    done = host.shell_functions(f"needs_of run {options} | grep -c mmdebstrap || true", ORCH_IMAGES=variable or "auto")
    assert done.stdout.strip() == ("1" if wanted else "0")


@pytest.mark.parametrize(
    ("subuid", "expected"),
    [
        ("", "100000-165535"),
        ("bob:100000:65536\n", ""),
        ("bob:100000:1000\n", "101000-166535"),
        ("amy:100000:65536\neve:300000:65536\n", "365536-431071"),
    ],
)
def test_subordinate_ids_never_overlap(host: Host, subuid: str, expected: str) -> None:
    (host.folder / "subuid").write_text(subuid)
    assert host.shell_functions("missing_subids bob", FAKE_UID="1000").stdout.strip() == expected


def test_servers_wanted_for_their_programs_are_masked_unless_they_exist(host: Host) -> None:
    host.fake(
        "systemctl",
        '#!/bin/sh\n[ "$1" = cat ] && { [ "$2" = nginx.service ]; exit; }\necho "systemctl $*" >> "$HOST/calls"\n',
    )
    assert host.shell_functions("keep_servers_off zsh nginx openssh-server").returncode == 0
    assert host.calls() == ["systemctl mask ssh.service", "systemctl mask ssh.socket"]
