"""What is secret stays where it belongs, and what a guest prints harms nobody."""

from __future__ import annotations

import json
import os
import secrets
import time
from pathlib import Path

from host import Host, contents

HOSTILE = rb"\033]0;owned\007\033[2J\033[31m<script>alert(1)</script>\000\377\342\200\256"


def test_a_secret_is_nowhere_but_where_it_was_put(vm: Host, tmp_path: Path) -> None:
    """One for each way in: the caller's environment, stdin, a copied file; and the keys we make ourselves."""
    canary = {way: f"canary-{way}-{secrets.token_hex(8)}" for way in ("environment", "stdin", "file")}
    (tmp_path / "secret").write_text(canary["file"])
    run = vm.run(
        "exec",
        "server",
        "--",
        "sh",
        "-c",
        "cat > /run/from-stdin; stat -c %s /run/from-stdin",
        stdin=canary["stdin"].encode(),
        ALICIA_LLM_API_KEY=canary["environment"],
    )
    assert run.expect(0).stdout == f"{len(canary['stdin'])}\n"
    vm.run("cp", str(tmp_path / "secret"), "server:/run/secret", ALICIA_LLM_API_KEY=canary["environment"]).expect(0)
    restart = vm.run("restart", "nginx", ALICIA_LLM_API_KEY=canary["environment"]).expect(0)
    failed = vm.run("exec", "server", "--", "cat", "/run/none", ALICIA_LLM_API_KEY=canary["environment"])

    folder = next((vm.root / "state/environments").iterdir())
    key = next(line for line in (folder / "id_ed25519").read_text().splitlines()[2:])
    known = {*canary.values(), key}
    # Each is where it belongs, so that looking for it proves something.
    assert vm.guest("server", "cat /run/from-stdin /run/secret") == canary["stdin"] + canary["file"]

    paths = [path for run in {vm.latest, vm.started_in()} for path in run.rglob("*") if path.is_file()]
    paths += [path for path in folder.rglob("*") if path.is_file() and path.suffix in (".json", ".config", "")]
    assert len(paths) > 15
    for path in paths:
        for content in contents(path):
            found = [secret for secret in known if secret.encode() in content and path.name != "id_ed25519"]
            assert not found, f"a secret is in {path}"
    for machine in ("server", "client"):
        screen = vm.screen(machine)
        assert "login:" in screen, "there is a text that could show one"
        assert not [secret for secret in known if secret in screen], screen
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = command.read_bytes().decode(errors="replace")
        except OSError:
            continue
        assert not [secret for secret in known if secret in line], line
    for done in (run, restart, failed):
        assert not [secret for secret in known if secret in done.stdout + done.stderr]
    # Nor did the guest get what is in the caller's environment.
    paths = "/proc/[0-9]*/environ /etc/* /root/.*"
    guest = vm.guest("server", f"grep -l -a -s -D skip -d skip {canary['environment']} {paths} || echo none")
    assert guest == "none\n"
    for path in (folder / "id_ed25519", folder / "state.json"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_what_a_guest_prints_is_shown_as_text(vm: Host) -> None:
    """To its console, its journal, and in the answer of a failing check."""
    text = HOSTILE.decode()
    say = f"printf '{text}\\n'"
    vm.guest("server", f"{say} > /dev/ttyS0; {say} | systemd-cat -t hostile; journalctl --sync")
    end, found = time.monotonic() + 60, list[str]()
    while not found and time.monotonic() < end:  # the journal is on its way
        shown = vm.run("logs", "--lines", "100", "server").expect(0).stdout
        found = [line for line in shown.splitlines() if "hostile" in line and "script" in line]
    line = found[0]
    assert "<script>alert(1)</script>" in line
    assert not [character for character in line if ord(character) < 32 or ord(character) in (127, 0x202E)]
    for events in {folder / "events.jsonl" for folder in (vm.latest, vm.started_in())}:
        for raw in events.read_text().splitlines():
            json.loads(raw)
        assert b"\x1b" not in events.read_bytes()


def test_noise_on_the_console_stops_nothing(vm: Host) -> None:
    console = vm.started_in() / "machines/server/serial.log"
    before = console.stat().st_size
    vm.guest("server", "timeout 3 sh -c 'yes 0123456789abcdef0123456789abcdef > /dev/ttyS0'; true")
    vm.run("up").expect(0, "READY", within=60)
    assert console.stat().st_size > before + 10_000
    vm.run("status", "--checks").expect(0)


def test_qemu_runs_as_nobody_where_root_starts_it(vm: Host) -> None:
    """And as who started it elsewhere; never with a capability, always behind its filter."""
    machines = [data["pid"] for data in vm.status()["machines"].values()]
    owners = set()
    for pid in machines:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        owners |= set(status["Uid"].split())
        assert (status["Seccomp"], status["NoNewPrivs"]) == ("2", "1")
        if os.geteuid() == 0:
            assert not status["CapEff"].strip("0")
            assert status["Uid"].split()[0] == status["Gid"].split()[0] == status["Groups"].strip()
    if os.geteuid() == 0:
        assert len(owners) == len(machines), "each its own"
        assert str(os.geteuid()) not in owners
    else:
        assert owners == {str(os.geteuid())}
