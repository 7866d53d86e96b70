"""Saved states of real machines: started from in seconds, gone back to in place, and each its own environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import MEASURES, Shared, keep, opened
from host import HERE, Done, Host, collected

CLONE = "clone"
JSON = "-H 'Content-Type: application/json'"
CREATE = f'curl -sS -m 60 -X POST {JSON} -d \'{{"title": "T"}}\' http://127.0.0.1/api/v1/conversations'
COUNT = "runuser -u postgres -- psql -XtAd alicia -c 'select count(*) from alicia_conversations'"
# The initial sequence number of a connection of fixed addresses and ports, read from the loopback itself.
SEQUENCE = """python3 - <<'PYTHON'
import socket
tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
tap.bind(("lo", 0))
one = socket.socket()
one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
one.bind(("127.0.0.1", 45001))
one.connect(("127.0.0.1", 80))
while True:
    frame = tap.recv(2048)
    if frame[34:38] == (45001).to_bytes(2, "big") + (80).to_bytes(2, "big") and frame[47] & 2:
        print(frame[38:42].hex())
        break
PYTHON"""


@pytest.fixture(scope="module")
def second(shared: Shared, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Done]]:
    """Another environment, beside the shared one and from the state that its start saved."""
    with opened(tmp_path_factory.mktemp("clone"), HERE / "orchestrator.toml") as host:
        done = host.run("-n", CLONE, "up", "--warm", limit=200)
        if done.code != 0:
            keep(host, "clone-up")
            done.expect(0)
        yield host, done
        host.run("-n", CLONE, "down").expect(0)


@pytest.fixture
def clone(second: tuple[Host, Done]) -> Host:
    return second[0]


def healthy_folder(host: Host) -> Path:
    """The folder of the automatic snapshot of the shared environment's start."""
    found = [one for one in host.run("snapshot", "list", "--json").expect(0).json if one["automatic"]]
    (one,) = [one for one in found if (one["environment"], one["name"]) == ("vm-tests", "healthy")]
    return Path(one["path"])


def test_a_cold_start_saves_its_healthy_state(shared: Shared) -> None:
    shared.up.expect(0, "cold start: no healthy state was saved yet", r"saved the state healthy: \d+ MiB in memory")
    paused = float(re.findall(r"the machines were paused for ([\d.]+) s", shared.up.stderr)[0])
    MEASURES.append(f"machines were paused for {paused:.2f} s while the healthy state was saved")
    assert paused <= 1.5, "0.2 s on a quiet host"
    folder = healthy_folder(shared.host)
    assert folder.stat().st_mode & 0o777 == 0o700
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"manifest.json", "ram", "state", "disk.qcow2"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
    assert not [path for path in shared.host.runs.rglob("*") if path.name in ("ram", "state")]


def test_a_warm_start_proves_every_check(shared: Shared, second: tuple[Host, Done]) -> None:
    host, done = second
    done.expect(0, r"start from the saved healthy state \(\d+ MiB in memory, vm-tests@healthy", "READY")
    MEASURES.append(f"warm start beside another environment {done.seconds:.1f} s, cold start {shared.up.seconds:.1f} s")
    status = host.status(CLONE)
    assert status["state"] == "ready"
    answers = {(e["subject"], e["check"]) for e in host.events("check.result") if e["ok"]}
    topology = json.loads(host.run("config", "--json").expect(0).stdout)
    wanted = {(s["name"], c["name"]) for s in topology["services"].values() for c in s["checks"]}
    assert answers == wanted
    assert [event["restored"] for event in host.events("run.ready")] == [True]


def test_the_clock_is_the_hosts(clone: Host) -> None:
    offsets = []
    for machine in ("server", "client"):
        best = 9.0
        for _ in range(3):
            before = time.time()
            guest = float(clone.guest(machine, "date +%s.%N", name=CLONE))
            after = time.time()
            # The guest looked at some moment between; what lies outside is wrong for sure.
            best = min(best, max(before - guest, guest - after, 0.0))
        offsets.append(best)
    assert max(offsets) <= 0.05
    said = clone.guest("server", 'runuser -u postgres -- psql -XtAc "select extract(epoch from now())"', name=CLONE)
    assert abs(float(said) - time.time()) < 3, "PostgreSQL's now() too"


def test_two_of_one_state_share_no_secret_and_no_random_number(vm: Host, clone: Host) -> None:
    for machine in ("server", "client"):
        for script in (
            "cat /proc/sys/kernel/random/uuid",
            "head -c 16 /dev/urandom | od -An -tx1",
            "cat /etc/ssh/ssh_host_ed25519_key.pub",
            "cat /root/.ssh/authorized_keys",
        ):
            assert vm.guest(machine, script) != clone.guest(machine, script, name=CLONE), script
        assert "crng reseeded due to virtual machine fork" in clone.guest(machine, "dmesg", name=CLONE)
    assert vm.guest("server", SEQUENCE) != clone.guest("server", SEQUENCE, name=CLONE)
    drawn = "runuser -u postgres -- psql -XtAd alicia -c \"select encode(gen_random_bytes(16), 'hex')\""
    assert vm.guest("server", drawn) != clone.guest("server", drawn, name=CLONE)


def test_connections_live_on_or_open_anew(clone: Host) -> None:
    alive = clone.guest("server", "ss -Htn state established '( dport = :5432 )' | wc -l", name=CLONE)
    warnings = clone.guest("server", "journalctl -u alicia -p warning --no-pager -q | wc -l", name=CLONE)
    assert int(alive) >= 1 and int(warnings) == 0
    seen = clone.guest("client", "ip neigh show 192.168.1.2; curl -sS -m 60 http://server/health", name=CLONE)
    assert "lladdr" in seen and '"ok"' in seen


def test_evidence_begins_with_the_boot_and_goes_on(clone: Host) -> None:
    mark = f"mark-{time.time_ns()}"
    clone.guest("server", f"logger -t test {mark}", name=CLONE)
    logs = clone.started_in(CLONE) / "machines/server"
    end = time.monotonic() + 20
    while mark not in (text := (logs / "journal.jsonl").read_text()):
        assert time.monotonic() < end, "the journal does not go on"
        time.sleep(0.1)
    assert "Started postgresql.service" in text, "the boot before the snapshot is part of it"
    assert "Linux version" in (logs / "serial.log").read_text(errors="replace")


def test_reset_gives_back_the_healthy_state_in_place(clone: Host) -> None:
    before = clone.status(CLONE)["machines"]
    ids = clone.guest("server", COUNT, name=CLONE)
    made = clone.guest("server", f"{CREATE}; touch /root/dirt; systemctl stop nginx", name=CLONE)
    waiting = clone.start("-n", CLONE, "exec", "server", "--", "sleep", "600")
    with collected(waiting):
        waiting.until(lambda: clone.guest("server", "pgrep -x sleep || true", name=CLONE), 60, "sleep in the guest")
        done = clone.run("-n", CLONE, "reset", limit=200).expect(0, "READY", "!cold start")
        waiting.wait(60).expect(3, "put back to a saved state")
    MEASURES.append(f"reset {done.seconds:.1f} s")
    after = clone.status(CLONE)["machines"]
    assert {name: m["ports"] for name, m in after.items()} == {name: m["ports"] for name, m in before.items()}
    assert {m["pid"] for m in after.values()}.isdisjoint({m["pid"] for m in before.values()})
    assert clone.guest("server", "ls /root", name=CLONE) == ""
    assert int(clone.guest("server", COUNT, name=CLONE)) < int(ids) + 1
    # The first one again, by the database's own generator: its sessions of before would make the same id.
    assert json.loads(clone.guest("server", CREATE, name=CLONE))["id"] != json.loads(made)["id"]
    clone.run("-n", CLONE, "status", "--checks").expect(0)


def test_reset_brings_back_killed_machines(clone: Host) -> None:
    os.kill(clone.status(CLONE)["machines"]["server"]["pid"], signal.SIGKILL)
    clone.run("-n", CLONE, "status").expect(3)
    clone.run("-n", CLONE, "reset", limit=200).expect(0, "READY")
    clone.run("-n", CLONE, "status").expect(0)


def test_a_clone_rests_on_the_saved_memory(clone: Host) -> None:
    """What a clone costs is what it wrote."""
    for name, size in (("server", 1024), ("client", 2048)):
        pid = clone.status(CLONE)["machines"][name]["pid"]
        maps = re.split(r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{pid}/smaps").read_text(), flags=re.MULTILINE)
        ram = next(part for part in maps if f"/{name}/ram" in part.partition("\n")[0])
        new = int(re.findall(r"^Anonymous: +(\d+) kB", ram, re.MULTILINE)[0]) / 1024
        MEASURES.append(f"{name} of a clone: {new:.0f} of {size} MiB are its own memory")
        assert new < 0.35 * size


def taken(folder: Path) -> int:
    """Bytes of the saved memory in a snapshot's folder."""
    return sum(path.stat().st_blocks * 512 for path in folder.glob("*/ram"))


def test_a_clone_is_saved_while_it_runs_and_gone_back_to(shared: Shared, clone: Host) -> None:
    """Its memory is no file of its own: QEMU sends it."""
    base = healthy_folder(shared.host)
    before = taken(base)
    clone.guest("server", f"{CREATE}; touch /root/at-the-point", name=CLONE)
    count = clone.guest("server", COUNT, name=CLONE)
    done = clone.run("-n", CLONE, "snapshot", "save", "point", "--json", limit=200).expect(0, "paused for")
    saved = done.json
    MEASURES.append(
        f"a clone saved in {done.seconds:.1f} s, {saved['size'] >> 20} MiB, paused for {saved['paused']:.2f} s"
    )
    assert saved["paused"] <= 1.5, "0.1 s on a quiet host"
    assert saved["size"] < 1200 * (1 << 20), "what was touched, not the 3 GiB the machines have"
    assert taken(base) <= before + (64 << 20), "the state it rests on did not grow to the size of the machines"
    clone.guest("server", f"{CREATE}; rm /root/at-the-point; touch /root/after-it", name=CLONE)
    clone.run("-n", CLONE, "reset", "point", limit=200).expect(0, "READY")
    assert clone.guest("server", "ls /root", name=CLONE) == "at-the-point\n"
    assert clone.guest("server", COUNT, name=CLONE) == count
    # What rests on that point is saved, and gone back to, in its turn.
    clone.run("-n", CLONE, "snapshot", "save", "again", limit=200).expect(0)
    clone.run("-n", CLONE, "snapshot", "restore", "again", limit=200).expect(0, "READY")
    assert clone.guest("server", "ls /root", name=CLONE) == "at-the-point\n"
    for name in ("point", "again"):
        clone.run("-n", CLONE, "snapshot", "rm", name).expect(0)


def test_a_point_is_none_of_a_namesake_in_another_state_folder(shared: Shared, bare: Host) -> None:
    """The names of environments are unique in one state folder only."""
    shared.host.run("snapshot", "save", "mine", limit=120).expect(0)
    try:
        bare.run("snapshot", "rm", "mine").expect(2, "has no snapshot 'mine'")
        assert "(elsewhere)" in bare.run("snapshot", "list").expect(0).stdout
        heading, *rows = shared.host.run("snapshot", "list").expect(0).stdout.splitlines()
        assert heading.split() == ["ENVIRONMENT", "NAME", "SIZE", "IN", "SAVED", "MACHINES", "DIFFERENCE"]
        (row,) = [row for row in rows if " mine " in row]
        assert re.search(r"\d MiB  memory  now  +server, client( |$)", row)
    finally:
        shared.host.run("snapshot", "rm", "mine").expect(0)


def test_named_points(vm: Host) -> None:
    vm.guest("server", "touch /root/at-the-point")
    saved = vm.run("snapshot", "save", "point", "--json").expect(0, "paused").json
    assert saved["size"] < 1200 * (1 << 20), "what was touched, not the 3 GiB the machines have"
    vm.run("snapshot", "save", "point").expect(3, "exists already", "snapshot rm")
    vm.run("snapshot", "save", "no good").expect(2, "cannot be named")
    vm.run("snapshot", "restore", "nothing").expect(2, "has no snapshot 'nothing'", "point")
    vm.guest("server", "rm /root/at-the-point; touch /root/after-it")
    vm.run("snapshot", "restore", "point", limit=200).expect(0, "READY")
    assert vm.guest("server", "ls /root") == "at-the-point\n"
    vm.run("reset", limit=200).expect(0, "READY")
    assert vm.guest("server", "ls /root") == ""
    vm.run("snapshot", "rm", "point").expect(0)
    assert "point" not in vm.run("snapshot", "list").stdout


DHCP = """
printf '[Match]\\nMACAddress=52:54:00:12:34:56\\n[Network]\\nDHCP=ipv4\\n' > /run/systemd/network/05-dhcp.network
networkctl reload
networkctl reconfigure eth0
"""


def test_a_dhcp_lease_holds_and_can_be_renewed(vm: Host) -> None:
    """Our images need none, so the user network's card gets one here."""
    leased = "networkctl --no-pager status eth0 | grep -q '10.0.2.15 (DHCPv4 via 10.0.2.2)'"
    count = "journalctl --no-pager -u systemd-networkd | grep -c 'acquired from 10.0.2.2'"
    vm.guest("server", f"mkdir -p /run/systemd/network; {DHCP}until {leased}; do sleep 0.5; done")
    vm.run("snapshot", "save", "leased", limit=120).expect(0)
    try:
        vm.run("reset", "leased", limit=200).expect(0, "READY")
        vm.guest("server", leased)
        before = int(vm.guest("server", count))
        again = "networkctl renew eth0; networkctl reconfigure eth0; sleep 1"
        vm.guest("server", f"{again}; until {leased}; do sleep 0.5; done")
        assert int(vm.guest("server", count)) > before, "QEMU's server gave it out again"
    finally:
        vm.run("reset", limit=200).expect(0, "READY")
        vm.run("snapshot", "rm", "leased").expect(0)


def test_machines_that_a_killed_saver_left_standing_go_on(clone: Host) -> None:
    for path in sorted(clone.runtime.glob("orch-*/*/*/qmp-side")):
        with socket.socket(socket.AF_UNIX) as monitor:
            monitor.settimeout(30)
            monitor.connect(str(path))
            monitor.sendall(b'{"execute":"qmp_capabilities"}\n{"execute":"stop"}\n')
            answer = b""
            while b'"STOP"' not in answer:
                answer += monitor.recv(4096)
    clone.run("-n", CLONE, "up", limit=200).expect(0, "paused", "READY")


def copy(folder: Path, target: Path) -> None:
    """With its holes, which shutil would fill."""
    subprocess.run(["cp", "-a", "--sparse=always", str(folder), str(target)], check=True)


def hurt(folder: Path, damage: str) -> None:
    """Change a bit of the server's saved memory, or cut half of it off."""
    with (folder / "server/ram").open("r+b") as file:
        if damage == "cut":
            file.truncate(512 << 20)
            return
        file.seek(16 << 20)
        byte = file.read(1)
        file.seek(16 << 20)
        file.write(bytes([byte[0] ^ 4]))


@pytest.mark.parametrize("damage", ["bit", "cut"])
def test_a_damaged_state_is_refused_and_a_cold_start_follows(shared: Shared, bare: Host, damage: str) -> None:
    folder = healthy_folder(shared.host)
    kept = folder.parent / f".kept-{folder.name}"
    copy(folder, kept)
    try:
        hurt(folder, damage)
        shared.host.run("reset").expect(3, "is damaged", "ram of machine server", within=20)
        shared.host.run("status").expect(0)  # it was refused before anything was touched
        bare.run("up", "--warm", "--down-on-failure", limit=200).expect(3, "is damaged", "ram of machine server")
        assert not folder.exists(), "a damaged one is not tried twice"
        copy(kept, folder)
        hurt(folder, damage)
        running = bare.start("up")
        with collected(running):
            running.until_says("the saved state cannot be used .*is damaged.*a cold start follows", 60)
            running.until_says("machine server: booting", 60)
            running.send(signal.SIGINT)
            running.wait(60).expect(130)
        assert not folder.exists()
        bare.assert_nothing_left()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        kept.rename(folder)
