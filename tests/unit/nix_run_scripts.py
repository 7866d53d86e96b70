"""Run scripts with the arguments and variables that an evaluation gave, for tests that start them.

The scripts' own preparations (the disk, the working folder) are not nixpkgs' text but a few lines with the same effect.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from nix_facts import MACHINES, facts

# A stand-in for QEMU: writes down what it was given, then waits for its end.
FAKE_QEMU = f"""#!{sys.executable}
import json, os, signal, sys
record = os.environ["TMPDIR"] + "/record.json"
json.dump({{"argv": sys.argv[1:], "pid": os.getpid(), "cwd": os.getcwd()}}, open(record + ".new", "w"))
os.rename(record + ".new", record)
signal.pause()
"""
FAKE_HELPER = """#!/bin/sh
echo $$ >> "$TMPDIR/helpers"
exec sleep 600
"""


def arguments_of(sample: str) -> list[str]:
    """QEMU's arguments as the sample's script writes them, variables unexpanded.

    ``virtiofs`` is made by hand from ``run-script-shared-memory``: folders are shared by helper processes, as nixpkgs
    does since August 2026. No evaluation of that generation was at hand.
    """
    if sample in MACHINES:
        return list(facts(sample)["runScript"]["arguments"])
    if sample != "virtiofs":
        return list(facts(sample)["arguments"])
    words: list[str] = []
    number = 0
    for word in arguments_of("run-script-shared-memory"):
        if word.startswith("local,path="):
            words.pop()  # -virtfs
            tag = word.rpartition("mount_tag=")[2]
            words += ["-chardev", f"socket,id=fs{number},path=$TMPDIR/{tag}.sock"]
            words += ["-device", f"vhost-user-fs-pci,chardev=fs{number},tag={tag}"]
            number += 1
        else:
            words.append(word)
    return words


def write_script(folder: Path, sample: str, *, helpers: Sequence[str] = ()) -> Path:
    """``bin/run-sample-vm`` with the sample's arguments; ``helpers`` are started before QEMU and left running."""
    words = [re.sub(r"\$\(cat /nix/store/\S+\)", "kernel-params", word) for word in arguments_of(sample)]
    line = " \\\n    ".join("$QEMU_OPTS" if word == "$QEMU_OPTS" else f'"{word}"' for word in words)
    text = "\n".join(
        [
            "#!/bin/sh",
            "set -e",
            'NIX_DISK_IMAGE=$(readlink -f "${NIX_DISK_IMAGE:-./sample.qcow2}")',
            'test -e "$NIX_DISK_IMAGE" || qemu-img create -q -f qcow2 "$NIX_DISK_IMAGE" 64M',
            '[ -n "$TMPDIR" ] && [ -n "$USE_TMPDIR" ] || TMPDIR=$(mktemp -d nix-vm.XXXXXXXXXX --tmpdir)',
            "export TMPDIR",
            'mkdir -p "$TMPDIR/xchg"',
            *(f"{helper} &" for helper in helpers),
            'cd "$TMPDIR"',
            f"exec qemu-system-x86_64 {line}",
            "",
        ]
    )
    return executable(folder / "bin/run-sample-vm", text)


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path
