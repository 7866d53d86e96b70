# PostgreSQL 17 with pgvector; settings, access rules, role, database and extensions from stack/stack.toml.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  inherit (import ../lib/stack.nix { inherit lib; }) stack;
  inherit (stack) database;
in
{
  services.postgresql = {
    enable = true;
    package = pkgs."postgresql_${toString database.version}";
    extensions = packages: [ packages.pgvector ];
    enableTCPIP = false; # loopback only
    initdbArgs = [
      "--encoding=UTF8"
      "--locale=C.UTF-8"
      "--auth-local=trust"
      "--auth-host=scram-sha-256"
    ];
    # Forced: the module appends peer rules, and the first rule that matches decides.
    authentication = lib.mkForce (lib.concatMapStrings (line: "${line}\n") database.hba);
    settings = database.settings;
  };

  systemd.services = {
    # systemd's default; the module's ten minutes are for a unit that restarts itself.
    postgresql.unitConfig.StartLimitIntervalSec = lib.mkForce 10;

    # The module's script knows neither a password file nor a second run.
    postgresql-setup.script = lib.mkForce "";
    alicia-migrate.path = [ config.services.postgresql.finalPackage ];
  };

  # Part of the boot, and it brings the setup along.
  systemd.targets.postgresql.enable = false;
}
