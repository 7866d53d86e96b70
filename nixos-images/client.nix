# The client machine: Chromium, Node.js, Playwright, and the command that runs a suite.
# A configuration of its own: `nixos-rebuild build-vm -I nixos-config=…/client.nix` takes it as it is.
{
  imports = [
    ./modules/machine.nix
    ./modules/guest.nix
    ./modules/browser.nix
    ./modules/desktop.nix
  ];

  networking.hostName = "client";
  alicia.e2e.memory = 2048;
}
