# The orchestrator as an application, with the programs of the host that it starts.
{
  lib,
  python3Packages,
  qemu_kvm,
  vde2,
}:
python3Packages.buildPythonApplication {
  pname = "orchestrator";
  version = (fromTOML (builtins.readFile ../../pyproject.toml)).project.version;
  pyproject = true;
  src = lib.fileset.toSource {
    root = ../..;
    fileset = lib.fileset.unions [
      ../../pyproject.toml
      (lib.fileset.maybeMissing ../../README.md)
      (lib.fileset.fileFilter (file: !file.hasExt "pyc") ../../orchestrator)
    ];
  };
  postPatch = ''
    [ -e README.md ] || touch README.md
  '';
  build-system = [ python3Packages.setuptools ];
  dependencies = with python3Packages; [
    httpx
    paramiko
    qemu-qmp
    rich
    subprocess-tee
  ];
  makeWrapperArgs = [
    "--prefix PATH : ${
      lib.makeBinPath [
        qemu_kvm
        vde2
      ]
    }"
  ];
  pythonImportsCheck = [ "orchestrator" ];
  meta = {
    description = "End-to-end tests on real virtual machines";
    license = lib.licenses.mit;
    mainProgram = "orchestrator";
  };
}
