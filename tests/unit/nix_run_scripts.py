"""Run scripts as an evaluation gave them, word by word, for tests that start them; places in the store are others."""

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


def text_of(sample: str) -> str:
    """The script of a sample; that of ``virtiofs`` is nixpkgs' with our hands' arguments."""
    if sample == "virtiofs":
        before, mark, _ = text_of("run-script-shared-memory").rpartition("\nexec ")
        words = (word if word == "$QEMU_OPTS" else f'"{word}"' for word in arguments_of(sample))
        return f"{before}{mark}/nix/store/qemu/bin/qemu-system-x86_64 {' '.join(words)}\n"
    one = facts(sample)
    text: str = one["runScript"]["text"] if sample in MACHINES else one["text"]
    return text


def write_script(folder: Path, sample: str, *, helpers: Sequence[str] = ()) -> Path:
    """``bin/run-sample-vm`` of a sample; ``helpers`` are started before QEMU and left running.

    Programs of the store are looked for on PATH, which the caller sets; its files are below ``folder``, and empty.
    """
    text = text_of(sample)
    text = re.sub(r"^#! ?\S+", "#!/bin/bash", text)
    text = re.sub(r"/nix/store/[\w.+-]+/bin/(qemu-img|qemu-system-x86_64|mkfs\.ext4)", r"\1", text)
    text = re.sub(r"/nix/store/coreutils[\w.-]*/bin", f"{folder}/none", text)
    store = folder / "store"
    store.mkdir(parents=True, exist_ok=True)
    for number, place in enumerate(sorted(set(re.findall(r"/nix/store/[\w.+-]+(?:/[\w.+-]+)*", text)))):
        (store / str(number)).write_bytes(bytes(1 << 20) if place.endswith(".img") else b"")
        text = re.sub(rf"{re.escape(place)}(?![\w./-])", str(store / str(number)), text)
    text = text.replace("/nix/store", str(store))  # the folder itself, which some machines share
    if helpers:
        text = text.replace("\nexec ", "".join(f"\n{helper} &" for helper in helpers) + "\nexec ")
    return executable(folder / "bin/run-sample-vm", text)


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path
