# Startup sequence
server.start()
server.wait_for_unit("postgresql.service")
server.wait_for_unit("alicia.service")
server.wait_for_unit("nginx.service")
server.wait_for_open_port(80)

# Verify health endpoint
server.succeed("curl -sf http://localhost/health | grep -q ok")

client.start()
client.wait_for_unit("multi-user.target")

# Client can reach server
client.succeed("curl -sf http://server/health | grep -q ok")

# Run Playwright tests (defined in client.nix)
client.succeed("run-e2e-tests")
