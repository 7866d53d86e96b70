"""`shell` and `console` on a real terminal."""

from __future__ import annotations

from host import Host
from terminal import Terminal


def shell(vm: Host, *words: str) -> Terminal:
    return Terminal(vm.argv("shell", *words, "server"), vm.environment())


def test_the_shell_is_a_terminal(vm: Host) -> None:
    with shell(vm) as terminal:
        terminal.expect(r"root@server:~# ")
        assert terminal.raw
        terminal.keys("tty; stty size\r")
        terminal.expect(r"/dev/pts/\d+\r\n24 80\r\n")
        terminal.resize(132, 43)
        terminal.expect(r"# ")
        terminal.keys("stty size\r")
        terminal.expect(r"43 132\r\n")
        terminal.keys("exit 23\r")
        assert terminal.end() == 23
        assert not terminal.raw


def test_ctrl_c_reaches_the_guest_and_not_us(vm: Host) -> None:
    with shell(vm) as terminal:
        terminal.expect(r"# ")
        terminal.keys("sleep 7654323 || echo interrupted=$?\r")
        terminal.expect(r"interrupted=\$\?\r\n")
        assert vm.guest("server", "until pgrep -x sleep; do sleep 0.2; done")
        terminal.keys("\x03")
        terminal.expect(r"\^C")
        terminal.expect(r"# ")
        assert terminal.process.poll() is None
        terminal.keys("echo still $((40 + 2))\r")
        terminal.expect(r"still 42\r\n")
        terminal.keys("\x04")
        assert terminal.end() in (0, 130)
    assert vm.guest("server", "pgrep -f 'sleep 765432[3]' || echo gone") == "gone\n"


def test_the_shell_of_another_user(vm: Host) -> None:
    with Terminal(vm.argv("shell", "--user", "test", "client"), vm.environment()) as terminal:
        terminal.expect(r"test@client:\S*\$ ")
        terminal.keys("id -un; exit\r")
        terminal.expect(r"[\r\n]test\r\n")
        assert terminal.end() == 0


def test_the_console_works_without_network_and_ctrl_bracket_leaves(vm: Host) -> None:
    with Terminal(vm.argv("console", "client"), vm.environment()) as terminal:
        terminal.expect(r"Ctrl-\] leaves")
        terminal.keys("\r")
        terminal.expect(r"root@client:~# ")
        terminal.keys("echo console $((40 + 2))\r")
        terminal.expect(r"console 42")
        terminal.keys("\x1d")
        assert terminal.end() == 0
        assert not terminal.raw
    vm.run("exec", "client", "--", "true").expect(0)
