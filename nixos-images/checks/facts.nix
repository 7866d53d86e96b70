# What an evaluated machine is, as JSON-ready data: the texts systemd, nginx, PostgreSQL and QEMU would really get.
#
#   facts.nix { lib } (an evaluated configuration)
#
# Texts that only exist inside a derivation (the run script, nginx.conf, postgresql.conf) are given as the derivation's own
# text, which the evaluation has written to the store: nothing is built. So it must run with --read-write-mode.
{ lib }:
{ config, pkgs, ... }:
let
  plain = builtins.unsafeDiscardStringContext;

  # The text of the derivation NAME.drv that a string refers to.
  recipe =
    name: string:
    let
      found = lib.filter (path: lib.hasSuffix "-${name}.drv" path) (lib.attrNames (builtins.getContext string));
    in
    if found == [ ] then throw "no derivation ${name} is referred to by this text" else builtins.readFile (lib.head found);

  # The text of the derivation NAME.drv that another derivation's text names among its inputs.
  recipeOfInput =
    name: text:
    let
      found = builtins.match ".*\"(/nix/store/[^\"]*-${lib.escapeRegex name}\\.drv)\".*" text;
    in
    if found == null then throw "no input ${name}" else builtins.readFile (lib.head found);
  sshdConfig = recipe "sshd.conf-final" "${config.environment.etc."ssh/sshd_config".source}";

  etc = lib.mapAttrs (
    _: entry: {
      inherit (entry) mode user group;
      text = if entry.text == null then null else plain entry.text;
    }
  );
  chosen = names: lib.filterAttrs (name: _: lib.elem name names);

  stackUnits = [
    "postgresql.service"
    "postgresql-setup.service"
    "alicia-migrate.service"
    "mock-llm.service"
    "mock-livekit.service"
    "alicia.service"
    "nginx.service"
  ];
  relations = [
    "wants"
    "requires"
    "bindsTo"
    "upholds"
  ];
  all = config.systemd.services // config.systemd.targets // config.systemd.sockets // config.systemd.timers;
  pulls = unit: lib.concatMap (relation: unit.${relation} or [ ]) relations;
  # Who would start a unit of the stack, besides a person or the orchestrator.
  starters = unit: lib.attrNames (lib.filterAttrs (_: one: (one.enable or true) && lib.elem unit (pulls one)) all);
  installed = unit: unit.wantedBy ++ unit.requiredBy;

  units = lib.mapAttrs (_: unit: plain unit.text) (
    lib.filterAttrs (
      name: unit:
      unit.enable
      && lib.elem name (
        stackUnits
        ++ [
          "alicia-stack.target"
          "qemu-guest-agent.service"
          "sshd.service"
        ]
      )
    ) config.systemd.units
  );
  hasStack = config.systemd.services ? alicia;
in
{
  inherit units;
  warnings = config.warnings;
  failedAssertions = map (one: one.message) (lib.filter (one: !one.assertion) config.assertions);
  toplevel = plain config.system.build.toplevel.drvPath;
  nixpkgs = {
    inherit (lib.trivial) release;
    revision = lib.trivial.revisionWithDefault "unknown";
  };

  boot = {
    inherit (config.boot) kernelParams;
    inherit (config.virtualisation.qemu) consoles;
    initrdModules = config.boot.initrd.kernelModules;
    availableInitrdModules = config.boot.initrd.availableKernelModules;
    kernel = config.boot.kernelPackages.kernel.version;
    kernelConfig = builtins.hashString "sha256" (plain (import ./kernel.nix config));
    inherit (config.alicia.e2e) storeCompression;
    startedByBoot = lib.listToAttrs (
      map (unit: lib.nameValuePair unit (installed config.systemd.units.${unit} ++ starters unit)) (
        lib.filter (unit: units ? ${unit}) stackUnits
      )
    );
    enabledTargets = lib.attrNames (lib.filterAttrs (_: one: one.enable) (chosen [ "postgresql" ] config.systemd.targets));
  };
  fileSystems = lib.mapAttrs (_: one: {
    inherit (one) device fsType options neededForBoot;
  }) config.fileSystems;
  shares = lib.attrNames config.virtualisation.sharedDirectories;

  runScript = recipe "run-nixos-vm" config.system.build.vm.buildCommand;
  drives = map (drive: plain drive.file) config.virtualisation.qemu.drives;

  # The scripts that units run before their programs; what a unit calls X-pre-start is one of these.
  preStart = lib.mapAttrs (_: service: plain service.preStart) (
    lib.filterAttrs (name: service: units ? "${name}.service" && service.preStart != "") config.systemd.services
  );

  sshd = [
    (recipeOfInput "sshd.conf-settings" sshdConfig)
    sshdConfig
  ];
  network = plain config.systemd.network.units."10-user.network".text or "";
  firewall =
    if config.networking.firewall.enable then plain config.networking.nftables.tables.nixos-fw.content else null;
  journald = plain config.environment.etc."systemd/journald.conf".text;
  resolvConf = config.environment.etc."resolv.conf".text;
  systemd = config.systemd.settings.Manager.DefaultTimeoutStartSec or null;
  users = lib.mapAttrs (_: user: {
    inherit (user)
      home
      group
      description
      hashedPassword
      isSystemUser
      ;
  }) (chosen [ "root" "alicia" "mocks" "postgres" "nginx" "test" ] config.users.users);
  mutableUsers = config.users.mutableUsers;
  packages = lib.sort lib.lessThan (lib.unique (map lib.getName config.environment.systemPackages));
  off = {
    documentation = !config.documentation.enable;
    nix = !config.nix.enable;
    timesyncd = !config.services.timesyncd.enable;
  };
}
// lib.optionalAttrs hasStack {
  etc = etc (chosen [ "alicia/env" "alicia/mocks.env" "alicia/database-password" ] config.environment.etc);
  nginx = {
    text = recipe "nginx.conf" "${config.environment.etc."nginx/nginx.conf".source}";
    inherit (pkgs.nginx) version;
  };
  postgresql = {
    conf = recipe "postgresql.conf" config.systemd.services.postgresql.preStart;
    start = plain config.systemd.services.postgresql.preStart;
    hba = config.services.postgresql.authentication;
    inherit (config.services.postgresql.package) version;
  };
}
// lib.optionalAttrs (config.alicia.e2e ? browser) {
  browser = {
    inherit (config.alicia.e2e.browser.package) playwright;
    wrapper = plain config.alicia.e2e.browser.package.buildCommand;
    browsers = lib.attrNames config.alicia.e2e.browser.package.browsers.entries;
    chromium = pkgs.playwright-driver.browsersJSON.chromium.browserVersion;
    folders = lib.mapAttrs (
      _: lib.mapAttrs (_: rule: { inherit (rule) mode user group; argument = plain rule.argument; })
    ) config.systemd.tmpfiles.settings."10-browser";
    resolution = config.virtualisation.resolution;
    desktop = config.services.xserver.enable;
  };
}
