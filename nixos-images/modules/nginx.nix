# nginx: frontend and proxy. Every directive comes from stack/stack.toml; none of NixOS's recommended sets is used,
# since each would double a header or a directive of it.
{
  config,
  lib,
  ...
}:
let
  data = import ../lib/stack.nix { inherit lib; };
  inherit (data.stack) nginx;
  inherit (config.alicia.e2e) names variant;
  directives = data.directives names;

  # What the module writes itself, and would then stand twice.
  written = [
    "types_hash_max_size"
    "server_tokens"
    "server_name"
  ];
  word = line: lib.head (lib.splitString " " line);
  value = name: lib.removePrefix "${name} " (lib.findFirst (line: word line == name) (throw "no ${name}") nginx.http);
  unwritten = lib.filter (line: !lib.elem (word line) written);

  table = head: lines: "${head} {\n${directives lines}}\n";
  maps = lib.concatStrings (
    lib.mapAttrsToList (source: map: table "map ${source} ${map.variable}" map.entries) nginx.maps
  );
  types = table "types" (lib.mapAttrsToList (type: extensions: "${type} ${extensions}") nginx.types);

  # Hidden first, so that each stands once whatever the backend sends.
  headers =
    lib.concatMapStrings (name: "proxy_hide_header ${name};\n") (lib.attrNames nginx.headers)
    + lib.concatStrings (
      lib.mapAttrsToList (name: value: ''
        add_header ${name} "${value}" always;
      '') nginx.headers
    );

  locations = lib.filter (location: lib.elem variant (location.variants or [ variant ])) nginx.locations;
in
{
  services.nginx = {
    enable = true;
    enableReload = true; # the file is /etc/nginx/nginx.conf, as on Debian
    defaultMimeTypes = "${config.services.nginx.package}/conf/mime.types";
    typesHashMaxSize = lib.toInt (value "types_hash_max_size");
    serverTokens = value "server_tokens" == "on";
    logError = "/var/log/nginx/error.log";
    defaultHTTPListenPort = data.stack.ports.http;
    appendConfig = "worker_processes auto;";
    eventsConfig = "worker_connections 1024;";
    commonHttpConfig = ''
      access_log /var/log/nginx/access.log;
      ${directives (unwritten nginx.http)}${types}${maps}'';
    virtualHosts."_" = {
      default = true;
      root = data.substitute names nginx.root;
      extraConfig = directives (unwritten nginx.server) + headers;
      locations = lib.listToAttrs (
        map (location: lib.nameValuePair location.match { extraConfig = directives location.directives; }) locations
      );
    };
  };

  systemd.services = {
    nginx.startLimitIntervalSec = lib.mkForce 10; # systemd's default; tests restart it more often than a server does
    nginx-config-reload.enable = false; # would start nginx with the boot
  };
}
