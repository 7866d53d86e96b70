# A person at the machine: a login on a virtual terminal, what the display shows, the serial console.
keeper.wait_for_unit("multi-user.target")
keeper.wait_for_unit("getty@tty1.service")
keeper.succeed("useradd -m -s /bin/bash alice && echo alice:foobar | chpasswd")

with subtest("log in on tty1"):
    keeper.wait_until_tty_matches("1", "login: ")
    keeper.send_chars("alice\n")
    keeper.wait_until_tty_matches("1", "login: alice")
    keeper.wait_until_succeeds("pgrep login")
    keeper.wait_until_tty_matches("1", "Password: ")
    keeper.send_chars("foobar\n")
    keeper.wait_until_succeeds("pgrep -u alice bash")
    keeper.send_chars("touch done; echo 'It works: 100%'\n")
    keeper.wait_for_file("/home/alice/done")
    keeper.wait_until_tty_matches("1", "\nIt works: 100%")
    assert "alice@keeper" in keeper.get_tty_text("1")

with subtest("keys"):
    keeper.send_key("c")
    keeper.send_key("l")
    for key in ("e", "a", "r", "spc", "kp_enter"):
        keeper.send_key(key)
    keeper.send_chars("clear; echo LARGE WORDS ON SCREEN\n")
    keeper.wait_until_tty_matches("1", "\n?LARGE WORDS ON SCREEN")

with subtest("the display"):
    keeper.screenshot("terminal")
    assert (keeper.out_dir / "terminal.png").read_bytes().startswith(b"\x89PNG")
    keeper.wait_for_text("LARGE WORDS")
    assert "SCREEN" in keeper.get_screen_text()

with subtest("log out"):
    keeper.send_key("ctrl-d")
    keeper.wait_until_fails("pgrep -u alice bash")

with subtest("serial console"):
    keeper.wait_for_unit("serial-getty@ttyS0.service")
    keeper.wait_for_console_text(r"root@keeper:.*# ")
    keeper.send_console("echo $((6 * 7))-from-the-console\n")
    keeper.wait_for_console_text("42-from-the-console")

with subtest("QEMU's monitor"):
    assert "VM status: running" in keeper.send_monitor_command("info status")
