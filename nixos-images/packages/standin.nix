# The stand-in Alicia in the layout of the real one: bin/alicia, share/alicia/{frontend,migrations}.
{
  lib,
  runCommand,
  python3,
}:
let
  python = python3.withPackages (packages: [
    packages.aiohttp
    packages.asyncpg
  ]);
  source = lib.fileset.toSource {
    root = ../../standin;
    fileset = lib.fileset.unions [
      ../../standin/bin
      (lib.fileset.fileFilter (file: file.hasExt "py") ../../standin/lib)
      ../../standin/share
    ];
  };
in
runCommand "alicia-standin"
  {
    buildInputs = [ python ];
    meta = {
      description = "Stand-in for the Alicia backend and frontend, for tests of the environment";
      mainProgram = "alicia";
    };
  }
  ''
    mkdir $out
    cp -r ${source}/. $out
    chmod -R u+w $out
    patchShebangs $out/bin
  ''
