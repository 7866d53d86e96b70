# The flake's other outputs, evaluated without the machinery of flakes: its inputs are what is at hand.
{ nixpkgs }:
let
  call =
    path: inputs:
    let
      self = (import (path + "/flake.nix")).outputs (inputs // { inherit self; }) // {
        outPath = toString path;
        lastModifiedDate = "19700101000000";
      };
    in
    self;
  none = {
    outPath = toString ../.;
  };
  flake = call ../. {
    nixpkgs = call nixpkgs { };
    alicia = none;
    app = none;
  };
  system = "x86_64-linux";
  plain = builtins.unsafeDiscardStringContext;
  drv = package: builtins.baseNameOf (plain package.drvPath);
in
{
  machines = builtins.attrNames flake.nixosConfigurations;
  server = plain flake.nixosConfigurations.server.config.system.build.vm.drvPath;
  packages = builtins.mapAttrs (_: drv) {
    inherit (flake.packages.${system})
      orchestrator
      default
      app
      standin
      run-e2e-tests
      ;
  };
  apps = builtins.mapAttrs (_: app: plain app.program) flake.apps.${system};
  checks = builtins.attrNames flake.checks.${system};
  devShell = drv flake.devShells.${system}.default;
}
