"""The programs the evaluated texts are meant for, asked whether they accept them.

Each function returns what it did, as an `Outcome`; a program that is not there makes it skipped, never passed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from check_nix_texts import postgresql_settings

SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
LIMIT = 120.0  # seconds for one program
NGINX_TEST_PORT = "28080"  # bound by `nginx -t`, which minds no other owner of it
POSTGRES_TEST_PORT = "25432"  # only the name of the socket


@dataclass(frozen=True, slots=True)
class Outcome:
    """``passed``, ``failed`` or ``skipped``, and one line (or the program's own words) about it."""

    state: str
    detail: str


def _run(argv: Sequence[str], **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(argv),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
        stdin=subprocess.DEVNULL,
        **more,
    )


def find(program: str, *folders: str) -> str | None:
    """A program on PATH, in the system's folders, or in one of ``folders``."""
    path = os.pathsep.join([os.environ.get("PATH", ""), SYSTEM_PATH, *folders])
    return shutil.which(program, path=path)


def version_of(program: str, pattern: str) -> str:
    option = {"nginx": "-v", "sshd": "-V"}.get(Path(program).name, "--version")
    found = re.search(pattern, _run([program, option]).stdout)
    return found[1] if found else "of unknown version"


def check_nginx(text: str) -> Outcome:
    """`nginx -t` on the configuration; only places of files and the port are other ones."""
    nginx = find("nginx")
    if nginx is None:
        return Outcome("skipped", "no nginx here")
    with tempfile.TemporaryDirectory(prefix="check-nix-") as folder:
        conf = Path(folder, "nginx.conf")
        conf.write_text(nginx_text_here(text, folder), encoding="utf-8")
        done = _run([nginx, "-t", "-p", folder, "-c", str(conf), "-e", f"{folder}/error.log"])
    said = done.stdout.strip()
    warned = [line for line in said.splitlines() if "[warn]" in line and "user" not in line]
    if done.returncode != 0 or warned:
        return Outcome("failed", said)
    return Outcome("passed", f"nginx {version_of(nginx, r'nginx/([0-9.]+)')} accepts it")


def nginx_text_here(text: str, folder: str) -> str:
    """The configuration with this host's places: includes from /etc/nginx, logs and pid below ``folder``."""
    text = re.sub(r"/nix/store/[^/\s;]*nginx[^/\s;]*/conf/", "/etc/nginx/", text)
    text = re.sub(r"^(\s*root) [^;]+;", rf"\1 {folder};", text, flags=re.MULTILINE)
    text = text.replace("/var/log/nginx/", f"{folder}/").replace("/run/nginx/nginx.pid", f"{folder}/pid")
    return re.sub(r"(listen \S+):80\b", rf"\1:{NGINX_TEST_PORT}", text)


def check_systemd(units: Mapping[str, str]) -> Outcome:
    """`systemd-analyze verify` on the units of the stack; programs of the store are /bin/true here."""
    analyze = find("systemd-analyze")
    if analyze is None:
        return Outcome("skipped", "no systemd-analyze here")
    names = [name for name in units if name.startswith(("alicia", "mock-", "postgresql", "nginx"))]
    with tempfile.TemporaryDirectory(prefix="check-nix-") as folder:
        for name in names:
            text = re.sub(r"^(Exec\w+=[-+@!:]*)/nix/store/\S+", r"\1/bin/true", units[name], flags=re.MULTILINE)
            Path(folder, name).write_text(text, encoding="utf-8")
        done = _run(
            [analyze, "verify", "--man=no", *(f"{folder}/{name}" for name in names)],
            env={**os.environ, "SYSTEMD_UNIT_PATH": f"{folder}:"},
        )
    complaints = [line for line in done.stdout.splitlines() if folder in line or any(name in line for name in names)]
    if complaints or done.returncode != 0:
        return Outcome("failed", "\n".join(complaints) or done.stdout.strip())
    version = version_of(analyze, r"systemd (\d+)")
    return Outcome("passed", f"systemd {version} accepts {len(names)} units")


def check_sshd(text: str) -> Outcome:
    """`sshd -G` on the configuration; it neither needs a host key nor opens a port."""
    sshd = find("sshd")
    if sshd is None:
        return Outcome("skipped", "no sshd here")
    with tempfile.TemporaryDirectory(prefix="check-nix-") as folder:
        conf = Path(folder, "sshd_config")
        conf.write_text(text, encoding="utf-8")
        done = _run([sshd, "-G", "-f", str(conf)])
    if "unknown option" in done.stdout:
        return Outcome("skipped", "this sshd is older than 9.3")
    if done.returncode != 0:
        return Outcome("failed", done.stdout.strip())
    return Outcome("passed", f"OpenSSH {version_of(sshd, r'OpenSSH_([0-9.p]+)')} accepts it")


def check_firewall(rules: str) -> Outcome:
    """`nft -c` on the table NixOS would load."""
    nft = find("nft")
    if nft is None:
        return Outcome("skipped", "no nft here")
    with tempfile.TemporaryDirectory(prefix="check-nix-") as folder:
        table = Path(folder, "rules")
        table.write_text(f"table inet nixos-fw {{\n{rules}}}\n", encoding="utf-8")
        done = _run([nft, "-c", "-f", str(table)])
    if "ermission denied" in done.stdout or "not permitted" in done.stdout:
        return Outcome("skipped", "nft must be root, even to check")
    if done.returncode != 0:
        return Outcome("failed", done.stdout.strip())
    return Outcome("passed", f"nftables {version_of(nft, r'v([0-9.]+)')} accepts it")


def check_postgresql(conf: str, hba: str, wanted: str) -> Outcome:
    """A real server started with the evaluated settings and rules; it is asked what it made of them.

    Args:
        wanted: the major version the machine has; another one here still runs, and is named.
    """
    folders = [str(path) for path in sorted(Path("/usr/lib/postgresql").glob(f"{wanted}/bin"))]
    folders += [str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    programs = {name: find(name, *folders) for name in ("initdb", "pg_ctl", "psql", "postgres")}
    own = {name: f"{folders[0]}/{name}" for name in programs} if folders else {}
    if own and all(os.access(path, os.X_OK) for path in own.values()):
        programs = dict(own)
    if missing := [name for name, path in programs.items() if path is None]:
        return Outcome("skipped", f"no {', '.join(missing)} here")
    with tempfile.TemporaryDirectory(prefix="check-nix-") as folder:
        return _ask_postgresql(Path(folder), {name: str(path) for name, path in programs.items()}, conf, hba, wanted)


def _ask_postgresql(folder: Path, programs: Mapping[str, str], conf: str, hba: str, wanted: str) -> Outcome:
    as_user: list[str] = []
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        user = "postgres" if _run(["id", "postgres"]).returncode == 0 else "nobody"
        as_user = ["runuser", "-u", user, "--"]
        shutil.chown(folder, user)
    data = folder / "data"
    (folder / "hba").write_text(hba, encoding="utf-8")
    (folder / "ident").write_text("", encoding="utf-8")
    # Of a setting given twice the last counts, and both are read.
    here = {
        "hba_file": folder / "hba",
        "ident_file": folder / "ident",
        "unix_socket_directories": folder,
        "port": POSTGRES_TEST_PORT,
        "listen_addresses": "",
        "dynamic_shared_memory_type": "mmap",  # a container may have no /dev/shm
    }
    overrides = "".join(f"{name} = '{value}'\n" for name, value in here.items())
    (folder / "conf").write_text(f"{conf}\n{overrides}", encoding="utf-8")
    for name in ("hba", "ident", "conf"):
        (folder / name).chmod(0o644)
    found = version_of(programs["postgres"], r"(\d+(?:\.\d+)?)")
    done = _run([*as_user, programs["initdb"], "--pgdata", str(data), "--auth=trust", "--no-sync"], cwd=folder)
    if done.returncode != 0:
        return Outcome("failed", done.stdout.strip())
    options = f"-c config_file={folder}/conf"
    control = [*as_user, programs["pg_ctl"], "--pgdata", str(data), "--silent", "--wait"]
    started = _run([*control, "--options", options, "--log", str(folder / "log"), "start"], cwd=folder)
    try:
        if started.returncode != 0:
            log = folder / "log"
            return Outcome("failed", f"{started.stdout}{log.read_text() if log.is_file() else ''}".strip())
        base = [*as_user, programs["psql"], "-XtAF", " ", "-h", str(folder), "-p", POSTGRES_TEST_PORT, "postgres", "-c"]
        query = (
            "select 'setting ' || name || ': ' || error from pg_file_settings where error is not null union all "
            "select 'rule ' || line_number || ': ' || error from pg_hba_file_rules where error is not null"
        )
        errors = _run([*base, query], cwd=folder).stdout.strip()
        rules = _run([*base, "select count(*) from pg_hba_file_rules"], cwd=folder).stdout.strip()
        applied = _run([*base, "select name from pg_file_settings"], cwd=folder).stdout.split()
    finally:
        _run([*control, "--mode", "immediate", "stop"], cwd=folder)
    settings = postgresql_settings(conf)
    lines = len([line for line in hba.splitlines() if line.strip() and not line.startswith("#")])
    if errors or rules != str(lines) or set(applied) != {*settings, *here}:
        return Outcome("failed", errors or f"{rules} of {lines} rules, settings read: {applied}")
    other = "" if found.split(".")[0] == wanted else f" (the machine has {wanted}: not checked with it)"
    return Outcome("passed", f"PostgreSQL {found}{other} accepts {len(settings)} settings and {rules} rules")
