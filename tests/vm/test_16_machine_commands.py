"""Commands on one machine: screen, keys, forward, link, power, view, and the prompt."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
import urllib.request
from pathlib import Path

from host import Host, collected
from terminal import Terminal


def until_screen(vm: Host, machine: str, pattern: str, limit: float = 20) -> None:
    """Wait until the machine's first text console shows something."""
    end = time.monotonic() + limit
    while not re.search(pattern, shown := vm.screen(machine)):
        assert time.monotonic() < end, f"/{pattern}/ is not on the screen:\n{shown}"
        time.sleep(0.2)


def test_a_picture_of_the_display(vm: Host, tmp_path: Path) -> None:
    png = vm.run("screen", "client").expect(0).raw
    assert png.startswith(b"\x89PNG")
    told = vm.run("screen", "client", "-o", str(tmp_path / "client.png"), "--json").expect(0).json
    assert (tmp_path / "client.png").read_bytes().startswith(b"\x89PNG")
    assert int.from_bytes(png[16:20], "big") == told["width"] >= 640
    assert int.from_bytes(png[20:24], "big") == told["height"] >= 400


def test_keys_are_what_a_person_types(vm: Host) -> None:
    vm.run("keys", "client", "ctrl-alt-f1").expect(0)
    vm.run("keys", "client", "ret").expect(0)
    until_screen(vm, "client", r"client login: ")
    vm.run("keys", "client", "--text", "Nobody-4_2", "ret").expect(0)
    until_screen(vm, "client", r"login: Nobody-4_2\s+Password:")
    vm.run("keys", "client", "ret").expect(0)
    vm.run("keys", "client", "nosuchkey").expect(2, "'nosuchkey' is not a key", within=5)


def test_a_port_leads_into_the_machine_while_it_is_forwarded(vm: Host) -> None:
    port = int(vm.run("forward", "server", "8888").expect(0).stdout)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=60) as answer:
        assert json.load(answer)["status"] == "ok"
    found = vm.run("forward", "server", "--list", "--json").expect(0).json
    assert {"machine": "server", "guest_port": 8888, "host_port": port, "kind": "added"} in found
    taken = str(port)
    vm.run("forward", "server", "80", "--host-port", taken).expect(2, f"port {taken} of this host cannot be forwarded")
    vm.run("forward", "server", "8888", "--remove").expect(0)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_a_cable_is_pulled_and_put_back(vm: Host) -> None:
    vm.run("link", "down", "client").expect(0)
    vm.guest("client", "ping -c 1 -W 2 server", code=1)
    vm.run("link", "up", "client", "lan").expect(0)
    # The guest may still be about to report an address that did not answer before.
    vm.guest("client", "timeout 60 sh -c 'until ping -c 1 -W 5 server; do :; done'")
    vm.run("link", "down", "client", "wan").expect(2, "not in network 'wan'", "it is in lan", within=5)


def test_a_paused_machine_says_so_and_continues(vm: Host) -> None:
    vm.run("power", "pause", "client").expect(0)
    assert vm.status()["machines"]["client"]["state"] == "paused"
    vm.run("power", "off", "client").expect(3, "its state is paused", within=5)
    vm.run("power", "resume", "client").expect(0)
    vm.guest("client", "true")
    assert vm.status()["state"] == "ready"


def test_the_display_is_open_to_viewers_of_this_user(vm: Host) -> None:
    path = Path(vm.run("view", "client", "--json").expect(0).json["socket"])
    assert path.stat().st_mode & 0o077 == 0
    with socket.socket(socket.AF_UNIX) as viewer:
        viewer.connect(str(path))
        assert viewer.recv(12) == b"RFB 003.008\n"
    viewing = vm.start("view", "client", "--tcp")
    with collected(viewing):
        viewing.until_says(r"^vncviewer 127\.0\.0\.1::\d+$", 20)
        port = int(viewing.stdout.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as viewer:
            assert viewer.recv(12) == b"RFB 003.008\n"
        viewing.send(signal.SIGINT)
        assert viewing.wait(10).code == 130


def test_a_machine_is_switched_off_and_on_with_its_disk(vm: Host) -> None:
    vm.guest("client", "echo kept > /root/note && sync")
    ports = vm.status()["machines"]["client"]["ports"]
    vm.run("power", "off", "client").expect(0, "client is off")
    status = vm.run("status").expect(3).stdout
    assert "machine client         off" in status
    assert "client was shut down; `orchestrator -n vm-tests power on client` starts it again" in status
    vm.run("exec", "client", "--", "true").expect(3, "error: machine client is off", "power on client", within=5)
    vm.run("power", "off", "client").expect(0, "client is off already", within=5)
    vm.run("power", "on", "client", limit=400).expect(0, "service client: healthy", "READY")
    assert vm.status()["state"] == "ready"
    assert vm.status()["machines"]["client"]["ports"] == ports
    assert vm.guest("client", "cat /root/note; rm /root/note") == "kept\n"


def test_up_starts_what_was_cut_off(vm: Host) -> None:
    vm.guest("client", "echo kept > /root/note && sync")
    vm.run("power", "crash", "client").expect(0)
    assert vm.status()["machines"]["client"]["state"] == "off"
    vm.run("up", limit=400).expect(0, "client: off; started again with the same disk", "READY")
    assert vm.guest("client", "cat /root/note; rm /root/note") == "kept\n"
    assert vm.status()["state"] == "ready"


def test_visits_need_no_lock_and_the_prompt_has_it(vm: Host, tmp_path: Path) -> None:
    with Terminal(vm.argv("repl", "--plain", "--progress", "plain"), vm.environment()) as terminal:
        terminal.expect(r">>> ", 60)
        vm.run("screen", "server").expect(0)
        vm.run("power", "on", "server").expect(0, "server is on already")
        vm.run("restart", "nginx").expect(5, "is held by another command", "orchestrator repl")
        terminal.keys("server.succeed('echo $((40 + 2))')\r")
        terminal.expect(r"'42\\n'\r\n>>> ")
        terminal.keys("print('now') or client.wait_for_file('/no/such')\r")
        terminal.expect(r"\nnow\r\n")
        terminal.keys("\x03")
        terminal.expect(r"interrupted[^>]*>>> ")
        terminal.keys("server.shell_interact()\r")
        terminal.expect(r"root@server:~# ")
        terminal.keys("exit 3\r")
        terminal.expect(r"\r\n3\r\n>>> ")
        terminal.keys(f"save_test({str(tmp_path / 'test_a.py')!r})\r")
        terminal.expect(r"run it with[^>]*>>> ")  # what is typed before a prompt may be lost
        terminal.keys("\x04")
        terminal.expect(r"environment vm-tests stays up")
        assert terminal.end() == 0
    written = (tmp_path / "test_a.py").read_text()
    assert written.endswith("def test_typed(server):\n    server.succeed('echo $((40 + 2))')\n")
    assert vm.status()["state"] == "ready"


def test_statements_through_a_pipe(vm: Host) -> None:
    loop = "for name in env:\n    print(name, env[name].succeed('hostname').strip())\n"
    script = f"{loop}server.fail('true')\nprint('never')\n"
    done = vm.run("repl", stdin=script.encode(), limit=120).expect(1, r"`true` succeeded in server, and must fail")
    assert done.stdout == "server server\nclient client\n"
