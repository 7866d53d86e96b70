"""The driver on real machines: `orchestrator.sync`, and `orchestrator.api` on the same ones."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import MEASURES, opened
from host import HERE, ROOT, Host, edited_topology

from orchestrator import api
from orchestrator.deadline import Deadline, monotonic
from orchestrator.errors import UsageError
from orchestrator.sync import (
    CommandFailed,
    Environment,
    Forward,
    LockedError,
    Machine,
    MachineError,
    MachineOff,
    WaitFailed,
)

DISK_MARK = "/var/tmp/of-before"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    with opened(tmp_path_factory.mktemp("driver"), HERE / "orchestrator.toml") as host:
        kept = dict(os.environ)
        os.environ.clear()
        os.environ.update(host.environment())
        try:
            yield host
        finally:
            os.environ.clear()
            os.environ.update(kept)


@pytest.fixture(scope="module")
def env(host: Host) -> Iterator[Environment]:
    began = monotonic()
    with Environment.load(host.topology, runs=host.runs) as env:
        MEASURES.append(f"Environment.load to READY: {monotonic() - began:.1f} s")
        yield env
    host.assert_nothing_left()


@pytest.fixture
def server(env: Environment) -> Machine:
    return env.server


def test_machines_are_attributes_and_items(env: Environment) -> None:
    assert list(env) == ["server", "client"] == list(env.machines)
    assert env["server"] is env.server is env.machines["server"]
    with pytest.raises(AttributeError, match="its machines are server, client"):
        _ = env.servr
    with pytest.raises(Exception, match="no machine is named 'servr'"):
        _ = env["servr"]
    assert {name: service.state for name, service in env.services.items()}["migrations"] == "completed"
    assert env.server.address == "192.168.1.2" and env.server.state == "up"


def test_a_command_has_the_contract_of_testscripts(server: Machine) -> None:
    assert server.succeed("pwd; echo $USER $HOME $DISPLAY", "echo two") == "/tmp\nroot /root :0.0\ntwo\n"
    assert server.succeed(["printf", "%s", "a b"]) == "a b"
    assert server.execute("exit 7") == (7, "") and server.fail("false | true") == ""
    assert server.succeed("(sleep 100; echo late) >&2 & echo out") == "out\n"
    assert server.succeed("id -un", user="postgres") == "postgres\n"
    assert server.execute("sleep 100", timeout=0.1)[0] == 124
    assert server.execute("pgrep -x sleep -c")[1] == "1\n", "only what was left running on purpose"


def test_run_captures_both_outputs_and_takes_input(server: Machine) -> None:
    result = server.run("cat; echo err >&2; exit 3", stdin=b"\xff in", environment={"A": "b"})
    assert (result.rc, result.stdout, result.err) == (3, b"\xff in", "err\n") and result.seconds > 0
    assert server.run(["sh", "-c", "echo $A; pwd"], environment={"A": "b"}, cwd="/etc").out == "b\n/etc\n"
    pieces: list[bytes] = []
    server.run("for i in 1 2 3; do echo $i; done", on_stdout=pieces.append)
    assert b"".join(pieces) == b"1\n2\n3\n"
    with pytest.raises(CommandFailed, match="exit code 5"):
        server.run("exit 5", check=True)


def test_a_failed_command_says_everything(server: Machine) -> None:
    with pytest.raises(CommandFailed) as caught:
        server.succeed("echo some output; echo a complaint >&2; logger -t broken told the journal; exit 4")
    assert isinstance(caught.value, AssertionError)
    assert caught.value.result.rc == 4 and caught.value.result.out == "some output\n"
    text = str(caught.value)
    for part in ("exit code 4 after", "    some output", "    a complaint", "shell server"):
        assert part in text
    assert [entry.identifier for entry in caught.value.journal if entry.message == "told the journal"] == ["broken"]


def test_a_command_that_goes_on(server: Machine) -> None:
    process = server.spawn("echo begun; exec sleep 1000")
    server.wait_until_succeeds("pgrep -fx 'sleep 1000'")
    assert process.running and process.output == "begun\n"
    with pytest.raises(WaitFailed, match="still runs"):
        process.wait(0.1)
    assert process.kill().rc == 137
    server.wait_until_fails("pgrep -fx 'sleep 1000'")
    with server.spawn("echo quick") as quick:
        assert quick.wait().out == "quick\n"


def test_waits(server: Machine) -> None:
    server.wait_for_unit("nginx")
    server.wait_for_unit("multi-user.target")
    server.succeed("systemd-run --unit=slow --property=Type=oneshot --remain-after-exit --no-block sleep 2")
    server.wait_for_unit("slow.service")
    server.wait_for_file("/etc/host*")
    server.wait_for_open_unix_socket("/run/postgresql/.s.PGSQL.5432")
    assert '"status":"ok"' in server.wait_for_http("http://127.0.0.1/health").replace(" ", "")
    assert server.wait_for_sql("select 6 * 7", matches="^42$") == "42"
    server.succeed("echo the console says hello > /dev/console")
    assert server.wait_for_console_text("console says (hello|bye)") == "console says hello"
    for call, message in (
        (lambda: server.wait_for_unit("nonsense"), "nonsense is not-found"),
        (lambda: server.wait_for_open_port(9, timeout=0.1), "port 9 of localhost takes no connection"),
        (lambda: server.wait_for_file("/nowhere", timeout=0.1), "/nowhere does not exist"),
        (lambda: server.wait_until_succeeds("false", timeout=0.1), "`false` still fails"),
        (lambda: server.wait_for_sql("select 1", matches="2", timeout=0.1), "not answered as wanted"),
        (lambda: server.wait_for_console_text("never said", timeout=0.1), "shows no /never said/"),
        (lambda: server.require_unit_state("nginx", "inactive"), "nginx is active, and must be inactive"),
    ):
        with pytest.raises(WaitFailed, match=re.escape(message)):
            call()
    server.succeed("systemd-run --unit=bad --no-block sh -c 'echo why it failed; exit 1'")
    server.wait_until_fails("systemctl is-active bad")
    with pytest.raises(WaitFailed, match=r"unit bad (failed|is inactive)"):
        server.wait_for_unit("bad")


def test_a_port_that_opens_is_known_soon(server: Machine) -> None:
    """The guest's own time of the opening, compared with the moment when the wait is over here."""
    script = (
        "import socket, time; time.sleep(2); s = socket.create_server(('', 4711)); "
        "open('/tmp/opened', 'w').write(str(time.time())); time.sleep(60)"
    )
    with server.spawn(["python3", "-c", script]):
        server.wait_for_open_port(4711)
        known = float(server.succeed("date +%s.%N"))
        MEASURES.append(
            f"a port that opens is known after at most {known - float(server.path('/tmp/opened').read_text()):.2f} s"
        )
    server.wait_for_closed_port(4711)


def test_files(env: Environment, server: Machine, tmp_path: Path) -> None:
    place = server.path("/tmp/a folder")
    place.mkdir()
    (place / "one").write_text("äöü")
    (place / "two").write_bytes(b"\0\xff")
    assert place.names() == ["one", "two"] and place.is_dir() and not (place / "three").exists()
    assert (place / "one").read_text() == "äöü" and (place / "two").read_bytes() == b"\0\xff"
    copy = server.copy_from_machine("/tmp/a folder")
    assert (copy / "one").read_text() == "äöü" and copy.is_relative_to(env.artifacts)
    server.copy_to_machine("/tmp/a folder", env.client, "/tmp/theirs")
    assert env.client.path("/tmp/theirs/two").read_bytes() == b"\0\xff"
    (tmp_path / "mine").write_text("from here")
    server.copy_from_host(tmp_path / "mine", "/tmp/new/folders/mine")
    assert server.path("/tmp/new/folders/mine").read_text() == "from here"
    with pytest.raises(Exception, match="does not exist on this host"):
        server.copy_from_host(tmp_path / "nothing", "/tmp/x")


def _health(forward: Forward) -> str:
    return f"http://127.0.0.1:{forward.host_port}/health"


def test_networks(env: Environment, server: Machine) -> None:
    client = env.client
    client.block()
    client.fail("ping -c 1 -W 1 server")
    client.unblock()
    client.wait_until_succeeds("ping -c 1 -W 1 server")
    with server.forward_port(8888) as forward, urllib.request.urlopen(_health(forward), timeout=60) as answer:
        assert answer.status == 200
    with pytest.raises(OSError):
        urllib.request.urlopen(_health(forward), timeout=60)
    with pytest.raises(Exception, match="port 8888 of server is not forwarded"):
        server.port(8888)
    assert server.qmp("query-status")["status"] == "running" and "virtio" in server.monitor("info network")


def test_screen_and_keys(server: Machine) -> None:
    assert server.screenshot("display").read_bytes()[:4] == b"\x89PNG"
    server.send_chars("root\n")
    server.wait_until_tty_matches("1", r"Password|root@server")
    server.send_key("ctrl-alt-f2")
    server.wait_until_succeeds('[ "$(cat /sys/class/tty/tty0/active)" = tty2 ]')
    server.send_key("ctrl-alt-f1")
    with pytest.raises(Exception, match="no key of the US layout"):
        server.send_chars("ä")


def test_services(env: Environment, server: Machine) -> None:
    backend = env.services["backend"]
    backend.stop()
    assert backend.state == "stopped" and server.execute("systemctl is-active alicia")[1] == "inactive\n"
    with pytest.raises(WaitFailed, match="service backend is stopped"):
        backend.wait()
    backend.start()
    backend.wait()
    env.services["nginx"].restart()
    assert {service.state for service in env.services.values()} == {"healthy", "completed"}


def test_an_interrupted_wait_ends_and_so_does_its_command(server: Machine) -> None:
    def press() -> None:
        server.wait_until_succeeds("pgrep -fx 'sleep 2000'")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        server.succeed("sleep 2000")
    thread.join()
    server.wait_until_fails("pgrep -fx 'sleep 2000'")


def test_the_async_names_work_on_any_loop(env: Environment) -> None:
    awaited = api.Environment._of(env._core)

    async def both() -> list[str]:
        return list(await asyncio.gather(*(machine.succeed("hostname") for machine in awaited.machines.values())))

    assert asyncio.run(both()) == asyncio.run(both()) == ["server\n", "client\n"]


def test_two_drivers_of_one_environment_and_a_forked_process(env: Environment, host: Host, server: Machine) -> None:
    with pytest.raises(LockedError, match="held by another command"):
        Environment.attach(env.name, runs=host.runs).open()
    pid = os.fork()
    if pid == 0:
        try:
            server.succeed("true")
        except UsageError as error:
            os._exit(42 if "forked process" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42


def test_a_hundred_calls_leave_nothing(server: Machine) -> None:
    server.succeed("true")
    threads, descriptors = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(100):
        server.succeed("true")
    assert threading.active_count() <= threads + 1 and len(list(Path("/proc/self/fd").iterdir())) <= descriptors + 1


def test_a_snapshot_and_the_way_back(env: Environment, server: Machine) -> None:
    server.path(DISK_MARK).write_text("saved")
    env.snapshot("marked")
    server.path(DISK_MARK).unlink()
    env.restore("marked")
    assert server.path(DISK_MARK).read_text() == "saved"
    env.reset()
    assert not server.path(DISK_MARK).exists()
    assert env.services["nginx"].state == "healthy"


def tutorial() -> list[str]:
    """The blocks of docs/driver.md: the first is a program of its own, the others go on with a machine that is up."""
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "driver.md").read_text(), re.MULTILINE | re.DOTALL)


def test_the_tutorial(env: Environment) -> None:
    names: dict[str, object] = {"env": env, "server": env.server, "client": env.client}
    for block in tutorial()[1:]:
        exec(compile(block, "docs/driver.md", "exec"), names)


@pytest.mark.long  # a cold start, for four lines
def test_the_program_of_the_tutorial(host: Host, tmp_path: Path) -> None:
    topology = edited_topology(tmp_path, ('name = "vm-tests"', 'name = "tutorial"'))
    topology.rename(tmp_path / "orchestrator.toml")
    done = subprocess.run(
        [sys.executable, "-c", tutorial()[0]],
        cwd=tmp_path,
        env=host.environment(),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0 and re.search(r"^\d+\.\d+", done.stdout), done.stderr


def test_a_paused_machine_goes_on(server: Machine) -> None:
    server.pause()
    assert server.qmp("query-status")["status"] == "paused"
    server.resume()
    server.succeed("true")


def test_a_crash_and_a_start_with_the_same_disk(env: Environment, server: Machine) -> None:
    server.succeed(f"echo kept > {DISK_MARK}; sync")
    before = server.succeed("cat /proc/sys/kernel/random/boot_id")
    server.crash()
    assert server.state == "off" and not server.booted
    with pytest.raises(MachineOff, match="machine server is off"):
        server.succeed("true")
    server.start()
    assert server.path(DISK_MARK).read_text() == "kept\n"
    assert server.succeed("cat /proc/sys/kernel/random/boot_id") != before
    env.wait_ready()
    env.client.wait_for_http("http://server/health")


def test_a_guest_that_reboots_itself_is_set_up_again(env: Environment) -> None:
    client = env.client
    before = client.succeed("cat /proc/sys/kernel/random/boot_id")
    client.succeed("systemctl --no-block reboot")
    client.wait_until_fails(f"grep -q {before.strip()} /proc/sys/kernel/random/boot_id", timeout=180)
    client.wait_for_http("http://server/health")


def test_a_shutdown_and_one_from_inside(env: Environment) -> None:
    client = env.client
    client.succeed("systemctl --no-block poweroff")
    client.wait_for_shutdown()
    assert client.state == "off"
    client.start()
    client.wait_for_unit("multi-user.target", timeout=180)
    client.shutdown()
    assert client.state == "off"


def test_a_panic_ends_what_waits_and_reset_brings_it_back(env: Environment, server: Machine) -> None:
    limit = Deadline.after(300)
    with pytest.raises(MachineError, match="panicked"):
        server.succeed("sleep 1; echo c > /proc/sysrq-trigger; sleep 1000")
    assert not limit.expired and server.state == "lost"
    with pytest.raises(MachineError, match="panicked"):
        server.wait_for_unit("nginx")
    env.reset()
    assert server.state == "up"
    server.wait_for_unit("nginx")
