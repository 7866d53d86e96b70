# Two machines, started together: names, addresses, a service of the one used by the other.
start_all()

for machine in machines:
    machine.wait_for_unit("network.target")
    machine.wait_for_unit("multi-user.target")

with subtest("all names and networks are known"):
    t.assertEqual([machine.name for machine in machines], ["keeper", "reader-one"])
    for one, other in ((keeper, reader_one), (reader_one, keeper)):
        one.wait_until_succeeds(f"ping -c 1 -W 2 {other.name}")
    keeper.succeed("ping -c 1 -W 5 192.168.1.2", "ping -c 1 -W 5 192.168.2.2")
    addresses = reader_one.succeed("ip -4 -br addr show eth1").split()
    assert "192.168.1.2/24" in addresses, addresses

with subtest("one serves the other"):
    keeper.succeed("mkdir -p site && echo 'read me' > site/page")
    keeper.succeed("python3 -m http.server -d site 80 >&2 &")
    keeper.wait_for_open_port(80)
    reader_one.wait_for_open_port(80, "keeper")
    assert "read me" in reader_one.succeed("curl -sf http://keeper/page")
    reader_one.fail("curl -sf http://keeper/no-such-page")

# The cable of the first network is pulled; the second one goes on.
with subtest("a cable is pulled"):
    reader_one.block()
    keeper.wait_until_fails("ping -c 1 -W 2 192.168.1.2")
    keeper.succeed("ping -c 1 -W 5 192.168.2.2")

with subtest("and is back"):
    reader_one.unblock()
    keeper.wait_until_succeeds("ping -c 1 -W 2 192.168.1.2")
