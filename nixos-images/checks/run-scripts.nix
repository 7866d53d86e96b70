# Run scripts as other people's machines have them, for the tests of the provider: nixpkgs' defaults (with shared folders),
# and the same with memory that helper processes can map.
{ lib, evaluate }:
let
  base =
    { modulesPath, ... }:
    {
      imports = [ "${toString modulesPath}/virtualisation/qemu-vm.nix" ];
      networking.hostName = "sample";
      system.stateVersion = "25.11";
    };
  script =
    modules:
    let
      context = builtins.getContext (evaluate ([ base ] ++ modules)).config.system.build.vm.buildCommand;
    in
    builtins.readFile (lib.findFirst (lib.hasSuffix "-run-nixos-vm.drv") (throw "no run script") (lib.attrNames context));
in
{
  run-script-shares = script [ ];
  run-script-shared-memory = script [ { virtualisation.qemu.enableSharedMemory = true; } ];
}
