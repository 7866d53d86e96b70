# stack/stack.toml for Nix: the data itself, and what turns its parts into values of NixOS options. Pure.
{ lib }:
let
  stack = builtins.fromTOML (builtins.readFile ../../stack/stack.toml);

  # Fill in the @names@ of a text; one that nobody gave ends the evaluation.
  substitute =
    names: text:
    let
      filled = builtins.replaceStrings (map (name: "@${name}@") (lib.attrNames names)) (lib.attrValues names) text;
      left = builtins.match ".*@([a-z][a-z.-]*)@.*" filled;
    in
    if left == null then filled else throw "stack.toml: nobody filled in @${lib.head left}@";

  substituteAll =
    names: value:
    if lib.isString value then
      substitute names value
    else if lib.isList value then
      map (substituteAll names) value
    else if lib.isAttrs value then
      lib.mapAttrs (_: substituteAll names) value
    else
      value;
in
{
  inherit stack substitute;

  # The variants, in the order of their names.
  variants = lib.filter (name: name != "common") (lib.attrNames stack.environment);

  # `X.service` without its suffix, as systemd.services wants it.
  serviceName = lib.removeSuffix ".service";

  # The value of systemd.services.<name> for a unit of the stack. Everything is forced: a module of nixpkgs that
  # declares the same unit (postgresql, nginx) keeps what the stack does not mention.
  service = names: sections: {
    description = lib.mkIf (sections.Unit ? Description) (lib.mkForce (substitute names sections.Unit.Description));
    after = sections.Unit.After or [ ];
    wants = lib.mkForce [ ];
    requires = lib.mkForce [ ];
    bindsTo = lib.mkForce [ ];
    partOf = lib.mkForce [ ];
    wantedBy = lib.mkForce [ ];
    requiredBy = lib.mkForce [ ];
    environment = substituteAll names (sections.Environment or { });
    serviceConfig = lib.mapAttrs (_: lib.mkForce) (substituteAll names (sections.Service or { }));
  };

  # The text of an EnvironmentFile=; every value quoted, since a shell may read it as well.
  environmentFile =
    variables:
    lib.concatStrings (
      lib.mapAttrsToList (name: value: ''
        ${name}="${lib.escape [ "\\" "\"" "$" "`" ] value}"
      '') variables
    );

  # nginx directives as text, one a line.
  directives = names: lines: lib.concatMapStrings (line: "${substitute names line};\n") lines;
}
