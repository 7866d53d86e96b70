"""Machines that die under a wait: the wait ends at once with the cause. Nothing runs after this file."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import time
from pathlib import Path

from host import Host, collected

NO_SERVER = "cp /etc/hosts /etc/hosts.kept && sed -i '/ server$/d' /etc/hosts"


def test_a_kernel_panic_ends_the_wait_with_its_text(vm: Host) -> None:
    vm.guest("client", NO_SERVER)
    waiting = vm.start("restart", "client")
    with collected(waiting):
        waiting.until_says("service client: checking", 30)
        dying = vm.start("exec", "client", "--", "sh", "-c", "echo c > /proc/sysrq-trigger")
        with collected(dying):
            waiting.until(lambda: "machine client: panicked" in waiting.stderr, 30, "panic")
            at = time.monotonic()
            done = waiting.wait(30)
        assert time.monotonic() - at < 10
    done.expect(
        3,
        "error: machine client is lost: ",
        "Kernel panic - not syncing: sysrq triggered crash",
        r"serial\.log",
        "next: +orchestrator ",
        "!is not up within",
        "!Traceback",
    )
    status = vm.run("status").expect(3).stdout
    assert "machine client" in status and "panicked" in status


def test_a_restart_of_the_machine_mends_a_panic(vm: Host) -> None:
    vm.run("restart", "machine:client", limit=400).expect(0, "READY")
    vm.run("status").expect(0)


def test_a_killed_qemu_ends_the_wait_and_is_named(vm: Host) -> None:
    vm.guest("client", NO_SERVER)
    waiting = vm.start("restart", "client")
    with collected(waiting):
        waiting.until_says("service client: checking", 30)
        os.kill(vm.status()["machines"]["client"]["pid"], signal.SIGKILL)
        at = time.monotonic()
        done = waiting.wait(30)
    assert time.monotonic() - at < 10
    done.expect(3, "error: QEMU of machine client (is gone|was ended by SIGKILL)", "next: ", "!is not up within")
    status = vm.run("status").expect(3).stdout
    assert "machine client         gone" in status


def test_a_panic_that_qemu_does_not_hear_of_is_told_by_the_console(vm: Host) -> None:
    """As in a guest whose kernel has no driver for it (NixOS): QEMU says that the machine runs."""
    console = Path(vm.status()["run_folder"]) / "machines/server/serial.log"
    vm.guest("server", "modprobe -r pvpanic_pci; (sleep 1; echo c > /proc/sysrq-trigger) > /dev/null 2>&1 &")
    limit = time.monotonic() + 60
    while b"end Kernel panic" not in console.read_bytes():
        assert time.monotonic() < limit, console.read_text(errors="replace")[-2000:]
        time.sleep(0.1)
    status = vm.run("status").expect(3).stdout
    assert re.search(r"machine server +panicked", status), status
    assert re.search(r"service backend +unknown +on server +the guest's kernel panicked", status), status
    vm.run("exec", "server", "--", "true").expect(
        3,
        "error: machine server is lost: the guest's kernel panicked",
        "sysrq triggered crash",
        "next: +orchestrator restart machine:server",
        "!Traceback",
        within=20,
    )


def test_down_of_half_an_environment_leaves_nothing(vm: Host) -> None:
    folder = Path(vm.status()["run_folder"])  # a second environment may have made a later one
    ports = [port for machine in vm.status()["machines"].values() for port in machine["ports"].values()]
    assert len(ports) == 3
    vm.run("down").expect(0, "environment vm-tests is down", within=10)
    vm.assert_nothing_left()
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED, port
    for machine in ("server", "client"):
        assert (folder / "machines" / machine / "serial.log").stat().st_size > 1000
        assert (folder / "machines" / machine / "journal.jsonl").stat().st_size > 1000
