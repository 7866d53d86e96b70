"""Commands on running machines: exec, cp, logs, plain ssh, the lock."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

from host import Host, collected


def test_exec_gives_the_guests_exit_code_and_streams_apart(vm: Host) -> None:
    done = vm.run("exec", "server", "--", "sh", "-c", "echo out; echo err >&2; exit 7")
    done.expect(7)
    assert done.stdout == "out\n"
    assert done.stderr == "err\n"


def test_exec_keeps_every_word_as_it_is(vm: Host) -> None:
    words = ["two  words", "$HOME", "*", "it's", 'a"b', "", "-n", "--", "ünïcode\n"]
    done = vm.run("exec", "client", "--", "printf", "[%s]", *words).expect(0)
    assert done.stdout == "".join(f"[{word}]" for word in words)


def test_exec_takes_and_gives_any_bytes(vm: Host) -> None:
    data = os.urandom(1 << 20)
    done = vm.run("exec", "server", "--", "cat", stdin=data).expect(0)
    assert done.raw == data
    digest = vm.run("exec", "server", "--", "sha256sum", stdin=data).expect(0).stdout
    assert digest.split()[0] == hashlib.sha256(data).hexdigest()


def test_exec_as_another_user(vm: Host) -> None:
    assert vm.run("exec", "--user", "alicia", "server", "--", "id", "-un").expect(0).stdout == "alicia\n"


def test_exec_past_its_time_is_ended_in_the_guest(vm: Host) -> None:
    done = vm.run("exec", "--timeout", "2s", "server", "--", "sh", "-c", "echo begun; sleep 7654321 & wait")
    done.expect(124, r"ended after 2 s", within=30)
    assert done.stdout == "begun\n"
    assert vm.guest("server", "pgrep -f 'sleep 765432[1]' || echo gone") == "gone\n"


def test_exec_interrupted_is_ended_in_the_guest(vm: Host) -> None:
    running = vm.start("exec", "server", "--", "sh", "-c", "echo begun; exec sleep 7654322")
    with collected(running):
        running.until_says("begun", 20)
        running.send(signal.SIGINT)
        assert running.wait(15).code == 130
    assert vm.guest("server", "pgrep -f 'sleep 765432[2]' || echo gone") == "gone\n"


def test_unknown_names_are_told_with_the_known_ones(vm: Host) -> None:
    for words in (["exec", "servr", "--", "true"], ["shell", "servr"], ["console", "servr"]):
        vm.run(*words).expect(2, "servr", "server", "client", within=20)
    vm.run("restart", "nginks").expect(2, "nginks", "nginx", "machine:server", within=20)
    vm.run("cp", "servr:/etc/hosts", "x").expect(2, "servr", "server")
    vm.run("logs", "servr").expect(2, "servr", "server")


def test_a_command_that_is_not_there(vm: Host) -> None:
    vm.run("exec", "server", "--", "no-such-program").expect(127)


def test_files_go_in_and_come_back(vm: Host, tmp_path: Path) -> None:
    tree = tmp_path / "a tree"
    (tree / "sub").mkdir(parents=True)
    (tree / "data.bin").write_bytes(os.urandom(100_000))
    (tree / "sub/run me").write_text("#!/bin/sh\necho ran\n")
    (tree / "sub/run me").chmod(0o755)
    vm.run("cp", str(tree), "client:/root/").expect(0)
    assert vm.guest("client", "'/root/a tree/sub/run me'; stat -c %U '/root/a tree/data.bin'") == "ran\nroot\n"
    vm.run("cp", "client:/root/a tree", str(tmp_path / "back")).expect(0)
    assert (tmp_path / "back/data.bin").read_bytes() == (tree / "data.bin").read_bytes()
    assert os.access(tmp_path / "back/sub/run me", os.X_OK)
    vm.run("cp", str(tree / "data.bin"), "server:/root/one.bin").expect(0)
    vm.run("cp", "server:/root/one.bin", str(tmp_path)).expect(0)
    assert (tmp_path / "one.bin").read_bytes() == (tree / "data.bin").read_bytes()
    vm.run("cp", "server:/no/such", str(tmp_path)).expect(3, "/no/such")
    vm.run("cp", "here", "there").expect(2, "one side must be in a machine")


def test_a_tree_goes_from_machine_to_machine_and_home_as_it_is(vm: Host, tmp_path: Path) -> None:
    vm.guest(
        "server",
        "rm -rf /root/tree && mkdir -p /root/tree/empty && cd /root/tree && head -c 3000000 /dev/urandom > data && "
        "install -m 600 /dev/null private && ln -s data relative && ln -s no/such dangling && ln data hard && "
        "truncate -s 64M sparse && mkfifo pipe && touch -d @1234567890 private",
    )
    vm.run("cp", "server:/root/tree", "client:/root/from-server").expect(23, "left out: pipe: a named pipe")
    look = "cd {} && find . ! -type p -printf '%P %M %T@ %l %n\\n' | sort; du -s sparse; sha256sum data hard"
    there = vm.guest("client", look.format("/root/from-server"))
    assert there == vm.guest("server", look.format("/root/tree"))
    vm.run("cp", "client:/root/from-server", str(tmp_path)).expect(0)
    home = tmp_path / "from-server"
    digest = hashlib.sha256((home / "data").read_bytes()).hexdigest()
    assert f"{digest}  data" in there
    assert (home / "private").stat().st_mode & 0o777 == 0o600
    assert (home / "private").stat().st_mtime == 1234567890
    assert str((home / "relative").readlink()) == "data"
    assert str((home / "dangling").readlink()) == "no/such"
    assert (home / "hard").samefile(home / "data")
    assert (home / "sparse").stat().st_size == 64 << 20
    assert (home / "sparse").stat().st_blocks == 0


def test_a_copy_that_is_interrupted_leaves_nothing(vm: Host, tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, 1 << 30)
    vm.guest("server", "rm -rf /root/cut && mkdir /root/cut")
    vm.guest("server", "fallocate -l 256M /dev/shm/large")
    into, out = (str(tmp_path / "large"), "server:/root/cut/"), ("server:/dev/shm/large", str(tmp_path / "cut"))
    for source, target in (into, out):
        running = vm.start("cp", source, target)
        with collected(running):
            begun = "for n in $(seq 200); do pgrep -x tar && exit; sleep 0.05; done; exit 1"
            vm.guest("server", begun)
            running.send(signal.SIGINT)
            assert running.wait(20).code == 130
    assert vm.guest("server", "pgrep -x tar || echo none; ls -A /root/cut; rm -f /dev/shm/large") == "none\n"
    assert [path.name for path in tmp_path.iterdir()] == ["large"]
    (tmp_path / "large").unlink()


def test_logs_of_one_unit_and_of_all(vm: Host) -> None:
    nginx = vm.run("logs", "--unit", "nginx", "server").expect(0).stdout
    assert "Started nginx" in nginx
    assert "Postgre" not in nginx
    merged = vm.run("logs", "--lines", "4000").expect(0).stdout
    assert re.search(r"^\S+ server +\| ", merged, re.MULTILINE)
    assert re.search(r"^\S+ client +\| ", merged, re.MULTILINE)
    entries = vm.run("logs", "--json", "--unit", "postgresql.service").expect(0).stdout.splitlines()
    assert any('"database system is ready to accept connections' in e or "ready to accept" in e for e in entries)


def test_logs_follow_both_machines_live(vm: Host) -> None:
    following = vm.start("logs", "-f", "--lines", "0")
    with collected(following):
        for machine in ("client", "server"):
            word = f"live-{machine}-{time.time_ns()}"
            # Following takes a moment to begin; a line from before that would rightly not be shown.
            vm.guest(machine, f"for n in 1 2 3 4 5 6 7 8; do logger -t test {word}; sleep 0.25; done")
            following.until_says(rf"{machine} +\| test: {word}", 10)
        following.send(signal.SIGINT)
        assert following.wait(10).code in (0, 130)
    assert "Traceback" not in following.stderr


def plain(*words: str) -> tuple[int, str, str]:
    """A command of the host: exit code, stdout, stderr."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_plain_ssh_and_scp_with_the_pinned_key(vm: Host, tmp_path: Path) -> None:
    config = vm.run("ssh-config").expect(0).stdout
    assert "StrictHostKeyChecking yes" in config
    path = vm.run("ssh-config", "--path").expect(0).stdout.strip()
    code, out, err = plain("ssh", "-F", path, "server", "hostname")
    assert (code, out) == (0, "server\n"), err
    code, out, err = plain("scp", "-q", "-F", path, "client:/etc/hosts", str(tmp_path / "hosts"))
    assert code == 0, err
    assert "192.168.1.2 server" in (tmp_path / "hosts").read_text()


def test_another_host_key_than_the_pinned_one_is_refused(vm: Host, tmp_path: Path) -> None:
    path = Path(vm.run("ssh-config", "--path").expect(0).stdout.strip())
    known = path.with_name("known_hosts").read_text().splitlines()
    ports = {line.split()[0]: line.split(None, 1)[1] for line in known}
    first, second = ports
    (tmp_path / "known_hosts").write_text(f"{first} {ports[second]}\n{second} {ports[first]}\n")
    config = tmp_path / "config"
    config.write_text(path.read_text().replace(str(path.with_name("known_hosts")), str(tmp_path / "known_hosts")))
    code, _, err = plain("ssh", "-F", str(config), "server", "true")
    assert code == 255
    assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in err


def test_a_machine_that_shows_another_key_is_not_spoken_to(vm: Host) -> None:
    state = next((vm.root / "state").glob("environments/*/state.json"))
    kept = state.read_text()
    data = json.loads(kept)
    data["machines"]["client"]["host_key"] = data["machines"]["server"]["host_key"]
    state.write_text(json.dumps(data))
    try:
        vm.run("exec", "client", "--", "true").expect(3, "another host key than the one pinned", "next: ", within=30)
    finally:
        state.write_text(kept)
    vm.run("exec", "client", "--", "true").expect(0)


def test_a_held_environment_names_its_holder(vm: Host) -> None:
    vm.guest("client", "cp /etc/hosts /etc/hosts.kept && sed -i '/ server$/d' /etc/hosts")
    holder = vm.start("restart", "client")
    with collected(holder):
        holder.until_says("service client: checking", 20)
        held = rf"pid {holder.process.pid}, `orchestrator restart client`, since 20"
        for words in (["up"], ["restart", "nginx"], ["run"], ["down"]):
            done = vm.run(*words)
            done.expect(5, "error: environment vm-tests is held by another command", rf"why: +{held}", within=20)
        assert re.search(f"held by {held}", vm.run("status").stdout)
        assert vm.run("exec", "client", "--", "echo", "visits go on").expect(0).stdout == "visits go on\n"
        vm.guest("client", "mv /etc/hosts.kept /etc/hosts")
        holder.wait(60).expect(0, "READY")
    assert vm.status()["state"] == "ready"
