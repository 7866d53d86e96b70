# The disk stays what it is whatever happens to the power.
def boot_id():
    return keeper.succeed("cat /proc/sys/kernel/random/boot_id").strip()


keeper.start()
first = boot_id()

with subtest("crash, and start with the same disk"):
    keeper.succeed("echo precious > /var/lib/kept", "sync")
    keeper.crash()
    assert not keeper.booted
    keeper.start()
    t.assertEqual(keeper.succeed("cat /var/lib/kept"), "precious\n")
    second = boot_id()
    t.assertNotEqual(first, second)

with subtest("shutdown, and start"):
    keeper.succeed("echo more >> /var/lib/kept")
    keeper.shutdown()
    keeper.shutdown()
    t.assertFalse(keeper.booted)
    keeper.start(allow_reboot=True)
    keeper.wait_for_unit("multi-user.target")
    t.assertEqual(keeper.succeed("cat /var/lib/kept").split(), ["precious", "more"])

with subtest("reboot"):
    third = boot_id()
    keeper.reboot()
    keeper.wait_for_unit("multi-user.target")
    t.assertNotIn(boot_id(), (first, second, third))

with subtest("the guest shuts itself down"):
    keeper.execute("systemctl poweroff", check_return=False)
    keeper.wait_for_shutdown()
    t.assertFalse(keeper.is_up())
    keeper.succeed("test -e /var/lib/kept")
