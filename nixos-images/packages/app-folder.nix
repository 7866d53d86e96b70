# An application package out of a plain folder with bin/alicia and share/alicia, as `--app DIR` names one.
{
  runCommand,
  python3,
  folder,
}:
runCommand "alicia-app"
  {
    # For a program in Python; any other brings its interpreter along or needs none.
    buildInputs = [
      (python3.withPackages (packages: [
        packages.aiohttp
        packages.asyncpg
      ]))
    ];
    meta.mainProgram = "alicia";
  }
  ''
    for part in bin/alicia share/alicia/frontend/index.html share/alicia/migrations; do
      [ -e ${folder}/$part ] || { echo "this is no application package: $part is missing" >&2; exit 1; }
    done
    mkdir $out
    cp -r ${folder}/. $out
    chmod -R u+w $out
    patchShebangs $out/bin
  ''
