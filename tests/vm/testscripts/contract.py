# What scripts take for granted of the shell, one subtest each.
import json
import os.path
import time
from datetime import timedelta

with subtest("the first call starts the machine"):
    assert not keeper.booted
    t.assertEqual(keeper.succeed("echo started"), "started\n")
    assert keeper.booted and keeper.is_up()
    assert not reader_one.booted

with subtest("stdout comes as it is"):
    t.assertEqual(keeper.succeed("printf '  two blanks, no newline'"), "  two blanks, no newline")
    t.assertEqual(keeper.succeed("echo one", "echo two"), "one\ntwo\n")
    assert int(keeper.succeed("echo 41")) + 1 == 42
    t.assertEqual(json.loads(keeper.succeed("echo '{\"a\": [1]}'")), {"a": [1]})
    t.assertEqual(keeper.succeed("printf '\\xff\\xfe'"), "\ufffd\ufffd")

with subtest("bash -e, -u and pipefail"):
    keeper.fail("false; true")
    keeper.fail("echo $no_such_variable")
    keeper.fail("false | cat")
    t.assertEqual(keeper.succeed("false || echo caught"), "caught\n")

with subtest("it is bash"):
    t.assertEqual(keeper.succeed("cat <<< here"), "here\n")
    t.assertEqual(keeper.succeed("[[ abc == a* ]] && echo matched"), "matched\n")
    t.assertEqual(keeper.succeed("echo /{a,b}"), "/a /b\n")
    t.assertEqual(keeper.succeed('echo inside > f; echo "$(<f)"'), "inside\n")

with subtest("folder and variables"):
    t.assertEqual(keeper.succeed("pwd"), "/tmp\n")
    t.assertEqual(keeper.succeed('echo $USER $HOME $DISPLAY "[$PAGER]"; id -un'), "root /root :0.0 []\nroot\n")

with subtest("each command has a shell of its own, files stay"):
    keeper.succeed("echo kept > relative; variable=1; cd /")
    t.assertEqual(keeper.succeed("cat relative; echo ${variable:-none}; pwd"), "kept\nnone\n/tmp\n")
    keeper.wait_for_file("relative")
    keeper.wait_for_file("rela*")

with subtest("stderr goes to the console"):
    t.assertEqual(keeper.succeed("echo words-for-the-log >&2"), "")
    keeper.wait_for_console_text("words-for-the-log")
    assert "words-for-the-log" in keeper.get_console_log()

with subtest("a process is left running with >&2 &"):
    began = time.monotonic()
    keeper.succeed("(sleep 300; echo never) >&2 &")
    assert time.monotonic() - began < 200
    keeper.succeed("pgrep -x sleep")
    keeper.succeed("pkill -x sleep")

with subtest("a command ends when all have closed its stdout"):
    t.assertEqual(keeper.succeed("(sleep 2; echo late) &"), "late\n")

with subtest("limits"):
    t.assertEqual(keeper.execute("sleep 300", timeout=0.3)[0], 124)
    keeper.fail("sleep 300", timeout=timedelta(seconds=0.3))
    status, output = keeper.execute("echo said; exit 7", timeout=60)
    t.assertEqual((status, output), (7, "said\n"))

with subtest("execute without its outcome"):
    t.assertEqual(keeper.execute("echo out; false", check_return=False), (-1, "out\n"))
    t.assertEqual(keeper.execute("touch /tmp/ran", check_output=False), (-2, ""))
    keeper.wait_for_file("/tmp/ran")

with subtest("units"):
    keeper.wait_for_unit("multi-user.target")
    keeper.wait_for_unit("sshd")
    keeper.wait_for_unit("ssh.service", timeout=timedelta(minutes=5))
    keeper.require_unit_state("ssh")
    t.assertEqual(keeper.get_unit_info("ssh")["ActiveState"], "active")
    t.assertEqual(keeper.get_unit_property("ssh", "SubState"), "running")
    t.assertEqual(keeper.systemctl("is-active ssh"), (0, "active\n"))
    for unit, sign in (("systemd-tmpfiles-clean", "inactive"), ("no-such-thing", "not-found")):
        try:
            keeper.wait_for_unit(unit)
        except RequestedAssertionFailed as error:
            assert sign in str(error), str(error)
        else:
            raise AssertionError(f"{unit} is no active unit")
    keeper.succeed(
        "systemd-run --unit=bad --property=Type=exec --property=RemainAfterExit=yes bash -c 'exit 3' || true"
    )
    keeper.wait_until_fails("systemctl is-active bad")
    with t.assertRaises(RequestedAssertionFailed):
        keeper.wait_for_unit("bad")
    status, _ = keeper.stop_job("nginx")
    t.assertEqual(status, 0)

with subtest("ports and sockets"):
    keeper.succeed("systemd-run --unit=web python3 -m http.server -d /run 8017")
    keeper.wait_for_open_port("8017")
    keeper.wait_for_open_port(8017, "127.0.0.1")
    keeper.succeed("systemctl stop web")
    keeper.wait_for_closed_port(8017)
    keeper.wait_for_open_unix_socket("/run/systemd/private")

with subtest("again and again"):
    keeper.succeed("(sleep 1; echo ready > slow) >&2 &")
    t.assertEqual(keeper.wait_until_succeeds("cat slow"), "ready\n")
    asked = []
    retry(lambda last: asked.append(last) or len(asked) > 2, timeout_seconds=30)
    t.assertEqual(asked, [False, False, False])

with subtest("files both ways"):
    with open("made-here", "w") as file:
        file.write("from the host")
    keeper.copy_from_host("made-here", "/var/tmp/deep/er/copy")
    t.assertEqual(keeper.succeed("cat /var/tmp/deep/er/copy"), "from the host")
    keeper.copy_from_machine("/var/tmp/deep", "back")
    assert os.path.exists(os.path.join(driver.out_dir, "back/deep/er/copy"))
    keeper.copy_from_vm("/etc/debian_version")
    t.assertEqual((keeper.out_dir / "debian_version").read_text(), keeper.succeed("cat /etc/debian_version"))


@polling_condition(seconds_interval=0.1)
def file_is_there():
    "the file is there"
    keeper.succeed("test -e /tmp/relative")


with file_is_there:
    keeper.succeed("true")
    keeper.succeed("sleep 1")
