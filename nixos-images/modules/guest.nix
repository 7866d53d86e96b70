# What both machines have in common: the way the host reaches them, network, console, journal, and what is left out.
# Host name, /etc/hosts, the addresses on the shared network and root's SSH key come from the orchestrator at run time.
{
  config,
  lib,
  pkgs,
  ...
}:
{
  options.alicia.e2e.userNetworkMac = lib.mkOption {
    type = lib.types.strMatching "([0-9a-f]{2}:){5}[0-9a-f]{2}";
    default = "52:54:00:12:34:56";
    description = ''
      The card of QEMU's user network: QEMU's own default for the first card. It is the one interface that the image
      addresses; every other is left to the orchestrator, which finds it by its MAC.
    '';
  };

  config = {
    system.stateVersion = "25.11";

    # ------------------------------------------------------------ the ways in
    # The agent's port raises an event on the host as soon as the guest opens it; the host key and root's key go through it.
    services.qemuGuest.enable = true;
    systemd.services.qemu-guest-agent.path = [
      config.system.path # guest-exec finds every program a person would
      pkgs.util-linux
    ];

    services.openssh = {
      enable = true;
      openFirewall = false; # the host's side only, below
      authorizedKeysInHomedir = true;
      sftpServerExecutable = "internal-sftp";
      hostKeys = [
        {
          path = "/etc/ssh/ssh_host_ed25519_key";
          type = "ed25519";
        }
      ];
      settings = {
        PermitRootLogin = "prohibit-password";
        PasswordAuthentication = false;
        KbdInteractiveAuthentication = false;
        UsePAM = false; # each session would start a login session
        UseDns = false;
        X11Forwarding = false;
        PrintMotd = false;
        PrintLastLog = false;
        MaxSessions = 100;
        MaxStartups = "100";
        LoginGraceTime = 300;
      };
      extraConfig = ''
        AcceptEnv LANG LC_*
        SetEnv LANG=C.UTF-8
      '';
    };
    # `*` and not `!`: sshd without PAM refuses keys for an account it takes for locked.
    users.mutableUsers = false;
    users.allowNoPasswordLogin = true;
    users.users.root.hashedPassword = "*";

    # The console is a socket of mode 0600 on the host.
    services.getty.autologinUser = "root";

    # ------------------------------------------------------------ network
    networking = {
      useDHCP = false;
      useNetworkd = true;
      nftables.enable = true;
      firewall.extraInputRules = "ip saddr 10.0.2.2 tcp dport 22 accept";
      firewall.logRefusedConnections = false;
      firewall.checkReversePath = false; # a machine with two networks may answer over either
      resolvconf.enable = false;
    };
    services.resolved.enable = false;
    environment.etc."resolv.conf".text = ''
      nameserver 10.0.2.3
      options timeout:2 attempts:2
    '';
    systemd.network = {
      wait-online.enable = false;
      # Static, because the user network always has these addresses: nothing to wait for.
      networks."10-user" = {
        matchConfig.MACAddress = config.alicia.e2e.userNetworkMac;
        address = [ "10.0.2.15/24" ];
        gateway = [ "10.0.2.2" ];
        linkConfig.RequiredForOnline = false;
        networkConfig = {
          LinkLocalAddressing = false;
          IPv6AcceptRA = false;
          ConfigureWithoutCarrier = true;
        };
      };
    };

    # ------------------------------------------------------------ system
    # Volatile: the orchestrator reads the journal as it is written.
    services.journald = {
      storage = "volatile";
      rateLimitInterval = "0s";
      rateLimitBurst = 0;
      audit = false;
      extraConfig = ''
        RuntimeMaxUse=128M
        ForwardToSyslog=no
        ForwardToConsole=no
      '';
    };
    systemd.settings.Manager = {
      DefaultTimeoutStartSec = "300s";
      DefaultTimeoutStopSec = "60s";
      DefaultDeviceTimeoutSec = "300s";
      ShowStatus = true;
    };
    i18n.defaultLocale = "C.UTF-8";
    i18n.supportedLocales = [ "C.UTF-8/UTF-8" ];
    time.timeZone = "UTC";

    # ------------------------------------------------------------ small and quick
    documentation.enable = false;
    documentation.man.enable = false;
    nix.enable = false;
    system.switch.enable = false;
    environment.defaultPackages = [ ];
    environment.stub-ld.enable = false;
    programs.command-not-found.enable = false;
    programs.nano.enable = false;
    fonts.fontconfig.enable = lib.mkDefault false;
    services.logrotate.enable = false;
    services.timesyncd.enable = false; # the orchestrator sets the clock, also of a restored machine
    services.lvm.enable = false;
    services.udisks2.enable = false;
    security.sudo.enable = false;
    boot.enableContainers = false;
    boot.bcache.enable = false;
    boot.kexec.enable = false;
    boot.initrd.includeDefaultModules = false; # keyboards and disks that no virtual machine has
    xdg.autostart.enable = lib.mkDefault false;
    xdg.icons.enable = lib.mkDefault false;
    xdg.mime.enable = lib.mkDefault false;
    xdg.sounds.enable = lib.mkDefault false;
    systemd.oomd.enable = false;
    systemd.coredump.enable = false;
    environment.systemPackages = with pkgs; [
      curl
      jq
      htop
      iproute2
      iputils
      less
      netcat
    ];
  };
}
