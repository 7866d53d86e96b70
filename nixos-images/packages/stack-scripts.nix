# The scripts that the stack's units run, the same files as in the Debian image.
{
  lib,
  runCommand,
  runtimeShell,
}:
let
  source = lib.fileset.toSource {
    root = ../../stack;
    fileset = lib.fileset.fileFilter (file: file.hasExt "sh") ../../stack;
  };
in
runCommand "alicia-stack-scripts" { meta.description = "Scripts of the stack's units"; } ''
  install -D -t $out ${source}/*.sh
  sed -i '1s|^#!/bin/sh$|#!${runtimeShell}|' $out/*.sh
''
