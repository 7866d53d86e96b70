# The server's stack: options, users, secrets, and the units as stack/stack.toml describes them.
{
  config,
  lib,
  pkgs,
  ...
}:
let
  cfg = config.alicia.e2e;
  inherit (cfg) variant;
  data = import ../lib/stack.nix { inherit lib; };
  inherit (data) stack;

  absent = stack.stack.absent.${variant};
  present = lib.filter (unit: !lib.elem unit absent) stack.stack.units;
  secrets = stack.secrets.common // stack.secrets.${variant};
  mockSecrets = lib.filterAttrs (name: _: lib.elem name stack.secrets.mocks.variables) secrets;
  environment = stack.environment.common // stack.environment.${variant};

  sectionsOf =
    unit:
    stack.units.${unit}
    // lib.optionalAttrs (unit == "alicia.service") {
      Environment = environment;
    };
in
{
  options.alicia.e2e = {
    variant = lib.mkOption {
      type = lib.types.enum data.variants;
      default = "mock";
      description = ''
        Which outside services the stack speaks to: `mock` (all of them mocked in the machine, no network needed),
        `minimal` (a mocked language model, no speech, no voice), `full` (the real ones, whose keys are put into
        {file}`/run/alicia-secrets/alicia.env` at run time).
      '';
    };

    package = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ../packages/standin.nix { };
      defaultText = lib.literalMD "the stand-in";
      description = ''
        The application: {file}`bin/alicia`, {file}`share/alicia/frontend`, {file}`share/alicia/migrations`.
      '';
    };

    mocks = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ../packages/mocks.nix { };
      defaultText = lib.literalMD "the mocks beside the stand-in";
      description = "Programs {file}`mock-llm` and {file}`mock-livekit`.";
    };

    scripts = lib.mkOption {
      type = lib.types.package;
      default = pkgs.callPackage ../packages/stack-scripts.nix { };
      defaultText = lib.literalMD "the scripts of stack/";
      description = "The shell scripts that the stack's units run.";
    };

    names = lib.mkOption {
      type = lib.types.attrsOf lib.types.str;
      internal = true;
      readOnly = true;
      description = "What stands for the names between @ in stack.toml.";
    };
  };

  config = {
    alicia.e2e.names = {
      app = "${cfg.package}";
      mocks = "${cfg.mocks}";
      stack = "${cfg.scripts}";
      "config.json" = builtins.toJSON stack.frontend.${variant};
      inherit variant;
    };

    users.users = lib.mapAttrs (name: user: {
      isSystemUser = true;
      group = name;
      inherit (user) home description;
    }) stack.users;
    users.groups = lib.mapAttrs (_: _: { }) stack.users;

    # Values of the test only; they stand in the public stack.toml. Real keys never enter an image.
    environment.etc = {
      "alicia/env" = {
        text = data.environmentFile secrets;
        mode = "0640";
        group = "alicia";
      };
      "alicia/mocks.env" = {
        text = data.environmentFile mockSecrets;
        mode = "0640";
        group = "mocks";
      };
      "alicia/database-password" = {
        text = "${stack.database.password}\n";
        mode = "0640";
        group = "postgres";
      };
    };

    # None of these is started by the boot: the orchestrator starts each when what it needs has proved itself.
    systemd.services = lib.listToAttrs (
      map (unit: lib.nameValuePair (data.serviceName unit) (data.service cfg.names (sectionsOf unit))) present
    );

    # The whole stack by systemd alone, for a person: systemctl start alicia-stack.target.
    systemd.targets.${lib.removeSuffix ".target" stack.stack.target} = {
      description = "The whole stack, started by systemd alone";
      wants = present;
      after = present;
    };

    networking.firewall = {
      enable = true;
      allowedTCPPorts = stack.firewall.tcp;
    };

    assertions = [
      {
        assertion = lib.attrNames stack.frontend == data.variants;
        message = "stack.toml: the tables of environment and frontend name different variants";
      }
    ];
  };
}
