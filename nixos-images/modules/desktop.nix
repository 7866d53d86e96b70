# An X session for headed runs: the display that screenshots show is then the browser itself.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.alicia.e2e;
in
{
  options.alicia.e2e.desktop.enable = lib.mkEnableOption "an X session of the test user at 1920×1080, for headed runs";

  config = lib.mkIf cfg.desktop.enable {
    virtualisation.resolution = {
      x = 1920;
      y = 1080;
    };
    virtualisation.qemu.options = [ "-vga virtio" ];
    services.xserver = {
      enable = true;
      excludePackages = [ pkgs.xterm ];
      displayManager.lightdm.enable = true;
      # A test that looks at the screen must not find it dark.
      displayManager.sessionCommands = "${pkgs.xset}/bin/xset s off -dpms";
      windowManager.openbox.enable = true;
    };
    services.displayManager = {
      defaultSession = "none+openbox";
      autoLogin = {
        enable = true;
        inherit (cfg.browser) user;
      };
    };
    # A shell over SSH or the agent has the display, too.
    environment.variables.DISPLAY = ":0";
  };
}
