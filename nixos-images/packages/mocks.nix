# The mocks of the outside services: mock-llm and mock-livekit, with LiveKit's published messages.
{
  lib,
  runCommand,
  python3,
}:
let
  source = lib.fileset.toSource {
    root = ../../standin/mocks;
    fileset = lib.fileset.unions [
      ../../standin/mocks/mock-llm
      ../../standin/mocks/mock-livekit
      (lib.fileset.fileFilter (file: file.hasExt "py") ../../standin/mocks/alicia_mocks)
    ];
  };
in
runCommand "alicia-mocks"
  {
    buildInputs = [ (python3.withPackages (packages: [ packages.livekit-protocol ])) ];
    meta.description = "Mocks of the language model, speech, embedding and voice services";
  }
  ''
    mkdir $out
    cp -r ${source}/. $out
    chmod -R u+w $out
    patchShebangs $out
  ''
