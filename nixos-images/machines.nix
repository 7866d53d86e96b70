# Every machine, evaluated: the server in each variant, the client plain and with a desktop.
#
#   evaluate   a list of modules → a NixOS configuration
#   modules    more modules for the server, e.g. one that sets alicia.e2e.package
{
  evaluate,
  modules ? [ ],
}:
let
  serverWith = variant: evaluate ([ ./server.nix variant ] ++ modules);
in
rec {
  server-mock = serverWith ./variants/mock.nix;
  server-minimal = serverWith ./variants/minimal.nix;
  server-full = serverWith ./variants/full.nix;
  server = server-mock;
  client = evaluate [ ./client.nix ];
  client-desktop = evaluate [
    ./client.nix
    { alicia.e2e.desktop.enable = true; }
  ];
}
