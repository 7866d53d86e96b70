# Without flakes: nix-build nixos-images -A server.config.system.build.vm
#
#   nixpkgs   where NixOS is taken from: a path, <nixpkgs> by default
#   app       a folder with an application package in place of the stand-in
{
  nixpkgs ? <nixpkgs>,
  system ? builtins.currentSystem,
  app ? null,
}:
let
  pkgs = import nixpkgs { inherit system; };
  evaluate = modules: import (nixpkgs + "/nixos/lib/eval-config.nix") { inherit system modules; };
  machines = import ./machines.nix {
    inherit evaluate;
    modules = pkgs.lib.optional (app != null) {
      alicia.e2e.package = pkgs.callPackage ./packages/app-folder.nix { folder = app; };
    };
  };
in
machines
// {
  server-vm = machines.server.config.system.build.vm;
  client-vm = machines.client.config.system.build.vm;
  orchestrator = pkgs.callPackage ./packages/orchestrator.nix { };
  standin = pkgs.callPackage ./packages/standin.nix { };
  run-e2e-tests = pkgs.callPackage ./packages/run-e2e-tests.nix { };
  # What scripts/check-nix asserts, see checks/facts.nix.
  flake = import ./checks/flake.nix { inherit nixpkgs; };
  runScripts = import ./checks/run-scripts.nix {
    inherit (pkgs) lib;
    inherit evaluate;
  };
  kernelConfig = import ./checks/kernel.nix machines.server.config;
  facts = pkgs.lib.mapAttrs (_: import ./checks/facts.nix { inherit (pkgs) lib; }) machines;
}
