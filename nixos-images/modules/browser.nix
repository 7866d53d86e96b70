# The client's part: Playwright with its browsers, the suite's command, the user it runs as, the folder for artifacts.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.alicia.e2e.browser;
in
{
  options.alicia.e2e.browser = {
    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ../packages/run-e2e-tests.nix { headed = config.alicia.e2e.desktop.enable; };
      defaultText = lib.literalMD "Playwright of nixpkgs with its own Chromium";
      description = "The program {command}`run-e2e-tests`, with runner and browsers.";
    };
    user = lib.mkOption {
      type = lib.types.str;
      default = "test";
      description = "Who runs the browser tests; an ordinary user without a password.";
    };
    artifacts = lib.mkOption {
      type = lib.types.path;
      default = "/artifacts";
      description = "The folder reports, traces and screenshots are written to.";
    };
  };

  config = {
    users.users.${cfg.user} = {
      isNormalUser = true;
      group = cfg.user;
      description = "Browser tests";
      hashedPassword = "*";
    };
    users.groups.${cfg.user} = { };

    systemd.tmpfiles.settings."10-browser" = {
      ${cfg.artifacts}.d = {
        mode = "0755";
        user = cfg.user;
        group = cfg.user;
      };
      # Suites are copied to /opt/e2e/suites: Node.js looks for @playwright/test in the folders above them.
      "/opt/e2e".d.mode = "0755";
      "/opt/e2e/node_modules"."L+".argument = "${cfg.package.home}/node_modules";
      "/opt/e2e/event-reporter.cjs"."L+".argument = "${cfg.package.home}/event-reporter.cjs";
      "/opt/e2e/prepared-runner.cjs"."L+".argument = "${cfg.package.home}/prepared-runner.cjs";
    };
    security.pam.loginLimits = [
      {
        domain = cfg.user;
        type = "-";
        item = "nofile";
        value = "65536";
      }
    ];

    environment.systemPackages = [
      cfg.package
      pkgs.nodejs
    ];
    fonts = {
      fontconfig.enable = true;
      enableDefaultPackages = false;
      packages = [
        pkgs.liberation_ttf
        pkgs.dejavu_fonts
        pkgs.noto-fonts-color-emoji
      ];
    };
    networking.firewall.enable = false;
  };
}
