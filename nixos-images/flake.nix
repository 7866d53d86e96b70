{
  description = "Server and client machines for the end-to-end tests of Alicia, as NixOS virtual machines";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

    # The application under test. Each of these stands for "nothing chosen" until it is given an address, here or on
    # the command line; the stand-in is used then.
    #   --override-input alicia github:longregen/alicia/REVISION   a flake with packages.<system>.alicia
    #   --override-input app path:/a/folder                        a folder with bin/alicia and share/alicia
    alicia.follows = "";
    app = {
      follows = "";
      flake = false;
    };
  };

  outputs =
    {
      self,
      nixpkgs,
      alicia,
      app,
    }:
    let
      system = "x86_64-linux";
      pkgs = nixpkgs.legacyPackages.${system};
      inherit (nixpkgs) lib;

      chosen = input: input.outPath != self.outPath;
      package =
        if chosen app then
          pkgs.callPackage ./packages/app-folder.nix { folder = app; }
        else if chosen alicia then
          alicia.packages.${system}.alicia or alicia.packages.${system}.default
        else
          pkgs.callPackage ./packages/standin.nix { };

      machines = import ./machines.nix {
        evaluate = modules: lib.nixosSystem { inherit system modules; };
        modules = [ { alicia.e2e.package = package; } ];
      };
      vms = lib.mapAttrs' (name: machine: lib.nameValuePair "${name}-vm" machine.config.system.build.vm) machines;
      orchestrator = pkgs.callPackage ./packages/orchestrator.nix { };
    in
    {
      nixosConfigurations = machines;

      nixosModules = {
        server = ./server.nix;
        client = ./client.nix;
      };

      packages.${system} = vms // {
        inherit orchestrator;
        default = orchestrator;
        app = package;
        standin = pkgs.callPackage ./packages/standin.nix { };
        run-e2e-tests = pkgs.callPackage ./packages/run-e2e-tests.nix { };
      };

      apps.${system} = rec {
        orchestrator = {
          type = "app";
          program = lib.getExe self.packages.${system}.orchestrator;
          meta.description = "Boot the machines, enforce the order of services, run the browser suite";
        };
        default = orchestrator;
      };

      devShells.${system}.default = pkgs.mkShell {
        packages = [
          (pkgs.python3.withPackages (
            packages: with packages; [
              httpx
              paramiko
              qemu-qmp
              rich
              subprocess-tee
              hypothesis
              mypy
              pytest
              types-paramiko
            ]
          ))
          pkgs.ruff
          pkgs.shellcheck
          pkgs.qemu_kvm
          pkgs.vde2
          pkgs.nodejs
          pkgs.nginx
          (pkgs.postgresql_17.withPackages (extensions: [ extensions.pgvector ]))
        ];
      };

      # Building a machine runs nixpkgs' own checks of nginx.conf, postgresql.conf, sshd_config and the firewall's rules.
      checks.${system} = vms // {
        inherit orchestrator;
      };
    };
}
