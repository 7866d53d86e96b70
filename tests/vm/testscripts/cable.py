# The cable of the first network is pulled; the second one goes on.
start_all()
keeper.wait_until_succeeds("ping -c 1 -W 2 192.168.1.2")
keeper.wait_until_succeeds("ping -c 1 -W 2 192.168.2.2")

with subtest("pulled"):
    reader_one.block()
    keeper.wait_until_fails("ping -c 1 -W 2 192.168.1.2")
    keeper.succeed("ping -c 1 -W 5 192.168.2.2")

with subtest("back"):
    reader_one.unblock()
    keeper.wait_until_succeeds("ping -c 1 -W 2 192.168.1.2")
