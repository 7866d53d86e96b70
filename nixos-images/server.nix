# The server machine: PostgreSQL with pgvector, the backend, nginx with the frontend.
# A configuration of its own: `nixos-rebuild build-vm -I nixos-config=…/server.nix` takes it as it is.
{
  imports = [
    ./modules/machine.nix
    ./modules/guest.nix
    ./modules/stack.nix
    ./modules/postgresql.nix
    ./modules/nginx.nix
  ];

  networking.hostName = "server";
  alicia.e2e.memory = 1024;
}
