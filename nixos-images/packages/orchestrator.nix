# The orchestrator as an application, with the programs of the host that it starts.
{
  lib,
  python3Packages,
  qemu_kvm,
  vde2,
}:
python3Packages.buildPythonApplication {
  pname = "orchestrator";
  # The one place that has it; see [tool.setuptools.dynamic] of pyproject.toml.
  version = lib.head (
    builtins.match ".*__version__ = \"([^\"]+)\".*" (builtins.readFile ../../orchestrator/__init__.py)
  );
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
    cryptography
    google-re2
    httpcore
    httpx
    jinja2
    markupsafe
    paramiko
    pip
    pycdlib
    qemu-qmp
    rich
    semantic-version
    shtab
    subprocess-tee
    tomlkit
    watchfiles
    xxhash
    zstandard
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
