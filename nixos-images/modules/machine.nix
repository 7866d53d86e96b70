# The virtual machine itself: `system.build.vm` with the run script that the orchestrator starts.
#
# No share of the host is mounted. The store is one read-only image, built once by Nix and used by every start of every
# machine; the root file system is a disk of the machine's own. So nothing forbids a snapshot of the memory, nothing is
# copied at a start, and no helper process runs beside QEMU.
{
  config,
  lib,
  pkgs,
  modulesPath,
  ...
}:
let
  cfg = config.alicia.e2e;
  storeSerial = "nix-store";
in
{
  imports = [ "${toString modulesPath}/virtualisation/qemu-vm.nix" ];

  options.alicia.e2e = {
    memory = lib.mkOption {
      type = lib.types.ints.positive;
      default = 1024;
      description = "Memory in MiB that the run script asks for; the orchestrator's `-m` comes later and wins.";
    };
    storeCompression = lib.mkOption {
      type = lib.types.nullOr lib.types.str;
      default = "lz4 -Xhc";
      example = "zstd -Xcompression-level 6";
      description = "Compressor of the store image, as mksquashfs takes it: the default is cheap to read without KVM.";
    };
    storeImage = lib.mkOption {
      type = lib.types.package;
      internal = true;
      readOnly = true;
      description = "The read-only image of the machine's store paths.";
    };
  };

  config = {
    alicia.e2e.storeImage = pkgs.callPackage "${toString modulesPath}/../lib/make-squashfs.nix" {
      fileName = "nix-store";
      storeContents = [ config.system.build.toplevel ];
      comp = cfg.storeCompression;
    };

    virtualisation = {
      memorySize = cfg.memory;
      cores = 2;
      diskSize = 4096; # sparse; the server's database, the client's artifacts
      mountHostNixStore = false;
      writableStore = false;
      sharedDirectories = lib.mkForce { };
      graphics = true; # keeps a display for screenshots; the orchestrator opens no window
      qemu.consoles = [
        "tty0"
        "ttyS0,115200n8" # the last is /dev/console
      ];
      qemu.drives = lib.mkAfter [
        {
          name = "store";
          file = "${cfg.storeImage}";
          driveExtraOpts = {
            format = "raw";
            readonly = "on";
          };
          deviceExtraOpts.serial = storeSerial;
        }
      ];
      fileSystems."/".options = [ "noatime" ];
      fileSystems."/nix/store" = {
        device = "/dev/disk/by-id/virtio-${storeSerial}";
        fsType = "squashfs";
        options = [ "ro" ];
        neededForBoot = true;
      };
    };

    security.lsm = lib.mkForce [ "landlock" ]; # without bpf, for which systemd would compile a program at each boot
    boot = {
      consoleLogLevel = 7; # the kernel's own default: the host watches the console for what it says
      loader.grub.enable = false; # the run script boots the kernel directly
      # No pvpanic: nixpkgs' kernel is built without it, and a panic is told by the console (decision 0048).
      # panic=0: a panicked guest stays, so that its screen can be read.
      kernelParams = [
        "panic=0"
        "mitigations=off"
        "nowatchdog"
        "no_timer_check"
        "cryptomgr.notests"
        "audit=0"
        "random.trust_cpu=on"
        "fsck.mode=skip" # a disk of a machine lives as long as its environment
        "systemd.show_status=1"
      ];
    };
  };
}
